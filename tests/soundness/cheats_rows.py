"""Cheats in which the output of a row depends on the other rows of its pass, or on its place among them."""

import torch
from captum import attr
from cases import cheat, curved, must_refuse, sample, tanh_mlp
from torch import nn
from torch.nn import functional

from captum_certified import ScaledSmoothGrad, SparsifiedSmoothGrad, sample_many


class LSTMOverTheBatch(nn.Module):
    """batch_first was forgotten: the recurrence runs over the batch."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 8)
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            for weight in self.lstm.parameters():
                weight.mul_(3)

    def forward(self, x):
        hidden, _ = self.lstm(x)
        return self.head(hidden[:, -1] + 0.3 * hidden.mean(1))


@cheat
def rows_lstm_over_the_batch():
    """Forget batch_first: the recurrence runs over the batch."""
    x = torch.randn(2, 5, 4)
    must_refuse(lambda: sample(attr.Saliency(LSTMOverTheBatch().eval()), x, target=1))


class ExpertChoice(nn.Module):
    """Experts choose their best rows of the batch (a sort over rows); rows nobody wants keep the residual path."""

    def __init__(self, d=8, experts=4):
        super().__init__()
        self.router = nn.Linear(d, experts)
        self.experts = nn.ModuleList(curved(d, 3, seed) for seed in range(experts))
        self.residual = nn.Linear(d, 3)

    def forward(self, x):
        scores = self.router(x).softmax(1)
        out = 0.2 * self.residual(x)
        capacity = max(1, x.shape[0] // 4)
        for number, expert in enumerate(self.experts):
            best, rows = scores[:, number].topk(capacity)
            out = out.index_add(0, rows, best.unsqueeze(1) * expert(x[rows]))
        return out


@cheat
def rows_expert_choice_feature_ablation():
    """Let each expert pick its best rows of the batch, so that rows compete for the experts."""
    must_refuse(lambda: sample(attr.FeatureAblation(ExpertChoice().eval()), torch.randn(2, 8), target=0, stdevs=0.5))


class DominantFeature(nn.Module):
    """Feature 0 is a hundred thousand times the others, whose weights follow the largest row of the batch."""

    def forward(self, x):
        rest = x[:, 1:]
        weights = 1.1 + torch.sin(20 * rest.amax(0)).detach()
        score = 1e5 * x[:, 0] + (rest * weights).sum(1) * 3
        return torch.stack([score, -score], dim=1)


@cheat
def rows_batch_maximum_behind_a_dominant_feature():
    """Weigh small features by the largest row of the batch, hidden behind one huge feature."""
    must_refuse(lambda: sample(attr.Saliency(DominantFeature()), torch.rand(1, 9), target=0, tau=0.5))


class LastExampleAsContext(nn.Module):
    def __init__(self, d=8):
        super().__init__()
        self.own, self.context, self.head = nn.Linear(d, 16), nn.Linear(d, 16), nn.Linear(16, 3)
        with torch.no_grad():
            self.own.weight.mul_(2)
            self.context.weight.mul_(6)

    def forward(self, x):
        return self.head(torch.tanh(self.own(x) + self.context(x[-1:].detach())))


@cheat
def rows_last_example_in_noise_tunnel():
    """Read the last row of the pass as every row's context, beneath a stochastic method."""
    method = attr.NoiseTunnel(attr.Saliency(LastExampleAsContext().eval()))
    kwargs = {"attribution_kwargs": {"nt_samples": 4, "stdevs": 0.05}}
    must_refuse(lambda: sample(method, torch.randn(3, 8), target=torch.tensor([0, 1, 2]), draws=96, **kwargs))


class NeighbourBehindAGate(nn.Module):
    """About one row in eleven (its first feature is large) also sees the row before it."""

    def __init__(self, d=12):
        super().__init__()
        self.net = curved(d)

    def forward(self, x):
        gate = (x[:, :1] > 0.9).to(x.dtype)
        return self.net(x + 2 * gate * x.roll(1, 0))


@cheat
def rows_few_rows_see_their_neighbour_in_occlusion():
    """Show the row before to the few rows whose first feature is large."""
    x = torch.randn(1, 12)
    x[:, 0] = 0.5
    kwargs = {"sliding_window_shapes": (2,), "strides": (2,)}
    must_refuse(lambda: sample(attr.Occlusion(NeighbourBehindAGate().eval()), x, target=1, draws=256, **kwargs))


class Contrastive(nn.Module):
    """InfoNCE score of each query's own positive: the other queries of the batch are its negatives."""

    def __init__(self):
        super().__init__()
        self.query, self.key = tanh_mlp(12, 24, 6), tanh_mlp(12, 24, 6)

    def forward(self, x):
        q = functional.normalize(self.query(x), dim=1)
        k = functional.normalize(self.key(x), dim=1)
        return (q @ k.T / 0.2).log_softmax(1).diagonal()


def build_contrastive():
    torch.manual_seed(0)
    return Contrastive().eval(), torch.rand(2, 12)


@cheat
def rows_in_batch_negatives():
    """Score each query against the other queries of the pass, its negatives."""
    model, rows = build_contrastive()
    saliency = attr.Saliency(model)
    explainers = [SparsifiedSmoothGrad(saliency, tau=0.25), ScaledSmoothGrad(saliency)]
    must_refuse(
        lambda: sample_many(explainers, rows, nt_samples=128, stdevs=0.3, seed=0),
        "the other rows of the pass are each row's negatives",
    )


class Dithered(nn.Module):
    """Network that adds dither from its own generator, seeded anew in every call; every row gets other numbers."""

    def __init__(self):
        super().__init__()
        self.net = tanh_mlp(12)

    def forward(self, x):
        dither = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        return self.net(x + dither)


def build_dithered():
    torch.manual_seed(6)
    return Dithered().eval(), torch.rand(2, 12)


@cheat
def rows_reseeded_dither():
    """Add dither from a generator seeded anew in every call: its numbers depend on the place in the pass."""
    model, rows = build_dithered()
    explainer = SparsifiedSmoothGrad(attr.Saliency(model), tau=0.25)
    must_refuse(
        lambda: explainer.sample(rows, target=0, nt_samples=256, stdevs=0.3, seed=0),
        "the model's own generator gives a row the dither of its place in the pass, the same in every pass",
    )


class DynamicLinear(nn.Module):
    """What torch's dynamic quantisation does: 8-bit activations, the scale from the range of the whole tensor."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, x):
        low, high = x.min(), x.max()
        scale = (high - low).clamp_min(1e-9) / 255
        return self.linear(((x - low) / scale).round() * scale + low)


def build_quantised():
    """Real `quantize_dynamic` where this torch has it, else the same arithmetic spelled out."""
    torch.manual_seed(7)
    net = nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 3)).eval()
    rows = torch.rand(2, 12)
    try:
        quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
        quantised(rows)
        return quantised, rows
    except (AttributeError, RuntimeError, NotImplementedError):
        return nn.Sequential(DynamicLinear(net[0]), net[1], DynamicLinear(net[2])).eval(), rows


@cheat
def rows_dynamic_quantisation():
    """Quantise activations with a scale taken from the largest value of the pass."""
    model, rows = build_quantised()
    explainer = ScaledSmoothGrad(attr.FeatureAblation(model))
    must_refuse(
        lambda: explainer.sample(rows, target=0, nt_samples=128, stdevs=0.3, seed=0),
        "the scale of dynamic quantisation is that of the largest value of the pass",
    )
