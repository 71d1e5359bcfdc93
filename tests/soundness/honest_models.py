"""Honest models: precisions, compilers, architectures, and states that have no effect on maps."""

import collections
import functools

import torch
from captum import attr
from cases import Recurrent, close, conv, dropout_net, honest, mlp, same, served, skip_unless, tanh_mlp
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from captum_certified import NormalizedSmoothGrad, SparsifiedSmoothGrad


@honest
def half_and_double_precision():
    """Explain models in float16 and in float64."""
    x = torch.rand(2, 8).half()
    served(attr.Saliency(mlp().half()), x, target="argmax", draws=256)
    served(attr.FeatureAblation(mlp().half()), x, target=0)
    served(attr.Saliency(conv().half()), torch.rand(2, 1, 6, 6).half(), target=0, draws=128)
    double_precision()


def double_precision():
    model, x = mlp().double(), torch.randn(2, 8, dtype=torch.float64)
    one = served(attr.Saliency(model), x, target=0, draws=100, nt_samples_batch_size=7)
    other = served(attr.Saliency(model), x, target=0, draws=100, nt_samples_batch_size=32)
    same(one, other, tolerance=1e-12)
    served(attr.IntegratedGradients(model), x, target=1, n_steps=4, kind=NormalizedSmoothGrad)


@honest
def bfloat16_with_many_ties():
    """Explain in bfloat16: ties everywhere, and roundings that may depend on the place in the batch."""
    model = mlp(32, 24).bfloat16()
    x = torch.rand(3, 32).bfloat16()
    served(attr.Saliency(model), x, target=[0, 1, 2], draws=300)
    served(attr.InputXGradient(conv().bfloat16()), torch.rand(2, 1, 6, 6).bfloat16(), target=0, draws=128)
    served(attr.IntegratedGradients(model), x, target=1, n_steps=4, draws=100)


@honest
def compiled_and_data_parallel_models():
    """Explain compiled models, a function around one, and a DataParallel on the CPU."""
    x = torch.randn(2, 8)
    data_parallel_on_the_cpu()
    skip_unless(lambda: torch.compile(mlp(), backend="eager")(x))
    served(attr.Saliency(torch.compile(mlp(), backend="eager")), x, target=0, draws=100)
    served(attr.Saliency(torch.compile(mlp(act=nn.Tanh), backend="aot_eager")), x, target=0, draws=64)
    inner = torch.compile(mlp(act=nn.ELU), backend="eager")
    served(attr.FeatureAblation(lambda x: inner(x).softmax(1)), x, target=0)


def data_parallel_on_the_cpu():
    model = nn.DataParallel(conv()).eval().cpu()
    model.device_ids = []  # as on a machine without GPUs
    served(attr.Saliency(model), torch.rand(2, 1, 6, 6), target=0, draws=128)
    served(attr.LayerGradCam(model, model.module[2]), torch.rand(2, 1, 6, 6), target=0)


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed)
        return self.head(torch.cat([last[0], last[1]], 1))


@honest
def recurrent_batch_first_and_packed():
    """Explain recurrent networks over sequences, packed ones of unequal lengths among them."""
    x = torch.randn(3, 5, 4)
    served(attr.Saliency(Recurrent(nn.LSTM).eval()), x, target=0, draws=128)
    served(attr.InputXGradient(Recurrent(nn.GRU, dropout=0.4).eval()), x, target=0)
    lengths = torch.tensor([5, 2, 3])
    result = served(attr.Saliency(Packed().eval()), x, target=[0, 1, 2], draws=128, additional_forward_args=lengths)
    assert (result.mean[1, 2:] == 0).all(), "padding is salient"


class CachedAttention(nn.Module):
    """Writes keys and values of the call into a static cache, and reads only what it has just written."""

    def __init__(self, d=4):
        super().__init__()
        self.q, self.k, self.v, self.head = (nn.Linear(d, d) for _ in range(4))
        self.register_buffer("values", torch.zeros(1024, 5, d), persistent=False)
        self.keys, self.rotary = None, {}

    def forward(self, x):
        length = x.shape[1]
        if length not in self.rotary:
            self.rotary[length] = torch.arange(length).float().cos().view(1, -1, 1)
        self.keys = self.k(x * self.rotary[length])
        with torch.no_grad():
            self.values[: len(x), :length].copy_(self.v(x))
        values = self.values[: len(x), :length].clone()
        weights = (self.q(x) @ self.keys.transpose(1, 2)).softmax(-1)
        return self.head((weights @ values).mean(1) + 0.3 * x.mean(1))


