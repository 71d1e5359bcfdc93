"""Honest ways to call: functions, arguments, targets, draws in parts, sequential draws, merging, resuming."""

import functools
import tempfile

import torch
from captum import attr
from cases import (
    EDGES,
    UP,
    Bent,
    Committee,
    Graph,
    PlainAttribute,
    bent,
    certified_dataset,
    closure_over,
    conv,
    curved,
    dataset_maps,
    honest,
    mlp,
    same,
    sample,
    served,
    tanh_mlp,
    top,
)
from torch import nn

from captum_certified import (
    Certifier,
    NormalizedSmoothGrad,
    RelaxedSparsifiedSmoothGrad,
    ScaledSmoothGrad,
    Shared,
    SparsifiedSmoothGrad,
    Upsampled,
    sample_many,
)


@honest
def callables_of_every_kind():
    """Pass a module, bound methods, a closure, a partial, objects and a function of PyTorch."""
    net, x = curved(), torch.randn(2, 8)
    captured = torch.tensor(UP)

    def closure(x):
        return net(x * captured)

    for forward in (
        net,
        net.forward,
        closure,
        functools.partial(bent, 1.5, net=net),
        Bent(1.5),
        Bent(1.5).scores,
        PlainAttribute(1.5).eval().forward,
        Committee(net, mlp()),
        nn.functional.normalize,
    ):
        served(attr.Saliency(forward), x, target=0)


class WithCategories(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.net = nn.Embedding(10, 3), mlp(4 + 2 * 3)

    def forward(self, numbers, categories):
        return self.net(torch.cat([numbers, self.embedding(categories).flatten(1)], 1))


@honest
def integer_inputs_held_fixed():
    """Hold integer inputs fixed, as an input without noise or as a further argument."""
    model, inputs = WithCategories().eval(), (torch.randn(2, 4), torch.tensor([[1, 7], [3, 9]]))
    result = served(attr.FeatureAblation(model), inputs, target=0, stdevs=(0.3, 0))
    assert tuple(result.mean[1].shape) == (2, 2)
    served(attr.ShapleyValueSampling(model), inputs, target=0, draws=16, stdevs=(0.3, 0.0), n_samples=2)
    served(attr.Saliency(lambda x, ids: model(x, ids)), inputs[0], target=0, additional_forward_args=inputs[1])


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.linear = nn.Embedding(6, 1), nn.Linear(6, 1)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.arange(6.0).unsqueeze(1) * 10)

    def forward(self, numbers, categories):
        assert categories.dtype == torch.long
        return self.linear(numbers).tanh() + self.embedding(categories).sum(1)


def build_mixed():
    torch.manual_seed(14)
    return Mixed().eval(), torch.rand(3, 6), torch.tensor([[1, 2], [5, 3], [4, 1]])


@honest
def numbers_and_categories():
    """Certify a table of numbers and categories, the categories without noise."""
    model, numbers, categories = build_mixed()
    explainer = SparsifiedSmoothGrad(attr.FeatureAblation(model), tau=0.25)
    certificate = Certifier(explainer).certify(
        (numbers, categories), target=0, k=2, radius=0.1, nt_samples=512, stdevs=(0.3, 0.0), seed=0
    )
    assert certificate.map.features.shape == (3, 8)
    assert torch.equal(certificate.map.mean[1].double(), torch.ones(3, 2).double()), (
        "categories must be the most salient"
    )
    assert not certificate.map.mean[0].any()
    assert certificate.overlap.tolist() == [2, 2, 2], "two features that are always in the top 2 stay"


@honest
def graphs_with_edge_index():
    """Give all examples one graph, marked as shared where its shape is unlucky."""
    model, edges = Graph().eval(), torch.tensor(EDGES)
    for n, mark in ((3, lambda t: t), (1, lambda t: t), (2, Shared)):
        x = torch.randn(n, 6, 3)
        got = served(
            attr.Saliency(model), x, target=0, draws=100, additional_forward_args=(mark(edges),), kind=ScaledSmoothGrad
        )
        closed = served(attr.Saliency(lambda x: model(x, edges)), x, target=0, draws=100, kind=ScaledSmoothGrad)
        same(got, closed, what=f"{n} graphs")


