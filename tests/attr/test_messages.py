"""Messages about models, targets and inputs that do not fit."""

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, GuidedBackprop, InputXGradient, LayerGradCam, NoiseTunnel, Saliency
from torch import Tensor, nn

from captum_certified import (
    CertificationError,
    Certifier,
    InvalidInputError,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    Upsampled,
)

X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ENTRIES = ["attribute", "sample", "certify"]


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


def called(entry, forward, x=X, *, method=Saliency, **settings):
    explainer = SparsifiedSmoothGrad(method(forward), tau=0.2)
    common = {"target": 1, "nt_samples": 8, "stdevs": 0.1, "seed": 0, **settings}
    if entry == "certify":
        return Certifier(explainer).certify(x, k=0.2, radius=0.01, **common)
    return getattr(explainer, entry)(x, **common)


@dataclass
class Output:
    logits: Tensor
    loss: None = None


NET = cnn()
OUTPUTS = {
    "tuple": (lambda x: (NET(x), None), r"tuple\. .* `lambda x: model\(x\)\[0\]`"),
    "list": (lambda x: [NET(x)], r"list\. .* `lambda x: model\(x\)\[0\]`"),
    "dict": (lambda x: {"loss": None, "scores": NET(x)}, r"dict\. .* `lambda x: model\(x\)\['scores'\]`"),
    "model output": (lambda x: OrderedDict(logits=NET(x)), r"OrderedDict\. .* `lambda x: model\(x\)\['logits'\]`"),
    "dataclass": (lambda x: Output(NET(x)), r"Output\. .* `lambda x: model\(x\)\.logits`"),
    "namespace": (lambda x: SimpleNamespace(hidden=NET(x)), r"SimpleNamespace\. .* `lambda x: model\(x\)\.hidden`"),
    "nothing": (lambda x: NET(x) and None if len(x) < 0 else None, r"NoneType\. "),
}


@pytest.mark.parametrize("method", [Saliency, FeatureAblation])
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_model_that_does_not_return_a_tensor(name, entry, method):
    forward, message = OUTPUTS[name]
    with pytest.raises(CertificationError, match=f"Expected a model that returns a tensor, got {message}"):
        called(entry, forward, method=method)


def test_a_model_that_does_not_return_a_tensor_for_argmax():
    with pytest.raises((CertificationError, InvalidInputError), match="tuple"):
        called("sample", OUTPUTS["tuple"][0], target="argmax")


@pytest.mark.parametrize(
    "target",
    [
        tuple(np.unravel_index(77, (6, 6, 6))),
        tuple(torch.tensor([2, 0, 5])),
        tuple(np.array([2, 0, 5], dtype=np.int32)),
        [tuple(np.array([2, 0, 5]))] * 2,
    ],
)
@pytest.mark.parametrize("entry", ENTRIES)
def test_numbers_of_numpy_and_torch_in_targets(entry, target):
    segmentation = nn.Conv2d(3, 6, 3)
    known = [tuple(int(i) for i in t) for t in target] if isinstance(target, list) else tuple(int(i) for i in target)
    one, two = (called(entry, segmentation, target=t) for t in (target, known))
    if entry == "attribute":
        assert torch.equal(one, two)
    elif entry == "sample":
        assert one.setup["target"] == two.setup["target"]


@pytest.mark.parametrize("target", [np.int64(1), torch.tensor(1)])
def test_a_number_of_numpy_or_torch_as_target(target):
    assert torch.equal(called("sample", NET, target=target).counts, called("sample", NET, target=1).counts)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_input_without_a_batch_dimension(entry):
    message = r"takes `inputs` of shape \(\d+, 8, 8\), whose first dimension is the batch, and that has the `target`"
    with pytest.raises(CertificationError, match=message):
        called(entry, NET, X[0])


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("target", [[1], [1, 2, 3], torch.tensor([1, 2, 3])])
def test_a_wrong_number_of_targets(entry, target):
    message = rf"Expected `target` to be one target for all examples, or one for each of 2, got {len(target)}\."
    with pytest.raises(InvalidInputError, match=message):
        called(entry, NET, target=target)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_target_that_the_model_does_not_have(entry):
    with pytest.raises(CertificationError, match="and that has the `target`, but it raised IndexError"):
        called(entry, NET, target=7)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_model_whose_batch_size_is_fixed(entry):
    exported = torch.export.export(NET, (X,)).module()
    with pytest.raises(CertificationError, match=r"If its batch size is fixed, set `nt_samples_batch_size`=1\."):
        called(entry, exported)
    assert called(entry, exported, nt_samples_batch_size=1) is not None


def test_maps_keep_the_precision_of_their_inputs():
    def two(u, v):
        return (u.float() ** 2).sum(1) + (v * 1e6).pow(2).sum(1)

    maps = ScaledSmoothGrad(Saliency(two)).attribute((torch.rand(2, 4).half(), torch.rand(2, 4)), stdevs=0.1)
    assert [m.dtype for m in maps] == [torch.float16, torch.float32]


def test_token_ids_are_sent_to_the_how_to_on_text():
    with pytest.raises(CertificationError, match=r"Token ids take no noise, but their embeddings do: .*text\.md"):
        called("sample", lambda x: x.float(), torch.randint(0, 100, (2, 7)))


@pytest.mark.parametrize("argument", ["groups", "region"])
def test_a_mask_of_the_input_size_for_a_map_of_a_layer(argument):
    method = lambda m: LayerGradCam(m, m[1])  # noqa: E731
    mask = torch.ones(1, 1, 8, 8, dtype=torch.long if argument == "groups" else torch.bool)
    with pytest.raises(
        InvalidInputError, match=r"got \(1, 1, 8, 8\)\. Maps of a layer have its resolution; .*Upsampled"
    ):
        called("sample", NET, method=method, **{argument: mask})
    with pytest.raises(InvalidInputError, match=r"got \(1, 3, 2, 2\)\.$"):
        called("sample", NET, **{argument: torch.ones(1, 3, 2, 2, dtype=mask.dtype)})


@pytest.mark.parametrize("method", [Saliency, InputXGradient, GuidedBackprop, FeatureAblation])
def test_is_gradient_method_is_that_of_noise_tunnel(method):
    assert ScaledSmoothGrad(method(NET)).is_gradient_method is NoiseTunnel(method(NET)).is_gradient_method


def test_is_gradient_method_around_a_layer_method():
    method = LayerGradCam(NET, NET[1])
    assert ScaledSmoothGrad(method).is_gradient_method is NoiseTunnel(method).is_gradient_method
    assert ScaledSmoothGrad(Upsampled(method)).is_gradient_method is False