@honest
def cache_overwritten_in_every_call():
    """Write keys and values into a static cache, and read only what this call has written."""
    served(attr.Saliency(CachedAttention().eval()), torch.randn(3, 5, 4), target=0, draws=128)
    served(attr.Occlusion(CachedAttention().eval()), torch.randn(2, 5, 4), target=0, sliding_window_shapes=(1, 4))


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.calls, self.seen = mlp(), 0, collections.Counter()
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self.register_buffer("largest", torch.zeros(8))
        self.net[1].register_forward_hook(self.remember)

    def remember(self, module, args, out):
        self.features = out

    def forward(self, x):
        self.calls += 1
        self.seen[tuple(x.shape)] += 1
        self.batches += 1
        with torch.no_grad():
            torch.maximum(self.largest, x.detach().amax(0), out=self.largest)
        self.net(x)
        return self.net[2](self.features)


@honest
def counters_and_monitors_that_do_not_matter():
    """Count calls and watch activations with buffers that no output depends on."""
    model = Counted().eval()
    got = served(attr.Saliency(model), torch.randn(2, 8), target=0, draws=128)
    assert model.calls > 0
    assert got.counts is not None
    served(attr.GradientShap(Counted().eval()), torch.randn(2, 8), target=0, draws=32, baselines=torch.zeros(2, 8))
    served(attr.FeatureAblation(Counted().eval()), torch.randn(2, 8), target=0)


@honest
def spectral_and_weight_norm_of_both_styles():
    """Explain networks with spectral and weight norm, of hooks and of parametrisations."""
    x = torch.randn(2, 8)
    for norm in (
        nn.utils.spectral_norm,
        parametrizations.spectral_norm,
        nn.utils.weight_norm,
        parametrizations.weight_norm,
    ):
        model = nn.Sequential(norm(nn.Linear(8, 12)), nn.Softplus(), norm(nn.Linear(12, 3)))
        model.train()(x)
        served(attr.Saliency(model.eval()), x, target=0, draws=128)
        served(attr.FeatureAblation(model.eval()), x, target=0, draws=32)


