"""Sentences in which certificates state what they compare with and what they hold fixed."""

from collections.abc import Sequence

from captum_certified.storage import Json

__all__ = ["compared_with", "fresh_draws_conditions", "held_fixed"]


def held_fixed(target: Json, stdevs: float | Sequence[float]) -> str:
    """Return the sentences about everything that a certificate assumes to be the same at every perturbed input.

    Args:
        target: The target in the setup of a map.
        stdevs: Standard deviation of the noise, or one for each input tensor.

    Example:
        >>> held_fixed("argmax", 0.2)[:59]
        'It is about the class predicted at each noisy copy, whichev'
    """
    several = list(stdevs) if isinstance(stdevs, tuple | list) else []
    still = [str(number) for number, stdev in enumerate(several) if stdev == 0]
    arguments = "baselines, reference distributions, groups, regions and further arguments"
    if target and "argmax" in (target if isinstance(target, list) else [target]):
        text = (
            f"It is about the class predicted at each noisy copy, whichever that is; {arguments} are held fixed at "
            "every perturbed input."
        )
    else:
        text = f"Target, {arguments} are held fixed at every perturbed input, also where the prediction changes."
    if len(still) == 1:
        text += f" Input tensor {still[0]} is held fixed too, because its σ is 0."
    elif still:
        text += f" Input tensors {', '.join(still)} are held fixed too, because their σ is 0."
    if len({stdev for stdev in several if stdev > 0}) > 1:
        first = next(stdev for stdev in several if stdev > 0)
        text += f" The radius is the L2 length of the change, with each tensor divided by its σ, times {first:g}."
    return text


def compared_with(fresh_draws: int | None) -> str:
    """Return words for the map at the perturbed input with which a statement compares.

    Example:
        >>> compared_with(None), compared_with(50)[:22]
        ('the exact smoothed map', 'a map of 50 fresh draw')
    """
    if fresh_draws is None:
        return "the exact smoothed map"
    return (
        f"a map of {fresh_draws} fresh draw{'s' * (fresh_draws > 1)} at any one perturbed input chosen without seeing "
        "those draws"
    )


def fresh_draws_conditions(fresh_draws: int | None) -> tuple[str, ...]:
    """Return one sentence on the confidence of a statement about fresh draws; no sentence for ``None``."""
    if fresh_draws is None:
        return ()
    return ("The confidence is that of this statement alone. It does not cover other statements from this map.",)
