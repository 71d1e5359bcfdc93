"""Covariance of draws in blocks, compared with dense NumPy covariances and explicit pairs."""

import itertools

import numpy as np
import pytest
import torch
from spectral_ensembles import TwoPointLaw, summarised
from torch.testing import assert_close

from captum_certified import CovarianceSummary, InvalidInputError
from captum_certified.sampling.block_covariance import BlockCovariance, block_bytes

CPU = torch.device("cpu")


def some_draws(rng, q, n, *, binary=True):
    """Correlated draws, with two constant features if there is room."""
    common = rng.random((q, 1))
    values = 0.6 * common + 0.4 * rng.random((q, n))
    thresholds = rng.uniform(0.3, 0.7, n)
    # Values that are not 0 or 1 are kept in float32, so they are rounded here.
    values = (values > thresholds) * 1.0 if binary else values.astype(np.float32).astype(np.float64)
    if n > 3:
        values[:, 0], values[:, 1] = 0.0, 1.0
    return values


def dense(block):
    """λ_max, Frobenius norm and κ̂ of one block of shape (b, n), from its singular values and all inner products."""
    centred = block - block.mean(axis=0)
    eigenvalues = np.linalg.svd(centred, compute_uv=False) ** 2 / (len(block) - 1)
    largest_row = ((centred @ centred.T) ** 2).sum(axis=1).max() / (len(block) - 1)
    top = float(eigenvalues.max())
    return top, float(np.linalg.norm(eigenvalues)), largest_row / 2 + 1.5 * top**2


