"""The probe: maps that depend on other rows, and maps that change while they are sampled, are refused."""

import contextlib
import itertools
import math
import warnings

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    NoiseTunnel,
    Saliency,
    ShapleyValueSampling,
)
from looks import sampled_in_looks
from networks import Watched
from torch import nn
from torch.nn import functional

from captum_certified import (
    CertificationError,
    Certifier,
    NormalizedSmoothGrad,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    sample_many,
)
from captum_certified.attr.per_draw_maps import Scaled, Sparsified
from captum_certified.attr.probe import Probe
from captum_certified.attr.reachable import Reachable

D = 12
X = torch.rand(3, D, generator=torch.Generator().manual_seed(0))
ROWS = "whose maps change with the other rows of their pass"
LATER = "that stay the same while they are sampled, got other maps of draws"


def network(*, sharpness=3.0):
    torch.manual_seed(1)
    made = nn.Sequential(nn.Linear(D, 16), nn.Tanh(), nn.Linear(16, 3)).eval()
    with torch.no_grad():
        made[0].weight.mul_(sharpness)
    return made


NET = network()


def sampled(forward, x=X, *, method=Saliency, make=None, **settings):
    explainer = (make or (lambda m: SparsifiedSmoothGrad(m, tau=0.25)))(method(forward))
    return explainer.sample(x, **{"target": 0, "nt_samples": 128, "stdevs": 0.3, "seed": 0, **settings})


# -- other rows ------------------------------------------------------------------------------------------------


class RecurrentOverTheBatch(nn.Module):
    """The usual slip: without ``batch_first`` the recurrence runs over the rows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.lstm, self.out = nn.LSTM(D, 24), nn.Linear(24, 3)
        with torch.no_grad():
            for parameter in self.lstm.parameters():
                parameter.mul_(3)

    def forward(self, x):
        return self.out(self.lstm(x.unsqueeze(1))[0][:, 0])


class Attention(nn.Module):
    """Attends over the rows of the batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.attention, self.out = nn.MultiheadAttention(D, 2), nn.Linear(D, 3)

    def forward(self, x):
        rows = (4 * x).unsqueeze(1)
        return self.out(torch.tanh(self.attention(rows, rows, rows, need_weights=False)[0][:, 0]))


def behind_a_dominant_column(x):
    """Statistics of the batch in all features but one, whose gradient is three thousand times as large."""
    others = x[:, 1:] - x[:, 1:].mean(0)
    return torch.stack([30 * x[:, 0] + 0.01 * (others**3).sum(1), x[:, 1]], dim=1)


