"""Sequential sampling: certificates are computed at interim looks, and sampling may stop at each of them.

An interim look computes the certificates of all draws so far. This module gives the level and the number of draws of
every look.
"""

__all__ = ["look_level", "look_sizes"]


def look_level(alpha: float, look: int) -> float:
    """Q1. Return the level of one of many interim looks. With these levels, the statements of all looks hold together.

    Look j spends α_j = α/(j(j+1)) = α/j − α/(j+1). A sum of differences telescopes: the first J levels add up to
    α − α/(J+1) < α, for every J. If the statement of every look j fails with probability at most α_j, at least one of
    them fails with probability less than α. So the statement of the look at which sampling *stops* holds with
    probability at least 1 − α, even if the draws decide when to stop and what is stated.

    Args:
        alpha: α, the probability that at least one look's statement may fail.
        look: j, counted from 1. The number of draws at every look is fixed before sampling.

    Returns:
        α_j.

    Source:
        The union bound. Sequential clinical trials also divide their level among interim looks.

    Example:
        >>> [round(1 / look_level(1.0, look)) for look in (1, 2, 3, 4)]
        [2, 6, 12, 20]
    """
    return alpha / (look * (look + 1))


def look_sizes(block: int, most: int) -> list[int]:
    """Return the numbers of draws at all interim looks: 1, 2, 4, … blocks, and finally ``most`` draws.

    If a look would come one draw before the last look, it is left out, because a single draw has no covariance.

    Args:
        block: Number of draws in a block.
        most: The largest number of draws, not necessarily a multiple of ``block``.

    Returns:
        Increasing numbers, the last of which is ``most``.

    Example:
        >>> look_sizes(2048, 10000)
        [2048, 4096, 8192, 10000]
        >>> look_sizes(2048, 500)
        [500]
    """
    sizes, size = [], block
    while size < most - 1:
        sizes.append(size)
        size *= 2
    return [*sizes, most]