def dense_summary(draws, block):
    """Pair-weighted means over blocks of at least two draws."""
    blocks = [draws[start : start + block] for start in range(0, len(draws), block)]
    blocks = [part for part in blocks if len(part) > 1]
    weights = np.array([len(part) // 2 for part in blocks])
    return weights.sum(), np.average([dense(part) for part in blocks], axis=0, weights=weights)


def assert_summary(summary, draws, block):
    for row in range(len(draws)):
        pairs, (top, frobenius, fourth) = dense_summary(draws[row], block)
        assert float(summary.pairs[row]) == pairs
        assert_close(float(summary.top_eigenvalue[row]), float(top), rtol=1e-9, atol=1e-12)
        assert_close(float(summary.frobenius_norm[row]), float(frobenius), rtol=1e-9, atol=1e-12)
        assert_close(float(summary.fourth_moment[row]), float(fourth), rtol=1e-9, atol=1e-12)


def test_the_reference_is_the_covariance_matrix():
    block = some_draws(np.random.default_rng(0), 9, 12)
    sigma = np.cov(block, rowvar=False, ddof=1)
    top, frobenius, _ = dense(block)
    assert_close(
        [top, frobenius], [float(np.linalg.eigvalsh(sigma)[-1]), float(np.linalg.norm(sigma))], rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("q", "n", "block"),
    [
        (24, 5, 8),  # fewer features than draws in a block: the scatter matrix
        (24, 8, 8),
        (24, 13, 8),  # more: the Gram matrix; and n no multiple of 8
        (16, 257, 8),
        (20, 13, 8),  # a last block of 4
        (17, 13, 8),  # … of 1, which says nothing
        (18, 13, 8),  # … of 2
        (19, 13, 8),  # … of 3
        (19, 2, 8),
        (21, 11, 7),  # odd blocks: 3 pairs of 7 draws
        (9, 1, 3),
        (6, 9, 2),
        (7, 9, 3),
        (5, 9, 100),  # a block larger than the run
        (12, 16391, 6),  # several groups of columns, the last one narrow and ragged
    ],
)
def test_a_block_is_its_dense_covariance(q, n, block, binary):
    rng = np.random.default_rng(q * n)
    draws = np.stack([some_draws(rng, q, n, binary=binary), some_draws(rng, q, n, binary=binary)])
    values = torch.from_numpy(draws)
    collected = BlockCovariance(2, n, binary=binary, block=block, device=CPU)
    for start in range(0, q, block):
        part = values[:, start : start + block]
        collected.add(part.bool() if binary else part, range(start, start + part.shape[1]))
    collected.finish_block()
    assert_summary(collected.summary, draws, block)


@pytest.mark.parametrize("n", [6, 40])
@pytest.mark.parametrize("binary", [True, False])
def test_blocks_may_come_in_any_passes(n, binary):
    draws = some_draws(np.random.default_rng(1), 20, n, binary=binary)[None]
    values = torch.from_numpy(draws).bool() if binary else torch.from_numpy(draws)
    summaries = []
    for cuts in ([0, 10, 20], [0, 1, 2, 10, 13, 20], [0, 3, 7, 9, 10, 19, 20]):
        collected = BlockCovariance(1, n, binary=binary, block=10, device=CPU)
        for start, stop in itertools.pairwise(cuts):
            collected.add(values[:, start:stop], range(start, stop))
        summaries.append(collected.summary)
    assert_summary(summaries[0], draws, 10)
    for other in summaries[1:]:
        assert torch.equal(other.top_eigenvalue, summaries[0].top_eigenvalue)
        assert torch.equal(other.fourth_moment, summaries[0].fourth_moment)


def test_a_run_that_begins_inside_a_block_has_a_short_first_block():
    draws = some_draws(np.random.default_rng(2), 15, 30)[None]
    values = torch.from_numpy(draws).bool()
    collected = BlockCovariance(1, 30, binary=True, block=6, device=CPU)
    for start, stop in ((3, 6), (6, 12), (12, 18)):
        collected.add(values[:, start - 3 : stop - 3], range(start, stop))
    blocks = [draws[0, :3], draws[0, 3:9], draws[0, 9:15]]
    expected = np.average([dense(part) for part in blocks], axis=0, weights=[1, 3, 3])
    assert collected.summary.pairs.tolist() == [7.0]
    assert_close(float(collected.summary.top_eigenvalue[0]), float(expected[0]), rtol=1e-9, atol=0)
    assert_close(float(collected.summary.fourth_moment[0]), float(expected[2]), rtol=1e-9, atol=0)


def test_a_single_draw_has_no_covariance():
    collected = BlockCovariance(1, 5, binary=True, block=4, device=CPU)
    collected.add(torch.ones(1, 1, 5, dtype=torch.bool), range(3, 4))
    assert collected.summary is None
    collected.add(torch.ones(1, 1, 5, dtype=torch.bool), range(4, 5))
    collected.finish_block()
    assert collected.summary is None
    collected.finish_block()
    assert collected.summary is None


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("n", [3, 50])
def test_maps_that_never_change_have_no_covariance(n, binary):
    for value in (0.0, 1.0):
        summary = summarised(np.full((1, 16, n), value), block=8)
        assert summary.pairs.tolist() == [8.0]
        for part in (summary.top_eigenvalue, summary.frobenius_norm, summary.fourth_moment):
            assert part.tolist() == [0.0]


@pytest.mark.parametrize("n", [9, 64, 1001, 9001])
def test_bits_and_numbers_are_the_same_draws(n):
    """Inner products of zeros and ones are exact, so both computations give the same bits."""
    values = torch.from_numpy(some_draws(np.random.default_rng(n), 9, n)[None])
    summaries = []
    for binary in (True, False):
        collected = BlockCovariance(1, n, binary=binary, block=9, device=CPU)
        collected.add(values.bool() if binary else values, range(9))
        summaries.append(collected.summary)
    for name, part in summaries[0].parts().items():
        assert torch.equal(part, getattr(summaries[1], name))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("n", [1, 7, 11])
def test_scatter_and_gram_matrix_give_the_same_summary(n, binary):
    """Features that are always 0 change only which matrix is decomposed."""
    draws = some_draws(np.random.default_rng(n), 24, n, binary=binary)[None]
    wide = np.concatenate([draws, np.zeros((1, 24, 40))], axis=2)
    narrow, broad = summarised(draws, block=12), summarised(wide, block=12)
    for name, part in narrow.parts().items():
        assert_close(part, getattr(broad, name), rtol=1e-10, atol=0)


def test_the_eigenvalue_is_never_under_estimated():
    rng = np.random.default_rng(4)
    for _ in range(40):
        n = int(rng.integers(1, 30))
        draws = some_draws(rng, 16, n)
        sigma = np.atleast_2d(np.cov(draws, rowvar=False))
        assert float(summarised(draws[None], block=16).top_eigenvalue[0]) >= np.linalg.eigvalsh(sigma)[-1]


def mean_squared_kernel(block, u):
    """Mean over pairs of ((u·(f_k − f_l))²/2)², pair by pair."""
    a = block @ u
    return np.mean([((a[k] - a[m]) ** 2 / 2) ** 2 for k, m in itertools.combinations(range(len(a)), 2)])


@pytest.mark.parametrize("seed", range(12))
def test_the_fourth_moment_bounds_the_squared_kernel_in_every_direction(seed):
    rng = np.random.default_rng(seed)
    block = some_draws(rng, int(rng.integers(2, 12)), int(rng.integers(1, 15)), binary=seed % 2 == 0)
    bound = float(summarised(block[None], block=len(block)).fourth_moment[0])
    sigma = np.atleast_2d(np.cov(block, rowvar=False))
    directions = [*np.linalg.eigh(sigma)[1].T, *rng.standard_normal((100, block.shape[1]))]
    directions += list(block - block.mean(axis=0))
    for u in directions:
        length = np.linalg.norm(u)
        if length > 1e-9:
            assert mean_squared_kernel(block, u / length) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("draws", [2, 4, 40])
def test_the_fourth_moment_is_attained_by_two_points(draws):
    """With two maps in equal shares, half of all pairs differ by the maximum, so both terms of κ̂ are needed."""
    block = TwoPointLaw(0.5, 3).draws(1, draws, np.random.default_rng(0))[0]
    block[: draws // 2], block[draws // 2 :] = [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]
    u = np.array([1, 1, 1, -1, -1, -1]) / np.sqrt(6)
    mean = mean_squared_kernel(block, u)
    bound = float(summarised(block[None], block=draws).fourth_moment[0])
    assert_close(float(mean), draws / 2 / (draws - 1) * 9, rtol=1e-12, atol=0)
    # κ̂ rounds b(b − 1) down to (b − 1)² in its second term, and nothing else.
    top = draws / 4 * 6 / (draws - 1)
    assert_close(bound - float(mean), 1.5 * top**2 / draws, rtol=1e-8, atol=0)


def test_the_shortcut_for_two_point_laws_is_exact():
    """The shortcut of the coverage tests gives the same summary as the blocks."""
    law, generator = TwoPointLaw(0.2, 4), np.random.default_rng(5)
    draws = law.draws(6, 24, generator)
    rare = draws[:, :, 0].reshape(6, 3, 8).sum(axis=2)

    class Fixed:
        def binomial(self, n, p, size):
            assert (n, size) == (8, (6, 3))
            return rare.astype(int)

    evidence, summary = law.evidence(6, 24, 8, Fixed()), summarised(draws, block=8)
    for name in ("pairs", "top_eigenvalue", "frobenius_norm", "fourth_moment"):
        assert_close(torch.from_numpy(evidence[name]), getattr(summary, name), rtol=1e-9, atol=1e-12)
    trace = torch.from_numpy(draws.var(axis=1, ddof=1).sum(axis=1))
    assert_close(torch.from_numpy(evidence["trace"]), trace, rtol=1e-12, atol=0)


# -- memory ---------------------------------------------------------------------------------------------------


def test_a_block_of_bits_is_a_thirty_second_of_floats():
    assert block_bytes(1, 150528, binary=True, block=2048) == 2048 * 18816
    assert block_bytes(2, 150528, binary=False, block=1024) == 2 * 1024 * 150528 * 4
    assert block_bytes(1, 9, binary=True, block=3) == 6
    for binary in (True, False):
        collected = BlockCovariance(2, 13, binary=binary, block=5, device=CPU)
        assert collected.store.nbytes == block_bytes(2, 13, binary=binary, block=5)


# -- the summary ----------------------------------------------------------------------------------------------


def test_summaries_merge_by_their_pairs():
    draws = some_draws(np.random.default_rng(6), 30, 12)[None]
    whole = summarised(draws, block=10)
    parts = [summarised(draws[:, start : start + 10], block=10) for start in (0, 10, 20)]
    for merged in (parts[0].merge(parts[1]).merge(parts[2]), parts[0].merge(parts[1].merge(parts[2]))):
        for name, part in whole.parts().items():
            assert_close(part, getattr(merged, name), rtol=1e-14, atol=0)
    uneven = summarised(draws[:, :10], block=10).merge(summarised(draws[:, 10:13], block=3))
    expected = np.average([dense(draws[0, :10]), dense(draws[0, 10:13])], axis=0, weights=[5, 1])
    assert uneven.pairs.tolist() == [6.0]
    assert_close(float(uneven.top_eigenvalue[0]), float(expected[0]), rtol=1e-9, atol=0)
    assert_close(float(uneven.frobenius_norm[0]), float(expected[1]), rtol=1e-9, atol=0)


def test_merging_a_summary_without_norms_drops_the_norms():
    one = CovarianceSummary(torch.tensor([4.0]), torch.tensor([2.0]), torch.tensor([3.0]), torch.tensor([9.0]))
    two = CovarianceSummary(torch.tensor([4.0]), torch.tensor([4.0]))
    for merged in (one.merge(two), two.merge(one)):
        assert merged.top_eigenvalue.tolist() == [3.0]
        assert merged.frobenius_norm is None
        assert merged.fourth_moment is None
    stacked = CovarianceSummary.stack([one, two])
    assert stacked.top_eigenvalue.tolist() == [2.0, 4.0]
    assert stacked.frobenius_norm is None


def test_malformed_summaries_are_refused():
    with pytest.raises(InvalidInputError, match="both or neither"):
        CovarianceSummary(torch.tensor([4.0]), torch.tensor([2.0]), frobenius_norm=torch.tensor([3.0]))
    with pytest.raises(InvalidInputError, match="Expected `top_eigenvalue` of shape"):
        CovarianceSummary(torch.tensor([4.0]), torch.tensor([2.0, 3.0]))
    with pytest.raises(InvalidInputError, match="Expected `pairs` of shape"):
        CovarianceSummary(torch.tensor(4.0), torch.tensor(2.0))
