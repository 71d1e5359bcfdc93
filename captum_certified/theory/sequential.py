"""Sequential sampling: when the certificates of a growing sample are computed, and what every such look costs."""

__all__ = ["look_level", "look_sizes"]


def look_level(alpha: float, look: int) -> float:
    """Q1. Level of one of many looks, so that the statements of all of them hold together.

    Look j spends α_j = α/(j(j+1)) = α/j − α/(j+1). A sum of differences telescopes: the first J levels add up to
    α − α/(J+1) < α, whatever J. If the statement of look j fails with probability at most α_j for every j, one of
    them fails with probability less than α. So the statement at which one *stops* holds with probability at least
    1 − α, however the data decide when to stop and whatever is stated there.

    Args:
        alpha: Probability that any statement may fail.
        look: Number of the look j, from 1. The numbers of draws of all looks are fixed before sampling.

    Returns:
        α_j.

    Source:
        The union bound; spending by looks is as in sequential clinical trials.

    Example:
        >>> [round(1 / look_level(1.0, look)) for look in (1, 2, 3, 4)]
        [2, 6, 12, 20]
    """
    return alpha / (look * (look + 1))


def look_sizes(block: int, most: int) -> list[int]:
    """Return the numbers of draws at which to look: 1, 2, 4, … blocks, and the most draws that there may be.

    A look that is one draw before the last is left out, because a single draw has no covariance.

    Args:
        block: Draws in a block.
        most: The most draws, not necessarily whole blocks.

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
