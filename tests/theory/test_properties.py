"""Properties of bounds for any numbers: monotone in radius, confidence and draws, and sound in exact worst cases."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from captum_certified import theory

UNIT = st.floats(0, 1, allow_nan=False, width=32).map(float)
RATIO = st.floats(0, 4).map(float)
ALPHA = st.floats(1e-6, 0.5).map(float)
TAIL = st.floats(1e-9, 0.25).map(float)


def scores(rows=1, least=2, most=12):
    """Generate scores of shape (rows, n), with many ties."""
    level = st.one_of(UNIT, st.integers(0, 8).map(lambda eighths: eighths / 8))
    return st.integers(least, most).flatmap(lambda n: arrays.arrays(np.float64, (rows, n), elements=level))


@st.composite
def boxes(draw):
    """Generate means of one example, with lower and upper ends around them."""
    mean = draw(scores())
    widths = draw(arrays.arrays(np.float64, (2, mean.shape[1]), elements=st.floats(0, 0.5)))
    return np.clip(mean - widths[0], 0, 1), np.clip(mean + widths[1], 0, 1), mean


@st.composite
def boxes_and_k(draw):
    lower, upper, mean = draw(boxes())
    return lower, upper, mean, draw(st.integers(1, mean.shape[1]))


# -- counting ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_fraction_of_a_count_is_the_count(total, count):
    count = min(count, total)
    assert theory.fraction_to_count(count / total, total) == count


@given(scores(rows=2), st.data())
def test_the_top_set_is_that_of_a_stable_sort(values, data):
    k = data.draw(st.integers(1, values.shape[1]))
    mask, by_index = theory.top_k_mask(values, k)
    for row, marked, placed in zip(values, mask, by_index, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        assert set(np.flatnonzero(marked)) == set(order[:k])
        boundary = row[order[k - 1]]
        ties = sum(row == boundary)
        inside = sum(row[i] == boundary for i in order[:k])
        assert placed == (inside if ties > inside else 0)


# -- shift ------------------------------------------------------------------------------------------------------------


@given(UNIT, RATIO, RATIO)
def test_shifts_add_up_and_go_down(probability, one, two):
    assume(one + two < 6)
    once = float(theory.shift(probability, -(one + two)))
    twice = float(theory.shift(theory.shift(probability, -one), -two))
    assert once == pytest.approx(twice, abs=1e-7)
    assert once <= probability + 1e-12
    assert float(theory.lower_bound(probability, ratio=one)) == pytest.approx(
        float(theory.shift(probability, -2 * one)), abs=1e-12
    )


@given(st.floats(1e-12, 1 - 1e-12))
def test_probit_inverts_the_normal_distribution(probability):
    assert stats.norm.cdf(float(theory.probit(probability))) == pytest.approx(probability, rel=1e-9)


@given(UNIT, UNIT, st.floats(0, 0.5), RATIO, RATIO)
def test_the_empirical_bound_is_monotone(one, two, width, low, high):
    low, high = sorted((low, high))
    small, large = sorted((one, two))
    bound = lambda value, c, r: float(theory.empirical_lower_bound(value, half_width=c, ratio=r))  # noqa: E731
    assert bound(small, width, low) <= bound(large, width, low) + 1e-12
    assert bound(large, width, high) <= bound(large, width, low) + 1e-12
    assert bound(large, width, low) <= float(theory.lower_bound(large, ratio=low)) + 1e-12


@given(TAIL, st.integers(1, 10**6))
def test_hoeffding_s_width_is_what_its_inequality_says(tail, draws):
    width = float(theory.hoeffding_half_width(tail, draws))
    assert np.exp(-2 * draws * width**2) == pytest.approx(tail, rel=1e-9)


# -- intervals --------------------------------------------------------------------------------------------------------


@given(st.integers(2, 400), st.data(), TAIL)
@settings(max_examples=60)
def test_intervals_hold_the_mean_and_shrink_with_draws(draws, data, tail):
    count = data.draw(st.integers(0, draws))
    mean = np.array([count / draws])
    intervals = {
        "hoeffding": lambda q: theory.hoeffding_interval(mean, q, tail=tail),
        "clopper_pearson": lambda q: theory.clopper_pearson_interval(
            np.array([round(count * q / draws)]), q, tail=tail
        ),
        "kl": lambda q: theory.kl_interval(mean, q, tail=tail),
        "empirical_bernstein": lambda q: theory.empirical_bernstein_interval(mean, mean, q, tail=tail),
    }
    for interval in intervals.values():
        lower, upper = (float(end[0]) for end in interval(draws))
        assert 0 <= lower <= mean[0] <= upper <= 1
        narrower = [float(end[0]) for end in interval(4 * draws)]
        assert narrower[1] - narrower[0] <= upper - lower + 1e-9


@given(st.integers(1, 200), st.data(), TAIL)
@settings(max_examples=60)
def test_clopper_and_pearson_invert_the_binomial_tails(draws, data, tail):
    count = data.draw(st.integers(0, draws))
    lower, upper = (float(end[0]) for end in theory.clopper_pearson_interval(np.array([count]), draws, tail=tail))
    if count > 0:
        assert stats.binom.sf(count - 1, draws, lower) == pytest.approx(tail, rel=1e-5)
    if count < draws:
        assert stats.binom.cdf(count, draws, upper) == pytest.approx(tail, rel=1e-5)


@given(UNIT, st.floats(1e-9, 5))
def test_the_kl_bound_spends_its_budget(mean, budget):
    end = float(theory.kl_upper(mean, budget))
    assert mean <= end <= 1
    spent = stats.entropy([mean, 1 - mean], [end, 1 - end]) if end < 1 else np.inf
    assert spent >= budget * (1 - 1e-6)  # rounded outward
    if end < 1 - 1e-9:
        assert spent <= budget * (1 + 1e-3) + 1e-12


# -- overlap ----------------------------------------------------------------------------------------------------------


def worst_overlap(lower, upper, mean, k):
    """Return the least overlap of all scores within the bounds, over every number of exchanges. Ties count as lost."""
    top, _ = theory.top_k_mask(mean[None], k)
    inside, outside = np.flatnonzero(top[0]), np.flatnonzero(~top[0])
    leaving, entering = np.sort(lower[inside]), np.sort(upper[outside])[::-1]
    exchanged = 0
    while exchanged < min(k, len(outside)) and entering[exchanged] >= leaving[exchanged]:
        exchanged += 1
    return k - exchanged


@given(boxes_and_k())
def test_overlap_from_bounds_is_exactly_the_worst_case(box):
    lower, upper, mean, k = box
    found = int(theory.overlap_from_bounds(lower, upper, mean, k)[0])
    assert found == worst_overlap(lower[0], upper[0], mean[0], k)


@given(boxes_and_k(), RATIO, RATIO)
def test_ladders_agree_with_bounds_and_go_down_with_the_radius(box, one, two):
    lower, upper, mean, k = box
    one, two = sorted((one, two))
    ladder = theory.interval_ladder(lower, upper, mean, k)
    assert (ladder[:, 1:] <= ladder[:, :-1]).all()
    overlaps = theory.overlap_from_ladder(ladder, np.array([one, two]), closed=False, n_features=mean.shape[1])[0]
    assert overlaps[1] <= overlaps[0]
    for ratio, overlap in zip((one, two), overlaps, strict=True):
        moved = theory.overlap_from_bounds(theory.shift(lower, -ratio), theory.shift(upper, ratio), mean, k)
        assert overlap <= moved[0] or np.isclose(ladder, ratio, rtol=1e-9).any()


@given(boxes_and_k(), st.data())
def test_the_radius_of_an_overlap_certifies_it(box, data):
    lower, upper, mean, k = box
    n = mean.shape[1]
    overlap = data.draw(st.integers(1, k))
    ladder = theory.interval_ladder(lower, upper, mean, k)
    ratio = float(theory.ratio_from_ladder(ladder, overlap, n_features=n)[0])
    if 0 < ratio < np.inf:
        below = np.array([np.nextafter(ratio, 0)])
        assert theory.overlap_from_ladder(ladder, below, closed=False, n_features=n)[0, 0] >= overlap


@given(scores(), st.floats(0, 0.3), st.data(), RATIO)
def test_theorem_2_never_beats_the_exact_optimum_of_its_own_intervals(mean, width, data, ratio):
    k = data.draw(st.integers(1, mean.shape[1]))
    half = np.full((1, 1), width)
    n = mean.shape[1]
    paper = theory.overlap_from_ladder(
        theory.theorem2_ladder(mean, half, k), np.array([ratio]), closed=True, n_features=n
    )[0, 0]
    lower, upper = np.clip(mean - width, 0, 1), np.clip(mean + width, 0, 1)
    exact = worst_overlap(theory.shift(lower, -ratio)[0], theory.shift(upper, ratio)[0], mean[0], k)
    assert paper <= max(exact, 2 * k - n) or width < 1e-9  # at equality of scores the paper's ≥ needs its strict event


@given(scores(), st.floats(0.001, 0.3), st.data(), st.floats(0.01, 1.6))
@settings(max_examples=50)
def test_the_bound_of_lecuyer_et_al_never_beats_ours(mean, width, data, ratio):
    k = data.draw(st.integers(1, mean.shape[1]))
    lower, upper = np.clip(mean - width, 0, 1), np.clip(mean + width, 0, 1)
    below, above = theory.lecuyer_bounds(lower, upper, ratio=ratio)
    assert (below <= theory.shift(lower, -ratio) + 1e-9).all()
    assert (above >= theory.shift(upper, ratio) - 1e-9).all()
    theirs = theory.lecuyer_overlap(mean, np.full((1, 1), width), k, ratio=ratio)[0]
    assert theirs <= worst_overlap(theory.shift(lower, -ratio)[0], theory.shift(upper, ratio)[0], mean[0], k)


# -- ranks and selections ---------------------------------------------------------------------------------------------


@given(boxes())
def test_ranks_from_bounds_are_the_worst_rank(box):
    lower, upper, _ = box
    ranks = theory.ranks_from_bounds(lower, upper)[0]
    for i, rank in enumerate(ranks):
        others = np.delete(upper[0], i)
        assert rank == 1 + int((others >= lower[0, i]).sum())


@given(boxes(), RATIO, RATIO)
def test_ranks_rise_with_the_radius(box, one, two):
    lower, upper, _ = box
    one, two = sorted((one, two))
    assert (theory.sharp_ranks(lower, upper, ratio=one) <= theory.sharp_ranks(lower, upper, ratio=two)).all()


@given(boxes_and_k())
def test_a_feature_is_in_the_top_k_up_to_its_ratio(box):
    lower, upper, _, k = box
    ratios = theory.top_k_ratios(lower, upper, k)[0]
    for i, ratio in enumerate(ratios):
        if 1e-3 < ratio < 5:
            assert theory.sharp_ranks(lower, upper, ratio=float(ratio) * (1 - 1e-6))[0, i] <= k
            assert theory.sharp_ranks(lower, upper, ratio=float(ratio) * (1 + 1e-6))[0, i] > k


@given(boxes(), RATIO)
def test_selections_are_what_the_shifted_interval_says_of_one_half(box, ratio):
    lower, upper, _ = box
    selected, rejected = theory.selection(lower, upper, ratio=ratio)
    assert not (selected & rejected).any()
    assert (theory.shift(lower, -ratio)[selected] >= 0.5 - 1e-9).all()
    assert (theory.shift(upper, ratio)[rejected] <= 0.5 + 1e-9).all()
    radii = theory.selection_ratios(lower, upper)
    decided = selected | rejected
    assert (radii[decided] >= ratio * (1 - 1e-9)).all()


@given(boxes(), RATIO, TAIL, st.integers(1, 10**5))
def test_fresh_draws_need_wider_bounds(box, ratio, tail, fresh):
    lower, upper, _ = box
    below, above = theory.release_bounds(lower, upper, ratio=ratio, tail=tail, fresh_samples=fresh)
    assert (below <= theory.shift(lower, -ratio)).all()
    assert (above >= theory.shift(upper, ratio)).all()


@given(st.lists(UNIT, min_size=1, max_size=6), st.integers(1, 6), st.floats(0, 0.2), RATIO)
def test_theorem_3_rises_with_the_radius(weights, rank, width, ratio):
    weights = sorted(weights, reverse=True)
    near = theory.theorem3_rank(weights, rank, half_width=width, ratio=0.0)
    far = theory.theorem3_rank(weights, rank, half_width=width, ratio=ratio)
    assert (np.asarray(far) >= np.asarray(near)).all()


# -- spectral ---------------------------------------------------------------------------------------------------------


@given(scores(), st.data(), st.floats(0, 2))
def test_spectral_overlap_and_ranks_hold_for_every_map_in_the_ball(mean, data, budget):
    mean = mean[0]
    k = data.draw(st.integers(1, len(mean)))
    overlap = int(np.ravel(theory.spectral_overlap(mean, k, np.array([budget])))[0])
    ranks = theory.spectral_ranks(mean, budget)
    direction = data.draw(arrays.arrays(np.float64, len(mean), elements=st.floats(-1, 1)))
    size = np.linalg.norm(direction)
    assume(size > 1e-6)
    moved = mean + direction / size * np.sqrt(budget) * (1 - 1e-9)
    before, _ = theory.top_k_mask(mean[None], k)
    after, _ = theory.top_k_mask(moved[None], k)
    assert int((before & after).sum()) >= overlap
    places = np.argsort(np.argsort(-moved, kind="stable"), kind="stable") + 1
    assert (places <= ranks).all()


@given(scores(least=3), st.data())
def test_exchanges_cost_more_the_more_there_are(mean, data):
    mean = mean[0]
    k = data.draw(st.integers(1, len(mean) - 1))
    costs = theory.exchange_costs(mean, k, np.arange(1, min(k, len(mean) - k) + 1))
    assert (costs >= 0).all()
    assert (np.diff(costs) >= -1e-12).all()
    assert (theory.staying_costs(mean, k) >= 0).all()


@given(RATIO, RATIO)
def test_chi_grows_with_the_radius(one, two):
    one, two = sorted((one, two))
    assert float(theory.chi(one)) <= float(theory.chi(two))
    assert float(theory.chi(one)) == pytest.approx(np.sqrt(np.expm1(one**2)))


@st.composite
def evidence(draw):
    """Generate the numbers of a covariance summary."""
    top = draw(st.floats(0.01, 50))
    number = lambda value: np.array([value])  # noqa: E731
    return {
        "squared_norm": draw(st.floats(100, 1000)),
        "n_samples": number(draw(st.integers(4096, 10**5)) * 1.0),
        "pairs": number(draw(st.integers(4000, 10**8)) * 1.0),
        "trace": number(top * draw(st.floats(1, 50))),
        "top_eigenvalue": number(top),
    }


@given(evidence(), ALPHA, RATIO, RATIO, st.floats(0, 30))
@settings(max_examples=50)
def test_displacements_grow_with_the_radius_and_the_confidence(known, alpha, one, two, limit):
    one, two = sorted((one, two))
    kinds = {
        "short": lambda level: theory.short_displacement(**known, alpha=level),
        "full": lambda level: theory.full_displacement(
            **known,
            frobenius_norm=2 * known["top_eigenvalue"],
            fourth_moment=known["squared_norm"] ** 2 / 4,
            alpha=level,
        ),
    }
    for displacement in kinds.values():
        plain, surer = displacement(alpha), displacement(alpha / 10)
        near, far = plain.squared(np.array([one, two]))[0]
        assert near <= far
        assert near <= surer.squared(np.array([one]))[0, 0] * (1 + 1e-9)
        below = plain.ratio_below(np.array([limit]))
        assert plain.squared(below)[0, 0] <= max(limit, plain.squared(np.zeros(1))[0, 0])


# -- regions and looks ------------------------------------------------------------------------------------------------


@given(arrays.arrays(np.float64, st.tuples(st.just(1), st.integers(2, 200)), elements=UNIT), RATIO, RATIO, ALPHA)
@settings(max_examples=60)
def test_the_mass_of_a_region_is_a_bound_and_falls_with_the_radius(fractions, one, two, alpha):
    one, two = sorted((one, two))
    near, far = (float(theory.region_mass(fractions, ratio=r, alpha=alpha)[0]) for r in (one, two))
    assert 0 <= far <= near + 1e-9
    assert near <= fractions.mean() + 1e-9
    for bound in theory.region_mass_bounds(fractions, ratio=one, alpha=alpha):
        assert float(np.ravel(bound)[0]) <= fractions.mean() + 1e-9


@given(st.integers(1, 10**6), st.floats(1e-9, 0.5))
def test_the_band_of_dvoretzky_kiefer_and_wolfowitz(draws, tail):
    assert np.exp(-2 * draws * theory.dkw_half_width(draws, tail) ** 2) == pytest.approx(tail, rel=1e-9)


@given(ALPHA, st.integers(1, 1000))
def test_all_looks_together_spend_no_more_than_alpha(alpha, looks):
    spent = sum(theory.look_level(alpha, look) for look in range(1, looks + 1))
    assert spent < alpha
    assert spent == pytest.approx(alpha * (1 - 1 / (looks + 1)))


@given(st.integers(1, 5000), st.integers(2, 10**6))
def test_looks_end_at_the_cap_and_double(block, most):
    sizes = theory.look_sizes(block, most)
    assert sizes[-1] == most
    assert sizes == sorted(set(sizes))
    assert all(size % block == 0 for size in sizes[:-1])
    assert len(sizes) <= np.log2(most) + 3
