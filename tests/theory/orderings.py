"""Brute force over every ordering of features that their intervals allow."""

import functools
import itertools

import numpy as np


@functools.cache
def permutations(n: int) -> np.ndarray:
    """Return all orders of n features, strongest first, shape (n!, n)."""
    return np.array(list(itertools.permutations(range(n))))


def consistent_orderings(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Return the orders v_1 ≥ v_2 ≥ … that some values v_i in [lower_i, upper_i] have, equal values in any order.

    The greatest values that keep an order are running minima of the upper ends.
    """
    orders = permutations(len(lower))
    reachable = np.minimum.accumulate(upper[orders], axis=1)
    return orders[(reachable >= lower[orders]).all(axis=1)]


def least_overlap(lower: np.ndarray, upper: np.ndarray, members: np.ndarray, k: int) -> int:
    """Return the fewest members among the first k of any consistent order."""
    orders = consistent_orderings(lower, upper)
    return int(members[orders[:, :k]].sum(axis=1).min())


def worst_ranks(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Return the last place of every feature in any consistent order, counted from 1."""
    places = np.argsort(consistent_orderings(lower, upper), axis=1)
    return places.max(axis=0) + 1
