"""Explain that nothing is certified because no map at all could be certified from so few draws."""

import math

from captum_certified.theory import fewest_draws, fewest_draws_spectral

__all__ = ["too_few_draws"]

# The kind of confidence interval that each bound uses. "best" uses "clopper_pearson" or "kl". The fewest draws are
# those of the map that is easiest to certify. Its scores are all 0 or 1, and for such scores both kinds of interval are
# equal. So the fewest draws are equal too.
_INTERVALS = {
    "best": "clopper_pearson",
    "clopper_pearson": "clopper_pearson",
    "kl": "kl",
    "empirical_bernstein": "empirical_bernstein",
    "hoeffding": "hoeffding",
    "theorem2": "hoeffding",
}
_SPECTRAL = frozenset({"best", "spectral"})
_READABLE = 10**7


def too_few_draws(
    bound: str,
    *,
    n_samples: int,
    n_features: int,
    ratio: float,
    level: float,
    violations: int = 0,
    of_counts: bool = False,
) -> str | None:
    """Return a sentence if no map from ``n_samples`` draws can be certified, or ``None`` if some map can.

    The sentence names the smallest number of draws from which some map can be certified, if there is one. This number
    is computed from the settings alone and not from the drawn noise. So choosing it for a new run does not lower the
    confidence of that run's certificate.

    Args:
        bound: Name of the bound.
        n_samples: Number of draws.
        n_features: Number n of features.
        ratio: ρ/σ.
        level: Probability that a statement about the example may fail.
        violations: How many intervals may fail to contain the exact score.
        of_counts: Whether the certificate is about an overlap. Any two sets of K of n features share at least 2K − n
            features, so this much is certified from any number of draws.

    Example:
        >>> too_few_draws("best", n_samples=10, n_features=150528, ratio=0.5, level=0.05)[19:]
        'no map of 150528 features can be certified at this radius and confidence from fewer than 22 draws'
        >>> too_few_draws("kl", n_samples=4, n_features=60, ratio=0.0, level=0.05, violations=10, of_counts=True)[:91]
        "under bound 'kl' and 10 violations no map of 60 features can have a certified overlap above"
    """
    spent, candidates = level / 2 if bound == "best" else level, []
    if bound in _INTERVALS:
        tail = min(spent * (violations + 1) / (2 * n_features), 0.5)
        candidates.append(fewest_draws(_INTERVALS[bound], tail=tail, ratio=ratio))
    if bound in _SPECTRAL:
        candidates.append(fewest_draws_spectral(alpha=spent, ratio=ratio))
    fewest = min(candidates, default=0.0)
    if n_samples >= fewest:
        return None
    allowed = f" and {violations} violation{'s' * (violations > 1)}" if violations else ""
    can = "can have a certified overlap above 2K − n" if of_counts else "can be certified"
    what = f"under bound {bound!r}{allowed} no map of {n_features} features {can} at this radius"
    if math.isinf(fewest):
        return what
    needed = f"{int(fewest)}" if fewest < _READABLE else f"{fewest:.1e}"
    return f"{what} and confidence from fewer than {needed} draws"