class Transformer(nn.Module):
    def __init__(self, d=8):
        super().__init__()
        layer = nn.TransformerEncoderLayer(d, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(d, 3)

    def forward(self, x, padding=None, attention=None):
        hidden = self.encoder(x, mask=attention, src_key_padding_mask=padding)
        keep = torch.ones_like(hidden[..., :1]) if padding is None else (~padding).unsqueeze(-1).to(hidden.dtype)
        return self.head((hidden * keep).sum(1) / keep.sum(1))


@honest
def transformer_with_padding_masks_and_a_common_mask():
    """Give a padding mask of each example and a common causal mask."""
    model, x = Transformer().eval(), torch.randn(3, 6, 8)
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[0, 4:], padding[2, 3:] = True, True
    causal = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
    together = served(
        attr.Saliency(model), x, target=0, additional_forward_args=(padding, causal), kind=ScaledSmoothGrad
    )
    assert (together.mean[0, 4:] == 0).all(), "padding is salient"
    assert (together.mean[2, 3:] == 0).all(), "padding is salient"
    alone = served(
        attr.Saliency(model), x[2:], target=0, additional_forward_args=(padding[2:], causal), kind=ScaledSmoothGrad
    )
    assert (together.mean[2] - alone.mean[0]).abs().max() < 1e-3, "another mask in company"
    served(
        attr.FeatureAblation(model),
        x,
        target=0,
        draws=16,
        feature_mask=torch.arange(6).view(1, 6, 1),
        additional_forward_args=(padding, causal),
    )


@honest
def transformer_mask_as_long_as_the_batch_marked_shared():
    """Mark a causal mask as shared that is as long as the batch."""
    model, x = Transformer().eval(), torch.randn(4, 4, 8)
    causal = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
    padding = torch.tensor([[False] * 4, [False] * 3 + [True], [False] * 4, [False] * 2 + [True] * 2])
    got = served(
        attr.Saliency(model), x, target=0, kind=ScaledSmoothGrad, additional_forward_args=(padding, Shared(causal))
    )
    closed = served(
        attr.Saliency(lambda x, padding: model(x, padding, causal)),
        x,
        target=0,
        kind=ScaledSmoothGrad,
        additional_forward_args=(padding,),
    )
    same(got, closed)


def retrieval(x, gallery):
    """Scores of each query against a fixed gallery."""
    return x @ gallery.T


@honest
def shared_gallery_of_batch_size():
    """Mark a gallery as shared that has as many rows as the batch: the model gets it whole."""
    torch.manual_seed(10)
    for n in (2, 1):
        gallery, rows = torch.randn(n, 12), torch.rand(n, 12)
        sizes = set()

        def scores(x, gallery, sizes=sizes):
            sizes.add(len(gallery))
            return retrieval(x, gallery)

        explainer = SparsifiedSmoothGrad(attr.Saliency(scores), tau=0.25)
        shared = Shared(gallery) if n == 2 else (Shared(gallery),)
        one = explainer.sample(rows, target=n - 1, additional_forward_args=shared, nt_samples=128, stdevs=0.3, seed=0)
        assert sizes == {n}, f"a shared gallery of {n} rows reached the model with {sorted(sizes)} rows"
        expected = top(gallery[n - 1].expand(n, -1), 3)
        assert torch.equal(one.mean.double().cpu(), expected), "not the gradient of the gallery's own row"


class Segmentation(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Softplus(), nn.Conv2d(4, 3, 3, padding=1))

    def forward(self, x):
        return self.layers(x)


@honest
def segmentation_with_tuple_targets():
    """Explain one pixel of a segmentation: one for all examples, or one each."""
    model, x = Segmentation().eval(), torch.rand(2, 1, 6, 6)
    result = served(attr.Saliency(model), x, target=(1, 2, 3))
    assert (result.mean[:, :, :, 0] == 0).all(), "beyond the receptive field"
    pair = served(attr.Saliency(model), x, target=[(1, 1, 1), (2, 4, 4)], tau=0.2)
    assert pair.mean[0, 0, 5].sum() == 0, "targets mixed"
    assert pair.mean[1, 0, 0].sum() == 0, "targets mixed"
    served(attr.InputXGradient(model), x, target=(0, 3, 3))


@honest
def targets_of_every_kind():
    """Name targets by number, list, tensor or argmax, or leave them out."""
    model, x = mlp(), torch.randn(2, 8)
    for target in (1, [0, 2], torch.tensor([0, 2]), torch.tensor(1), "argmax"):
        served(attr.Saliency(model), x, target=target)
        served(attr.IntegratedGradients(model), x, target=target, n_steps=3, draws=32)
    served(attr.FeatureAblation(model), x, target="argmax", draws=32)
    served(attr.Saliency(lambda x: model(x).logsumexp(1)), x)
    served(attr.Saliency(lambda x: model(x)[:, :1]), x)
    both = served(attr.Saliency(model), x.repeat(2, 1), target=[0, 0, 2, 2])
    alone = served(attr.Saliency(model), x, target=2)
    assert (both.mean[2:] - alone.mean).abs().max() <= 0.04, "targets mixed"


@honest
def passes_of_one_row_and_odd_first_draws():
    """Sample in passes of one row and from odd first draws: parts merge to the whole."""
    model, x = curved(), torch.randn(1, 8)
    whole = served(attr.Saliency(model), x, target=0, draws=128)
    single = served(attr.Saliency(model), x, target=0, draws=128, nt_samples_batch_size=1)
    assert (whole.counts - single.counts).abs().max() <= 1, "another map in passes of one"
    first = served(attr.Saliency(model), x, target=0, draws=37)
    second = served(attr.Saliency(model), x, target=0, draws=91, first_draw=37)
    merged = first.merge(second)
    assert (merged.counts - whole.counts).abs().max() <= 1, "merged wrongly"
    assert int(merged.n_samples[0]) == 128, "merged wrongly"
    served(attr.GradientShap(model), x, target=0, draws=33, first_draw=101, baselines=torch.zeros(1, 8))
    one = served(attr.Saliency(model), x, target=0, draws=3, first_draw=5)
    assert set(one.counts.unique().tolist()) <= {0, 1, 2, 3}


@honest
def sequential_certification():
    """Stop the draws of each example once its answer is known."""
    certifier = Certifier(SparsifiedSmoothGrad(attr.Saliency(mlp()), tau=0.25))
    x = torch.randn(3, 8)
    certificate = certifier.certify(
        x, target=[0, 1, 2], k=2, radius=0.02, overlap=1, nt_samples=512, stdevs=0.5, covariance=64, seed=0
    )
    assert len(certificate.stopped) == 3
    assert set(certificate.stopped) <= {"certified", "hopeless", "cap"}
    hopeless = certifier.certify(
        x, target=0, k=2, radius=50.0, overlap=2, nt_samples=512, stdevs=0.5, covariance=64, seed=0
    )
    assert "certified" not in set(hopeless.stopped)


def build_camera():
    torch.manual_seed(16)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Softplus(), nn.Flatten(), nn.Linear(294, 4)
    ).eval()
    return model, torch.rand(2, 3, 16, 16)