def sorted_by_the_batch(x):
    return NET(x - x.sort(dim=0).values[len(x) // 2])


def with_the_maximum_of_the_batch(x):
    return NET(x / x.abs().amax())


def every_tenth_row_sees_its_neighbour(x):
    seen = torch.arange(len(x)) % 10 == 0
    return NET(x + seen.unsqueeze(1) * x.roll(1, dims=0).detach() ** 2)


COUPLED = {
    "last row": lambda x: NET(x - x[-1:].detach()),
    "first row": lambda x: NET(x + x[:1].detach()),
    "running sum": lambda x: NET(x.cumsum(0)),
    "recurrence": RecurrentOverTheBatch().eval(),
    "attention": Attention().eval(),
    "batch statistics": nn.Sequential(nn.BatchNorm1d(D, track_running_stats=False), *network()).eval(),
    "dominant column": behind_a_dominant_column,
    "median": sorted_by_the_batch,
    "maximum": with_the_maximum_of_the_batch,
    "few rows": every_tenth_row_sees_its_neighbour,
}


@pytest.mark.parametrize("x", [X, X[:1]], ids=["three examples", "one example"])
@pytest.mark.parametrize("name", COUPLED)
def test_rows_that_reach_each_other_are_refused(name, x):
    with pytest.raises(CertificationError, match=f"{ROWS}|Expected more than 1 value per channel"):
        sampled(COUPLED[name], x)


@pytest.mark.parametrize("make", [ScaledSmoothGrad, NormalizedSmoothGrad])
def test_rows_that_reach_each_other_are_refused_in_maps_that_are_not_binary(make):
    for name in ("dominant column", "last row"):
        with pytest.raises(CertificationError, match=ROWS):
            sampled(COUPLED[name], make=make)


def test_perturbation_methods_are_probed():
    with pytest.raises(CertificationError, match=ROWS):
        sampled(COUPLED["recurrence"], method=FeatureAblation)


RANDOM = {
    "NoiseTunnel": (lambda f: NoiseTunnel(Saliency(f)), {"attribution_kwargs": {"nt_samples": 2, "stdevs": 0.02}}),
    "GradientShap": (GradientShap, {"baselines": torch.zeros(4, D), "n_samples": 2}),
    "ShapleyValueSampling, two at a time": (ShapleyValueSampling, {"n_samples": 2, "perturbations_per_eval": 2}),
    "ShapleyValueSampling": (ShapleyValueSampling, {"n_samples": 2}),
}


@pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")
@pytest.mark.parametrize("name", RANDOM)
def test_methods_with_random_numbers_are_probed(name):
    method, settings = RANDOM[name]
    with pytest.raises(CertificationError, match=ROWS):
        sampled(COUPLED["batch statistics"], X, method=method, nt_samples=32, **settings)
    assert sampled(network(), X, method=method, nt_samples=32, **settings).setup["stochastic"]


def test_a_method_that_explains_row_by_row_is_not_refused():
    assert sampled(COUPLED["last row"], X, method=KernelShap, n_samples=20, nt_samples=16).setup["stochastic"]


def test_baselines_that_are_an_average_of_the_batch_are_refused():
    with pytest.raises(CertificationError, match=ROWS):
        sampled(network(), method=GradientShap, baselines=lambda x: x.mean(0, keepdim=True), n_samples=2)


@pytest.mark.parametrize("first_draw", [0, 62, 63, 64])
def test_the_largest_pass_is_probed_for_every_first_draw(first_draw):
    with pytest.raises(CertificationError, match=ROWS):
        sampled(COUPLED["last row"], X[:1], first_draw=first_draw)


def test_a_coupling_of_many_rows_is_seen_where_a_run_begins_with_few():
    def ninth_row(x):
        return NET(x - x[8:9].detach()) if len(x) > 8 else NET(x)

    for first_draw in (0, 62):
        with pytest.raises(CertificationError, match=ROWS):
            sampled(ninth_row, X[:1], first_draw=first_draw)


def test_a_pass_of_one_row_has_no_other_rows():
    alone = sampled(COUPLED["last row"], X[:1], nt_samples_batch_size=1)
    assert alone.counts.sum() > 0
    assert not sampled(COUPLED["last row"], X[:1], nt_samples=1, covariance=False).setup["stochastic"]


def test_rows_that_are_finite_only_beside_some_others_are_refused():
    largest = [0.0]

    def undefined(x):
        if len(x) > len(X):
            largest.append(max(largest[-1], float(x.detach().amax())))
        return NET(x) * (1.0 if float(x.detach().amax()) >= largest[-1] or len(x) == len(X) else torch.nan)

    with pytest.raises(CertificationError, match=ROWS):
        sampled(undefined, make=ScaledSmoothGrad)


def test_each_of_several_maps_is_probed():
    method = Saliency(behind_a_dominant_column)
    explainers = [ScaledSmoothGrad(method), SparsifiedSmoothGrad(method, tau=0.5)]
    with pytest.raises(CertificationError, match=ROWS):
        sample_many(explainers, X, target=0, nt_samples=64, stdevs=0.3, seed=0)


def recorded(rows, *, seed=0):
    """Return the rows that each pass of the probe replaces, for a method that returns its input."""
    made = torch.rand(rows, 4, generator=torch.Generator().manual_seed(seed))
    passes = []

    def again(noisy, draws):
        passes.append((noisy[0] != made).any(dim=1))
        return made

    probe = Probe(
        lambda draws: (made.clone(),),
        [True],
        [Sparsified(0.5)],
        seed=seed,
        most_draws=rows,
        reachable=Reachable(None),
        buffers={},
    )
    probe.check_other_rows(range(rows), made, again, reorder=False)
    return passes


@pytest.mark.parametrize("rows", [2, 3, 6, 64])
def test_one_half_of_the_rows_the_other_half_and_another_half_are_replaced(rows):
    first, second, *third = recorded(rows)
    assert torch.equal(second, ~first)
    assert first.sum() == (rows + 1) // 2
    assert len(third) == (rows > 2)
    if rows == 64:
        pairs = set(itertools.permutations(range(rows), 2))
        found = [{(i, j) for i, j in pairs if not part[i] and part[j]} for part in (first, second, *third)]
        for number in range(3):  # every pass sees pairs of rows that no other sees
            assert found[number] - set.union(*(found[:number] + found[number + 1 :]))
        assert len(set.union(*found)) > 0.6 * len(pairs)


def test_models_that_use_the_place_of_a_row_are_refused():
    """A generator that is seeded anew in every call gives every place the same numbers in every pass."""

    def dithered(x):
        numbers = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
        return NET(x + 2 * numbers)

    for x in (X, X[:1]):
        with pytest.raises(CertificationError, match="rows that moved to another place in their pass"):
            sampled(dithered, x)
        assert sampled(dithered, x, nt_samples_batch_size=1).n_samples.tolist() == [128] * len(x)
    with pytest.raises(CertificationError, match=r"moved to another place|change with the other rows"):
        sampled(lambda x: NET(x * (1 + torch.arange(len(x)).unsqueeze(1) % 3)), X)


def test_rounding_may_depend_on_the_place():
    class Rounded(nn.Module):
        calls = 0

        def forward(self, x):
            Rounded.calls += 1
            last = torch.arange(len(x)).unsqueeze(1) >= len(x) - 3
            return NET(torch.where(last, x * (1 + 1e-7), x))

    for make in (None, ScaledSmoothGrad):
        assert sampled(Rounded(), make=make).n_samples.tolist() == [128] * 3


def test_which_rows_are_replaced_depends_on_the_seed():
    assert len({tuple(recorded(64, seed=seed)[0].tolist()) for seed in range(4)}) == 4


def test_replaced_rows_are_far_and_within_the_range():
    for seed, perturbed in itertools.product(range(4), ([True, True], [True, False])):
        made = [torch.rand(8, 3, 5, generator=torch.Generator().manual_seed(seed)) for _ in range(2)]
        seen = []

        def again(noisy, draws, seen=seen):
            seen.append(noisy)
            return made[0].flatten(1)  # noqa: B023

        Probe(
            lambda draws, made=made: tuple(t.clone() for t in made),
            perturbed,
            [Scaled()],
            seed=seed,
            most_draws=8,
            reachable=Reachable(None),
            buffers={},
        ).check_other_rows(range(8), made[0].flatten(1), again, reorder=False)
        for noisy in seen:
            for tensor, original, moves in zip(noisy, made, perturbed, strict=True):
                assert original.min() <= tensor.min() <= tensor.max() <= original.max()
                moved = (tensor - original).abs().flatten(1).mean(1)
                assert bool((moved > 0.1).any()) is moves
                assert bool((moved[moved > 0] > 0.1).all())


def test_models_that_take_only_values_of_each_feature_get_such_values():
    """One feature is an index, which must stay in its range."""
    table = torch.rand(4, D, generator=torch.Generator().manual_seed(2))
    x = torch.cat([torch.full((2, 1), 30.0), torch.rand(2, D - 1)], dim=1)

    def looked_up(z):
        return NET(z * table[(z[:, 0] - 28).round().long()])

    assert sampled(looked_up, x, stdevs=0.2, method=InputXGradient).n_samples.tolist() == [128, 128]

    def last_row_but_its_index(z):
        return torch.cat([torch.zeros(1, 1), z[-1:, 1:].detach()], dim=1)

    with pytest.raises(CertificationError, match=ROWS):
        sampled(lambda z: looked_up(z + last_row_but_its_index(z)), x, stdevs=0.2, method=InputXGradient)


class Noisy(nn.Module):
    """Arithmetic that is not reproducible: in some calls one entry in a thousand differs."""

    def __init__(self, *, coupled=False, often=1):
        super().__init__()
        self.calls, self.coupled, self.often = 0, coupled, often

    def forward(self, x):
        self.calls += 1
        weights = torch.arange(x.shape[1], 0, -1.0).repeat(len(x), 1)
        for entry in range(self.often):
            weights[self.calls % len(x), 500 + entry] = 1e-3 * (self.calls % 7)
        if self.coupled:
            weights = weights.roll(int(x[-1].sum() * 1e4) % 900, dims=1)
        return (x * weights).sum(1, keepdim=True)


def test_arithmetic_that_is_not_reproducible_may_differ_a_little():
    x = torch.rand(2, 2000, generator=torch.Generator().manual_seed(4))
    make = lambda m: SparsifiedSmoothGrad(m, tau=0.5)  # noqa: E731
    assert sampled(Noisy(), x, make=make, nt_samples=64).n_samples.tolist() == [64, 64]
    with pytest.raises(CertificationError, match=LATER):
        sampled(Noisy(often=40), x, make=make, nt_samples=64)
    with pytest.raises(CertificationError, match=ROWS):
        sampled(Noisy(coupled=True), x, make=make, nt_samples=64)


def test_rows_that_are_gathered_may_be_rounded_differently():
    """A mixture of experts computes all rows of an expert together, so other rows change the shape of its calls."""
    torch.manual_seed(0)
    experts = nn.ModuleList(nn.Sequential(nn.Linear(40, 64), nn.Tanh(), nn.Linear(64, 3)) for _ in range(3))

    def mixed(x):
        chosen, out = x[:, :3].argmax(1), x.new_zeros(len(x), 3)
        for number, expert in enumerate(experts):
            out = out.index_add(0, torch.nonzero(chosen == number)[:, 0], expert(x[chosen == number]))
        return out

    x = torch.rand(2, 40)
    for make in (ScaledSmoothGrad, NormalizedSmoothGrad, None):
        assert sampled(mixed, x, make=make).n_samples.tolist() == [128, 128]


# -- later -----------------------------------------------------------------------------------------------------


class KeepsItsState(nn.Module):
    """Keeps its hidden state while the batch size stays the same."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.out, self.state = nn.Linear(D, 12), nn.Linear(12, 4), None

    def forward(self, x):
        kept = self.state if self.state is not None and len(self.state) == len(x) else x.new_zeros(len(x), 12)
        hidden = 0.9 * kept + torch.tanh(3 * self.inner(x) * (1 + kept))
        self.state = hidden.detach()
        return self.out(torch.tanh(hidden))


class Averages(nn.Module):
    """A running mean that is updated in every forward pass, in evaluation mode too."""

    def __init__(self, slowness):
        super().__init__()
        self.inner, self.slowness = network(), slowness
        self.register_buffer("mean", torch.zeros(D))

    def forward(self, x):
        self.mean.mul_(self.slowness).add_(x.detach().mean(0), alpha=1 - self.slowness)
        return self.inner(4 * (x - self.mean))


class Counts(nn.Module):
    """Network that becomes another function at a certain call."""

    def __init__(self, call):
        super().__init__()
        self.inner, self.calls, self.call = network(), 0, call

    def forward(self, x):
        self.calls += 1
        return self.inner(x if self.calls < self.call else torch.sin(5 * x))


def taking_turns():
    first, second = network(), network(sharpness=9.0)
    turn = itertools.cycle([first, second])
    return lambda x: next(turn)(x)


CHANGING = {
    "state": KeepsItsState,
    "running mean": lambda: Averages(0.9),
    "slow running mean": lambda: Averages(0.99),
    "counter": lambda: Counts(8),
    "turns": taking_turns,
}


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("x", [X, X[:1]], ids=["three examples", "one example"])
def test_models_that_change_are_refused(name, x):
    with pytest.raises(CertificationError, match=f"{LATER}|{ROWS}"):
        sampled(CHANGING[name](), x, nt_samples=512, nt_samples_batch_size=16)


def test_a_model_that_changes_late_is_refused_at_the_end():
    # The clean input, the probe draw, 16 passes and three of the probe: the call after them is the repetition.
    model = Counts(20)
    with pytest.raises(CertificationError, match=f"{LATER} 0 to 31 when they were computed again"):
        sampled(model, X[:1], nt_samples=512, nt_samples_batch_size=32)
    assert model.calls > 21


def test_every_map_of_a_stream_is_checked():
    # Between the first two maps there are 14 calls about noisy copies and copies of the model.
    explainer = SparsifiedSmoothGrad(Saliency(Counts(12 + 14)), tau=0.25)
    stream = explainer.stream(X, nt_samples=64, nt_samples_batch_size=8, covariance=8, target=0, stdevs=0.3, seed=0)
    taken = [next(stream) for _ in range(2)]
    assert [int(smoothed.n_samples[0]) for smoothed in taken] == [8, 16]
    with pytest.raises(CertificationError, match=LATER):
        taken += itertools.islice(stream, 3)  # the last of its eight maps is far


def test_a_sequential_run_is_checked_at_every_look():
    certifier = Certifier(SparsifiedSmoothGrad(Saliency(Counts(30)), tau=0.25))
    with pytest.raises(CertificationError, match=LATER):
        certifier.certify(
            X, k=3, radius=0.2, overlap=3, nt_samples=1024, covariance=64, target=0, stdevs=0.3, nt_samples_batch_size=8
        )


def test_a_buffer_that_changes_without_effect_gives_a_warning():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

        def forward(self, x):
            self.calls += 1
            return self.inner(x)

    with pytest.warns(UserWarning, match="buffers 'calls' changed while it was sampled, and its maps did not"):
        one = sampled(Counter())
    with pytest.warns(UserWarning, match="'calls'"):
        two = sampled(Counter(), seed=1)
    assert one.merge(two).n_samples.tolist() == [256] * 3


def test_dropout_under_the_seed_of_the_draw_is_accepted():
    def dropped(x):
        return NET(functional.dropout(x, 0.2, training=True))

    assert sampled(dropped).setup["stochastic"]


class LittleMemory(nn.Module):
    """Network that runs out of memory in large passes, from a certain call on."""

    def __init__(self, rows, *, call=0):
        super().__init__()
        self.inner, self.rows, self.call, self.calls = network(), rows, call, 0

    def forward(self, x):
        self.calls += 1
        if len(x) > self.rows and self.calls > self.call:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return self.inner(x)


@pytest.mark.parametrize("call", [0, 9])
def test_a_pass_in_halves_is_repeated_in_halves(call):
    with pytest.warns(UserWarning, match="does not fit into memory"):
        smoothed = sampled(LittleMemory(20, call=call), X, nt_samples=256)
    assert torch.equal(smoothed.counts, sampled(network(), X, nt_samples=256).counts)


def test_a_model_that_changes_its_input_in_place_gets_new_inputs():
    def shifted(x):
        return NET(x.sub_(0.1))

    smoothed = sampled(shifted, method=FeatureAblation)
    assert torch.equal(smoothed.counts, sampled(shifted, method=FeatureAblation, check_rows=False).counts)


class OneEntry(nn.Module):
    """A linear model of 2000 features, one of which counts for less in one row when ``when`` says so."""

    def __init__(self, when, *, rows=math.inf):
        super().__init__()
        self.when, self.rows, self.calls = when, rows, 0

    def forward(self, x):
        self.calls += 1
        if len(x) > self.rows and self.calls > 9:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        weights = torch.arange(x.shape[1], 0, -1.0).repeat(len(x), 1)
        weights[0, 500] = 1e-3 if self.when(self.calls, len(x)) else 1500.0
        return (x * weights).sum(1, keepdim=True)


WIDE = torch.rand(2, 2000, generator=torch.Generator().manual_seed(4))


def test_the_smallest_change_is_refused_if_arithmetic_is_reproducible():
    model = OneEntry(lambda call, rows: call > 12)
    with pytest.raises(CertificationError, match=LATER):
        sampled(model, WIDE, make=lambda m: SparsifiedSmoothGrad(m, tau=0.5), nt_samples=512)


def test_rounding_of_a_pass_in_halves_is_tolerated():
    model = OneEntry(lambda call, rows: rows < 60, rows=40)
    with pytest.warns(UserWarning, match="does not fit into memory"):
        smoothed = sampled(model, WIDE, make=lambda m: SparsifiedSmoothGrad(m, tau=0.5), nt_samples=512)
    assert smoothed.n_samples.tolist() == [512, 512]


# -- what it costs ---------------------------------------------------------------------------------------------


def test_the_probe_takes_at_most_four_passes():
    with_probe, without = Watched(network()), Watched(network())
    one = sampled(with_probe, X, nt_samples=210)
    two = sampled(without, X, nt_samples=210, check_rows=False)
    assert torch.equal(one.counts, two.counts)
    assert with_probe.rows - without.rows == 4 * 63 + 2 * 3  # and two copies of each clean input
    # The clean input and the probe draw; then its class, that of noisy copies, and five copies of the model.
    assert without.rows == 3 * 210 + 2 * 3 + (1 + 210) * 3 + 5 * 3


def test_check_rows_false_turns_the_probe_off():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for forward in (COUPLED["last row"], KeepsItsState()):
            assert sampled(forward, check_rows=False).n_samples.tolist() == [128] * 3


def test_integrated_gradients_of_an_ordinary_network_are_accepted():
    assert sampled(network(), method=IntegratedGradients, n_steps=3).n_samples.tolist() == [128] * 3


# -- other cases -----------------------------------------------------------------------------------------------


def test_a_model_that_uses_the_number_of_rows_is_refused():
    with pytest.raises(CertificationError, match="the model uses the number of rows of its input"):
        sampled(lambda x: NET(4 * x * (1 + len(x) / 40)), X)


class ShortOfMemory(nn.Module):
    """Network that changes its input in place, and once runs out of memory in the middle of a pass."""

    def __init__(self, call):
        super().__init__()
        self.calls, self.call = 0, call

    def forward(self, x):
        self.calls += 1
        x.sub_(0.4).mul_(3)
        if self.calls == self.call:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return NET(x)


@pytest.mark.parametrize("entry", ["attribute", "sample"])
def test_a_pass_that_is_repeated_gets_unchanged_rows(entry):
    settings = {"target": 0, "nt_samples": 96, "stdevs": 0.3, "seed": 0}
    call = 3 if entry == "attribute" else 100
    maps = []
    for model in (ShortOfMemory(-1), ShortOfMemory(call)):
        explainer = SparsifiedSmoothGrad(FeatureAblation(model), tau=0.25)
        with (
            pytest.warns(UserWarning, match="does not fit into memory") if model.call > 0 else contextlib.nullcontext()
        ):
            found = getattr(explainer, entry)(X, **settings)
        maps.append(found if entry == "attribute" else found.features.float())
    torch.testing.assert_close(*maps)


def test_models_with_their_own_errors_get_values_of_each_feature():
    class OutOfRangeError(Exception):
        pass

    def narrow(x):
        if bool((x[:, 0] < 20).any()):
            raise OutOfRangeError
        return NET(x)

    x = torch.cat([torch.full((2, 1), 30.0), torch.rand(2, D - 1)], dim=1)
    assert sampled(narrow, x, stdevs=0.2).n_samples.tolist() == [128, 128]
    sums = []

    def brittle(z):
        sums.append(float(z.detach().sum()))
        if len(z) > len(x) and sums[-1] != next(total for total in sums if total > 40 * len(x)):
            raise OutOfRangeError
        return NET(z)

    with pytest.raises(CertificationError, match=r"but it raised OutOfRangeError: .* Set `check_rows`=False"):
        sampled(brittle, x, stdevs=0.2, nt_samples=32)


def test_maps_record_whether_they_were_probed():
    one, two = sampled(NET), sampled(NET, check_rows=False, seed=1)
    assert one.setup["probed"] is True
    assert two.setup["probed"] is False
    assert one.merge(two).setup["probed"] is False
    assert one.merge(sampled(NET, seed=2)).setup["probed"] is True


def trimmed(x, lengths):
    """Cut the batch at its longest row, as models of sequences do, and use its length."""
    longest = int(lengths.max())
    return NET(torch.cat([x[:, :longest], torch.zeros(len(x), D - longest)], dim=1) * (1 + D - longest))


def test_rows_that_depend_on_the_other_rows_are_sampled_together():
    explainer = SparsifiedSmoothGrad(Saliency(trimmed), tau=0.25)
    common = {
        "target": 0,
        "stdevs": 0.3,
        "seed": 0,
        "covariance": 64,
        "additional_forward_args": torch.tensor([5, 7, 12]),
    }
    answers = [torch.tensor([False, False, True]), torch.ones(3, dtype=torch.bool)]
    smoothed = sampled_in_looks(explainer, X, answers, [64, 128, 256], **common)
    assert smoothed.n_samples.tolist() == [128, 128, 64]
    whole = explainer.sample(X, nt_samples=128, **common)
    assert torch.equal(smoothed.feature_counts[:2], whole.feature_counts[:2])


def test_arithmetic_of_few_features_may_differ_by_one():
    class Jittered(nn.Module):
        calls = 0

        def forward(self, x):
            Jittered.calls += 1
            weights = 100 + 0.1 * torch.arange(x.shape[1], 0, -1.0).repeat(len(x), 1)
            weights[Jittered.calls % len(x), 20] += 0.15 if Jittered.calls % 2 else 1e-4
            return (x * weights).sum(1, keepdim=True)

    x = torch.rand(2, 40, generator=torch.Generator().manual_seed(4))
    assert sampled(Jittered(), x, make=lambda m: SparsifiedSmoothGrad(m, tau=0.5)).n_samples.tolist() == [128, 128]