@honest
def batch_norm_in_evaluation_mode():
    """Explain a network with batch-norm and dropout in evaluation mode; it must stay unchanged."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(64, 3)
    )
    model.train()(torch.rand(16, 1, 6, 6))
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    served(attr.Saliency(model), torch.rand(2, 1, 6, 6), target=0, draws=128)
    served(attr.DeepLift(model), torch.rand(2, 1, 6, 6), target=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the model was changed"


@honest
def group_instance_and_layer_norm():
    """Normalise each row by its own statistics, no batch statistics; leave harmless layers in training mode."""
    for norm in (
        nn.GroupNorm(2, 4),
        nn.InstanceNorm2d(4, affine=True),
        nn.InstanceNorm2d(4, track_running_stats=True),
        nn.LayerNorm([4, 4, 4]),
        nn.LocalResponseNorm(2),
    ):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Softplus(), nn.Flatten(), nn.Linear(64, 3)).eval()
        served(attr.Saliency(model), torch.rand(2, 1, 6, 6), target=0)
    part = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(64, 3))  # training mode, harmless
    served(attr.Saliency(part.train()), torch.rand(2, 1, 6, 6), target=0)


class MonteCarloDropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 3)

    def forward(self, x):
        return self.second(functional.dropout(torch.tanh(2 * self.first(x)), 0.3, training=True))


@honest
def functional_dropout_is_stochastic():
    """Keep functional dropout on for its uncertainty: stochastic, and reproducible by the seed."""
    model, x = MonteCarloDropout().eval(), torch.randn(2, 8)
    one = served(attr.Saliency(model), x, target=0, draws=96)
    torch.rand(3)
    state = torch.get_rng_state()
    other = served(attr.Saliency(model), x, target=0, draws=96, nt_samples_batch_size=5)
    assert torch.equal(state, torch.get_rng_state()), "the global generator was moved"
    assert one.setup["stochastic"], "not called stochastic"
    assert (one.counts - other.counts).abs().max() <= 2, "another map under the same seed"


@honest
def scripted_traced_and_fx_models():
    """Explain scripted, traced and symbolically traced models."""
    x = torch.randn(2, 8)
    served(attr.Saliency(torch.jit.script(mlp())), x, target=0, draws=128)
    served(attr.Saliency(torch.jit.trace(mlp(), torch.randn(3, 8))), x, target=0, draws=128)
    served(attr.Saliency(torch.jit.script(dropout_net().eval())), x, target="argmax")
    fx_traced_models()


def fx_traced_models():
    model = torch.fx.symbolic_trace(conv())
    served(attr.Saliency(model), torch.rand(2, 1, 6, 6), target=0, draws=128)
    served(attr.IntegratedGradients(model), torch.rand(2, 1, 6, 6), target=0, n_steps=3)


@honest
def lazy_modules():
    """Explain lazy modules, both initialised and not."""

    def build():
        return nn.Sequential(nn.LazyLinear(12), nn.Softplus(), nn.LazyLinear(3)).eval()

    x, ready = torch.randn(2, 8), build()
    ready(x)
    served(attr.Saliency(ready), x, target=0, draws=128)
    served(attr.Saliency(build()), x, target=0, draws=128)


@honest
def frozen_parameters():
    """Explain a network whose parameters need no gradient, and under no_grad."""
    model = conv().requires_grad_(False)
    served(attr.Saliency(model), torch.rand(2, 1, 6, 6), target=0)
    served(attr.LayerGradCam(model, model[2]), torch.rand(2, 1, 6, 6), target=0)
    served(attr.IntegratedGradients(model), torch.rand(2, 1, 6, 6), target=0, n_steps=3)
    with torch.no_grad():
        served(attr.Saliency(model), torch.rand(2, 1, 6, 6), target=0)


class NoGrad(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp(6)

    @torch.no_grad()
    def forward(self, x):
        return self.net(x).softmax(1)


@honest
def no_grad_models_with_perturbation_methods():
    """Perturb models that forbid gradients: no_grad, inference mode and NumPy."""
    model, x = NoGrad().eval(), torch.randn(2, 6)
    served(attr.FeatureAblation(model), x, target=0)
    served(attr.Occlusion(model), x, target="argmax", sliding_window_shapes=(2,))
    served(attr.KernelShap(model), x[:1], target=0, draws=16, n_samples=8)
    served(attr.FeatureAblation(torch.inference_mode()(mlp(6).forward)), x, target=0)
    served(attr.FeatureAblation(lambda x: torch.from_numpy(model(x).numpy() ** 2)), x, target=0)


class SparseSelection(nn.Module):
    """Boolean indexing: only entries above a threshold are transformed, and their number depends on the data."""

    def __init__(self):
        super().__init__()
        self.inner, self.net = nn.Linear(1, 1), mlp()

    def forward(self, x):
        above = x > 0.2
        out = 0.1 * x
        picked = x[above]
        if picked.numel():
            out = out.masked_scatter(above, torch.tanh(self.inner(picked.unsqueeze(1))).squeeze(1) + picked)
        return self.net(out)


@honest
def boolean_indexing_inside():
    """Transform only the entries above a threshold, as many as the data has."""
    served(attr.Saliency(SparseSelection().eval()), torch.randn(2, 8), target=0, draws=128)
    served(attr.FeatureAblation(SparseSelection().eval()), torch.randn(2, 8), target=0)


class RowExperts(nn.Module):
    """Each row goes to the experts that it likes; how many rows an expert gets changes its rounding, nothing else."""

    def __init__(self, d=32):
        super().__init__()
        self.router = nn.Linear(d, 4)
        self.experts = nn.ModuleList(mlp(d, 48, seed=seed) for seed in range(4))

    def forward(self, x):
        weights, chosen = self.router(x).softmax(1).topk(2, dim=1)
        out = x.new_zeros(len(x), 3)
        for number, expert in enumerate(self.experts):
            rows, place = (chosen == number).nonzero(as_tuple=True)
            if len(rows):
                out = out.index_add(0, rows, weights[rows, place].unsqueeze(1) * expert(x[rows]))
        return out


@honest
def mixture_of_experts_by_row():
    """Send each row to the experts that it likes; company changes their rounding alone."""
    model = RowExperts().eval()
    served(attr.Saliency(model), torch.randn(3, 32), target=0, draws=256, stdevs=0.5)
    served(attr.FeatureAblation(model), torch.randn(2, 32), target=0, draws=64, stdevs=0.5)
    served(attr.GradientShap(model), torch.randn(2, 32), target=0, draws=32, baselines=torch.zeros(2, 32))


class RowByRow:
    """Rows one by one under vmap, with the parameters apart from the network, recomputed in the backward pass."""

    def __init__(self, net):
        self.net, self.parameters = net, dict(net.named_parameters())
        self.rows = torch.vmap(self.row)

    def row(self, row):
        return functional_call(self.net, self.parameters, (row.unsqueeze(0),)).squeeze(0)

    def __call__(self, x):
        return checkpoint(self.rows, x, use_reentrant=False)


def build_functional():
    torch.manual_seed(11)
    net = nn.Sequential(nn.Linear(12, 24), nn.LayerNorm(24), nn.GELU(), nn.Dropout(0.5), nn.Linear(24, 3)).eval()
    return net, RowByRow(net), torch.rand(3, 12)


@honest
def vmap_checkpoint_functional_call():
    """Map over rows with vmap, functional_call and checkpoint: the map is the plain network's."""
    net, by_rows, rows = build_functional()
    skip_unless(lambda: attr.Saliency(by_rows).attribute(rows.clone().requires_grad_(), target=0))
    settings = {"target": torch.tensor([0, 1, 2]), "nt_samples": 256, "stdevs": 0.3, "seed": 0}
    maps = [SparsifiedSmoothGrad(attr.Saliency(f), tau=0.25).sample(rows, **settings) for f in (by_rows, net)]
    close(*maps, 0.02, "the same network under vmap and checkpoint")


