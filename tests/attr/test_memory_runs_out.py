"""A pass that does not fit into memory is halved, with the same noise, the same map, and a warning."""

import warnings

import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn
from torch.testing import assert_close

from captum_certified import Certifier, NotEnoughMemoryError, SparsifiedSmoothGrad

X = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
ERRORS = {
    "cuda": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    "python": MemoryError,
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)"),
}


class Limited(nn.Module):
    """Network that runs out of memory if a call has too many rows."""

    def __init__(self, most, error):
        super().__init__()
        self.most, self.error, self.seen = most, error, []
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Softplus(), nn.Linear(8, 3)).double()

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise self.error()
        return self.layers(x)


ADVICE = r"shape \(2, 3, 4\) on cpu, got: CUDA out .* GiB. Make .*--size.*nt_samples_batch_size.*--batch-size.*groups"


def sampled(most, *, error="cuda", method=Saliency, **settings):
    model = Limited(most, ERRORS[error])
    explainer = SparsifiedSmoothGrad(method(model), tau=0.25)
    arguments = {"nt_samples": 37, "nt_samples_batch_size": 16, "stdevs": 0.2, "target": 1, "seed": 3, **settings}
    return explainer.sample(X.double(), **arguments), model


@pytest.mark.parametrize("error", ERRORS)
def test_a_pass_is_halved_until_it_fits_and_the_map_is_the_same(error):
    whole, _ = sampled(1000)
    with pytest.warns(UserWarning, match="does not fit") as caught:
        parts, model = sampled(11, error=error)  # two examples: five draws at a time
    assert [str(w.message)[:67] for w in caught] == [
        "A pass of 16 draws does not fit into memory; the run goes on with 8",
        "A pass of 8 draws does not fit into memory; the run goes on with 4 ",
    ]
    assert torch.equal(parts.counts, whole.counts)
    assert_close(parts.covariance.top_eigenvalue, whole.covariance.top_eigenvalue)
    assert parts.draws == whole.draws
    assert max(model.seen[model.seen.index(16) + 1 :]) <= 8  # it does not try in vain again


def test_methods_of_several_steps_and_several_tensors():
    ratio = {"attribution_kwargs": {"n_steps": 4}, "method": IntegratedGradients}
    whole, _ = sampled(1000, **ratio)
    with pytest.warns(UserWarning, match="does not fit into memory"):
        parts, _ = sampled(40, **ratio)
    assert torch.equal(parts.counts, whole.counts)


def test_one_draw_that_does_not_fit_is_an_error():
    explainer = SparsifiedSmoothGrad(Saliency(Limited(1, ERRORS["cuda"])), tau=0.25)
    with (
        pytest.warns(UserWarning, match="does not fit into memory"),
        pytest.raises(NotEnoughMemoryError, match=ADVICE),
    ):
        explainer.attribute(X.double(), nt_samples=4, target=1)
    with pytest.raises(NotEnoughMemoryError, match=ADVICE):  # at the clean inputs already
        explainer.sample(X.double(), nt_samples=4, target=1, stdevs=0.2)


def test_certificates_and_mean_maps_survive_halving():
    model = Limited(8, ERRORS["cuda"])
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.25)
    settings = {"nt_samples": 64, "nt_samples_batch_size": 32, "stdevs": 0.2, "target": 1, "seed": 3}
    with pytest.warns(UserWarning, match="does not fit into memory"):
        certificate = Certifier(explainer).certify(X.double(), k=4, radius=0.05, **settings)
    with pytest.warns(UserWarning, match="does not fit into memory"):
        mean = explainer.attribute(X.double(), **settings)
    assert_close(mean.double(), certificate.map.mean)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explainer.attribute(X.double(), **{**settings, "nt_samples_batch_size": 4})


def test_other_errors_do_not_halve_a_pass():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        SparsifiedSmoothGrad(Saliency(nn.Linear(5, 2))).attribute(X, nt_samples=4, target=0)