@honest
def sequential_upsampled_grad_cam():
    """Certify upsampled Grad-CAM sequentially."""
    model, images = build_camera()
    explainer = SparsifiedSmoothGrad(Upsampled(attr.LayerGradCam(model, model[0])), tau=0.2)
    certificate = Certifier(explainer).certify(
        images,
        target=torch.tensor([0, 3]),
        k=0.2,
        radius=0.02,
        overlap=0.2,
        nt_samples=512,
        stdevs=0.2,
        covariance=128,
        seed=0,
    )
    assert certificate.map.mean.shape == (2, 1, 16, 16), certificate.map.mean.shape
    assert set(certificate.stopped) <= {"certified", "hopeless", "cap"}, certificate.stopped
    assert (certificate.n_samples <= 512).all()
    assert (certificate.n_samples >= 128).all()
    assert certificate.map.mean.std() > 0


@honest
def merge_of_two_seeds_of_one_explanation():
    """Merge maps of two seeds around models that are the same or built again alike."""
    x = torch.randn(2, 8)
    builders = {
        "module": lambda: attr.Saliency(curved()),
        "closure": lambda: attr.Saliency(closure_over(torch.tensor(UP))),
        "partial": lambda: attr.Saliency(functools.partial(bent, 2.0, net=curved())),
        "object": lambda: attr.Saliency(Bent(2.0)),
        "integrated": lambda: attr.IntegratedGradients(curved()),
    }
    for name, build in builders.items():
        kwargs = {"n_steps": 3} if name == "integrated" else {}
        explanation = build()
        for other in (explanation, build()):
            a = sample(explanation, x, draws=64, seed=0, target=0, **kwargs)
            b = sample(other, x, draws=64, seed=1, target=0, **kwargs)
            merged = a.merge(b)
            assert torch.equal(merged.counts, a.counts + b.counts), name
            assert merged.n_samples.tolist() == [128, 128], name