def half_precision(function):
    @functools.wraps(function)
    def inner(*arguments):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return function(*arguments).float()

    return inner


def build_autocast():
    torch.manual_seed(12)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(144, 3)).eval()
    return net, half_precision(net.__call__), torch.rand(2, 1, 8, 8)


@honest
def autocast_in_a_decorator():
    """Compute in half precision behind a decorator: the map is nearly the plain network's."""
    net, half, images = build_autocast()
    settings = {"target": 1, "nt_samples": 256, "stdevs": 0.3, "seed": 0}
    maps = [SparsifiedSmoothGrad(attr.Saliency(f), tau=0.25).sample(images, **settings) for f in (half, net)]
    close(*maps, 0.35, "the same network in half precision")
    assert (maps[0].mean.double() - maps[1].mean.double()).abs().mean() < 0.05


class Ragged(nn.Module):
    """A GRU over padded sequences of known lengths; keeps its last state, for people to look at, and never reads it."""

    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(3, 10, batch_first=True, bidirectional=True), nn.Linear(20, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.last = None

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, hidden = self.gru(packed)
        self.last = hidden.detach()
        self.calls += 1
        return self.head(hidden.transpose(0, 1).flatten(1))


def build_ragged():
    torch.manual_seed(13)
    return Ragged().eval(), torch.rand(3, 6, 3) + 0.5, torch.tensor([2, 6, 4])


@honest
def ragged_batch_with_lengths():
    """Explain padded sequences of known lengths; the model keeps a state that it never reads."""
    model, sequences, lengths = build_ragged()
    explainer = SparsifiedSmoothGrad(attr.InputXGradient(model), tau=0.2)
    one = explainer.sample(
        sequences, target="argmax", additional_forward_args=lengths, nt_samples=256, stdevs=0.2, seed=0
    )
    for mean, length in zip(one.mean, lengths.tolist(), strict=True):
        assert not mean[length:].any(), "padding became salient"
        assert mean[:length].any(), "nothing is salient"
        assert abs(float(mean.sum()) - 4) < 1e-6, "four features are salient in every draw"


class Memoised:
    """An expensive black box, each row computed once and remembered under all of its bytes."""

    def __init__(self, net, remember=True):
        self.net, self.memory, self.hits, self.remember = net, {}, 0, remember

    @torch.no_grad()
    def __call__(self, x):
        results = []
        for row in x:
            key = row.numpy().tobytes()
            if key in self.memory and self.remember:
                self.hits += 1
            else:
                self.memory[key] = self.net(row.unsqueeze(0))
            results.append(self.memory[key])
        return torch.cat(results)


def build_memoised(remember=True):
    torch.manual_seed(15)
    return Memoised(tanh_mlp(8), remember), torch.rand(2, 8)


@honest
def exact_cache():
    """Remember rows under all of their bytes: the map is the one without the cache."""
    maps = []
    for remember in (True, False):
        black_box, rows = build_memoised(remember)
        explainer = SparsifiedSmoothGrad(attr.FeatureAblation(black_box), tau=0.25)
        maps.append(explainer.sample(rows, target=0, nt_samples=128, stdevs=0.3, seed=0))
    close(*maps, 1e-9, "with the exact cache and without")
