"""What certificates print about the map that they compare with: the exact one, or one of fresh draws."""

__all__ = ["compared_with", "own_error"]


def compared_with(fresh_draws: int | None) -> str:
    """The map at the perturbed input that a statement is about.

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


def own_error(fresh_draws: int | None) -> tuple[str, ...]:
    """What statements about fresh draws say of their confidence; nothing of those about the exact map."""
    if fresh_draws is None:
        return ()
    return (
        "It spends an error probability of its own: it does not hold together with other statements from this map.",
    )
