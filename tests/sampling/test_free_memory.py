"""Memory does not grow with the number of draws."""

import gc
import tracemalloc
import weakref

import pytest
import torch
from captum.attr import Saliency
from networks import GateNet
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from captum_certified import ScaledSmoothGrad, SparsifiedSmoothGrad
from captum_certified.sampling.background_thread import BackgroundThread


class LiveBytes(TorchDispatchMode):
    """Counter of the bytes in all live storages that PyTorch's operations made."""

    def __init__(self):
        super().__init__()
        self.live = 0
        self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor.untyped_storage())
        return result

    def add(self, storage):
        address, size = storage.data_ptr(), storage.nbytes()
        if size and address not in self.known:
            self.known.add(address)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.drop, address, size)

    def drop(self, address, size):
        self.known.discard(address)
        self.live -= size


def sample(make, draws):
    explainer = make(Saliency(GateNet((3, 20, 20))))
    x = torch.rand((2, 3, 20, 20), generator=torch.Generator().manual_seed(0))
    explainer.sample(x, nt_samples=draws, nt_samples_batch_size=64, stdevs=1.0, seed=0, target=1, covariance=False)


def peak_of_tensors(make, draws):
    """Return the largest number of bytes that PyTorch held at once while sampling."""
    gc.collect()
    with LiveBytes() as tensors:
        sample(make, draws)
    return tensors.peak


def peak_of_arrays(make, draws):
    """Return the largest number of bytes that Python and NumPy held at once while sampling."""
    gc.collect()
    tracemalloc.start()
    try:
        sample(make, draws)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(autouse=True)
def _prompt_collection():
    """Collect cycles at once: otherwise the time of collection depends on everything allocated before."""
    before = gc.get_threshold()
    gc.freeze()  # a full collection waits until a quarter of what survived the last one is new
    gc.collect()
    gc.set_threshold(50, 1, 1)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.parametrize(
    "make", [lambda m: SparsifiedSmoothGrad(m, tau=0.1), ScaledSmoothGrad], ids=["counts", "moments"]
)
def test_8192_draws_take_no_more_memory_than_256(make, monkeypatch):
    # In one thread: which of two threads' peaks coincide is chance, and more draws have more chances.
    start = BackgroundThread.__init__
    monkeypatch.setattr(BackgroundThread, "__init__", lambda thread, device: start(thread, torch.device("meta")))

    def peak(draws):
        return peak_of_tensors(make, draws) + peak_of_arrays(make, draws)

    peak(64)  # whatever is imported or cached on first use
    few, many = peak(256), peak(8192)
    assert many <= 1.02 * few


def test_the_measure_sees_the_noisy_inputs_of_a_pass():
    assert peak_of_tensors(ScaledSmoothGrad, 64) > 2 * 64 * 1200 * 4
