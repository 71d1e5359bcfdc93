"""Compiled, scripted, parallel and channels-last models, and empty, sparse or low-precision batches."""

import pytest
import torch
from captum.attr import Saliency
from torch import nn
from torch.testing import assert_close

from captum_certified import Certifier, InterpretationAttack, SparsifiedSmoothGrad

X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


def sampled(model, inputs=X, **changes):
    settings = {"target": 0, "nt_samples": 40, "stdevs": 0.2, "seed": 0, **changes}
    return SparsifiedSmoothGrad(Saliency(model), tau=0.2).sample(inputs, **settings)


WRAPPED = {
    "DataParallel": nn.DataParallel,
    "compiled, eager": lambda model: torch.compile(model, backend="eager"),
    "compiled, ahead of time": lambda model: torch.compile(model, backend="aot_eager"),
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*isinstance.*:UserWarning")
def test_a_wrapped_model_gives_the_map_of_the_model(wrap):
    plain, wrapped = sampled(network()), sampled(WRAPPED[wrap](network()))
    assert torch.equal(wrapped.counts, plain.counts)
    assert_close(wrapped.covariance.top_eigenvalue, plain.covariance.top_eigenvalue)


def test_channels_last_gives_the_map_of_the_model():
    layout = {"memory_format": torch.channels_last}
    differing = sampled(network().to(**layout), X.to(**layout)).counts - sampled(network()).counts
    assert int((differing != 0).sum()) <= 0.002 * differing.numel()  # the model rounds otherwise


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")  # bfloat16 has few values
def test_other_precisions_give_nearly_the_map_of_the_model(dtype):
    """In float64 the noise has other digits, so the draws differ."""
    other = sampled(network().to(dtype), X.to(dtype), check_rows=False)
    assert float((other.mean - sampled(network()).mean).abs().mean()) < 0.05


LAYOUTS = {
    "torch.sparse_coo": lambda: X.to_sparse(),
    "torch.sparse_csr": lambda: torch.eye(4).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([X[0], X[1]]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning", "ignore:The PyTorch API of nested:UserWarning")
def test_sparse_batches_are_refused(layout):
    inputs = LAYOUTS[layout]()
    message = f"Expected dense `inputs`, got a tensor of layout {layout}; see `Tensor.to_dense`"
    explainer = SparsifiedSmoothGrad(Saliency(network()))
    for call in (
        lambda: sampled(network(), inputs),
        lambda: explainer.attribute(inputs, target=0),
        lambda: InterpretationAttack(network(), Saliency(network())).perturb(inputs, 0.1),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_default_device_moves_no_statistics():
    """Tensors on the device "meta" have no values, so any use of the default device would fail."""
    model = network()
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.1)
    settings = {"target": 0, "nt_samples": 8, "stdevs": 0.2, "seed": 0}
    expected = Certifier(explainer).certify(X, k=5, radius=0.01, covariance=4, **settings)
    torch.set_default_device("meta")
    try:
        certificate = Certifier(explainer).certify(X, k=5, radius=0.01, covariance=4, **settings)
        sequential = Certifier(explainer).certify(X, k=5, radius=0.01, covariance=4, overlap=5, **settings)
        mean = explainer.attribute(X, **settings)
        attack = InterpretationAttack(model, Saliency(model))
        moved = attack.attack(X, 0.1, k=5, target=0, step_num=1, n_restarts=1, seed=0)
    finally:
        torch.set_default_device(None)
    assert torch.equal(certificate.overlap, expected.overlap)
    assert torch.equal(certificate.map.mean, expected.map.mean)
    assert sequential.stopped is not None
    assert mean.shape == moved.perturbed.shape == X.shape


def test_empty_batches_are_refused():
    with pytest.raises(ValueError, match=r"one batch size N >= 1, got \[\(0, 3, 8, 8\)\]"):
        sampled(network(), X[:0])