@honest
def resume_keeps_results():
    """Resume a folder with objects built again, as a second process does: results are kept."""
    x, y = torch.randn(2, 8), torch.tensor([0, 2])
    cases = {
        "module": (lambda: attr.Saliency(curved()), dict),
        "closure": (lambda: attr.Saliency(closure_over(torch.tensor(UP))), dict),
        "references": (
            lambda: attr.GradientShap(curved()),
            lambda: {"baselines": torch.ones(2, 8), "n_samples": 2},
        ),
    }
    for name, (build, kwargs) in cases.items():
        with tempfile.TemporaryDirectory() as out:
            first = certified_dataset(build(), x, y, out, **kwargs())
            assert {result.outcome for result in first} == {"sampled"}, name
            again = certified_dataset(build(), x, y, out, **kwargs())
            assert {result.outcome for result in again} == {"kept"}, f"{name}: {[r.outcome for r in again]}"
            assert [r.overlap for r in first] == [r.overlap for r in again], name


def scaled_logits(net, x, *, scale):
    return net(x) * scale


def build_rebuilt():
    """What the next process has: other objects, the same explanation."""
    torch.manual_seed(17)
    return functools.partial(scaled_logits, tanh_mlp(12), scale=2.0), torch.rand(2, 12)


@honest
def continued_by_another_process():
    """Continue draws and a folder with objects built again, as the next process has them."""

    def sampled(**settings):
        forward, rows = build_rebuilt()
        return SparsifiedSmoothGrad(attr.Saliency(forward), tau=0.25).sample(rows, target=1, stdevs=0.3, **settings)

    whole = sampled(nt_samples=256, seed=0)
    merged = sampled(nt_samples=128, seed=0).merge(sampled(nt_samples=128, seed=0, first_draw=128))
    assert merged.n_samples.tolist() == [256, 256]
    assert torch.equal(merged.counts, whole.counts), "two halves are not the whole"
    other = whole.merge(sampled(nt_samples=128, seed=1))
    assert other.n_samples.tolist() == [384, 384]
    with tempfile.TemporaryDirectory() as folder:
        first = dataset_maps(folder, *build_rebuilt())
        second = dataset_maps(folder, *build_rebuilt())
    assert len(first) == 2
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), "the continued run differs"


@honest
def all_maps_around_one_method():
    """Sample all maps from the same gradients, by features, channels and groups."""
    x = torch.rand(2, 3, 6, 6)
    saliency = attr.Saliency(conv(channels=3))
    explainers = [
        SparsifiedSmoothGrad(saliency, tau=0.2),
        RelaxedSparsifiedSmoothGrad(saliency, tau=0.2, gamma=0.05),
        ScaledSmoothGrad(saliency),
        NormalizedSmoothGrad(saliency),
    ]
    for groups, features in ((None, 108), ("channels", 36), (torch.arange(36).view(1, 1, 6, 6) // 6, 6)):
        maps = sample_many(
            explainers, x, target=[0, 1], nt_samples=128, stdevs=0.2, seed=0, groups=groups, nt_samples_batch_size=9
        )
        for one, explainer in zip(maps, explainers, strict=True):
            assert tuple(one.features.shape) == (2, features), (one.features.shape, features)
            alone = explainer.sample(x, target=[0, 1], nt_samples=128, stdevs=0.2, seed=0, groups=groups)
            assert (alone.features - one.features).abs().max() <= 0.02, "another map in company"
        assert Certifier().top_k(maps[0], k=0.2, radius=0.02).overlap.shape == (2,)
