"""Normal random numbers in single precision: Box and Muller's method, and the distribution of its results."""

import numpy as np
import pytest
from scipy import stats

from captum_certified.sampling.noise import fill_with_normals


def normals(count, seed=0, dtype=np.float32):
    numbers = np.empty(count, dtype)
    fill_with_normals(numbers, np.random.SFC64(seed))
    return numbers


class Words:
    """Source of random bits whose words are given."""

    def __init__(self, *answers):
        self.answers = [np.asarray(answer, dtype=np.uint64) for answer in answers]

    def random_raw(self, size):
        answer = self.answers.pop(0)
        assert len(answer) == size
        return answer


def packed(*words):
    return np.array(words, dtype=np.uint32).view(np.uint64)


@pytest.mark.parametrize("count", [1, 2, 7, 1000, 150_528])
def test_numbers_equal_the_method_in_double_precision(count):
    pairs = (count + 1) // 2
    bits = np.random.SFC64(3)
    words = bits.random_raw(pairs).view(np.uint32).astype(np.float64)
    radius = np.sqrt(-2 * np.log((words[:pairs] + 0.5) / 2**32))
    angle = np.where(words[pairs:] < 2**31, words[pairs:], words[pairs:] - 2**32) * np.pi / 2**31
    literal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    np.testing.assert_allclose(normals(count, seed=3), literal, rtol=0, atol=3e-4)  # the square root near 0
    large = np.abs(literal) > 1
    np.testing.assert_allclose(normals(count, seed=3)[large], literal[large], rtol=0, atol=5e-6)


def test_small_words_get_more_random_bits():
    numbers = np.empty(2, np.float32)
    fill_with_normals(numbers, Words(packed(0, 0), [0]))
    assert numbers.tolist() == [pytest.approx((2 * 97 * np.log(2)) ** 0.5, rel=1e-6), 0.0]
    fill_with_normals(numbers, Words(packed(5, 2**30), [2**63]))
    assert numbers[1] == pytest.approx((-2 * np.log(5.5 / 2**32)) ** 0.5, rel=1e-6)
    assert abs(numbers[0]) < 1e-6


@pytest.mark.parametrize("word", [2**24, 2**32 - 1, 2**32 - 128, 2**31])
@pytest.mark.parametrize("angle", [0, 2**31 - 1, 2**31, 2**32 - 1])
def test_no_word_gives_nan_or_infinity(word, angle):
    numbers = np.empty(2, np.float32)
    fill_with_normals(numbers, Words(packed(word, angle), []))
    assert np.isfinite(numbers).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_law_is_normal_to_the_tails(seed):
    count = 2**22
    numbers = normals(count, seed=seed).astype(np.float64)
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((numbers**power).mean() - moment) < 4 * (spread / count) ** 0.5
    for level in (3.0, 4.0, 5.0):
        for tail in (numbers > level, numbers < -level):
            low, high = stats.poisson.interval(1 - 1e-4, count * stats.norm.sf(level))
            assert low <= np.count_nonzero(tail) <= high


def test_both_numbers_of_a_pair_are_independent():
    first, second = normals(2**22, seed=5).astype(np.float64).reshape(2, -1)
    for one, other in ((first, second), (first**2, second**2), (np.abs(first), second)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / len(first) ** 0.5
    angles = np.arctan2(second, first) / (2 * np.pi) + 0.5
    assert stats.kstest(angles[:500_000], "uniform").pvalue > 1e-3


def test_double_precision_numbers_come_from_numpy():
    own = np.random.Generator(np.random.SFC64(4)).standard_normal(9)
    assert normals(9, seed=4, dtype=np.float64).tolist() == own.tolist()


def test_an_empty_array_stays_empty():
    assert normals(0).tolist() == []
