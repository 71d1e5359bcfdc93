"""Check and time the package on a GPU: a ResNet-50 with random weights, and a photograph of noise, 224 × 224 pixels.

``python tests/benchmarks/accelerator.py`` takes some minutes on a GPU. With ``--small`` it makes the same checks with a
small network and few draws, also without a GPU. ``--write`` writes the table of the documentation.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from benchmark_networks import SIGMA, bare_loop, frozen, picture, small
from captum.attr import NoiseTunnel, Saliency
from ratios import median
from torch import Tensor, nn

from captum_certified import Certifier, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.attr.per_draw_maps import Sparsified
from captum_certified.sampling import top_k_rows
from captum_certified.sampling.block_covariance import BlockCovariance, _StoredDraws
from captum_certified.sampling.noise import make_noise

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "accelerator.md"
TAU = 0.1
RADII = [0.0, 0.01, 0.02, 0.05, 0.1]


class Size(NamedTuple):
    """How much is computed.

    Attributes:
        draws: Draws of the certified map.
        draws_of_a_pass: Draws that are computed together.
        timed_draws: Draws of one timed run.
        pairs: Pairs of timed runs.
        compared_draws: Draws whose maps are compared with those of the processor.
    """

    draws: int
    draws_of_a_pass: int
    timed_draws: int
    pairs: int
    compared_draws: int


FULL = Size(draws=8192, draws_of_a_pass=256, timed_draws=1024, pairs=8, compared_draws=16)
SMALL = Size(draws=128, draws_of_a_pass=16, timed_draws=16, pairs=2, compared_draws=4)

Row = tuple[str, str]


def resnet() -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return frozen(torchvision.models.resnet50(weights=None)), picture(3, 224)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Turn off TF32 in convolutions, and algorithms that add in any order."""
    settings = torch.backends.cudnn
    before = settings.allow_tf32, settings.deterministic
    settings.allow_tf32, settings.deterministic = False, True
    try:
        yield
    finally:
        settings.allow_tf32, settings.deterministic = before


# -- checks --------------------------------------------------------------------------------------------------------


def masks(model: nn.Module, noisy: Tensor) -> Tensor:
    """Return the salient features of noisy copies, on the CPU, shape (draws, n)."""
    magnitudes = Saliency(model).attribute(noisy.clone().requires_grad_(), target=0).flatten(1)
    return Sparsified(TAU)(magnitudes).values.cpu()


def check_maps_against_the_processor(model: nn.Module, image: Tensor, draws: int, dtype: torch.dtype) -> float:
    """Return the fraction of the salient features that the device and the processor choose differently, same noise."""
    device = image.device
    model, image = model.to(dtype), image.to(dtype)
    noisy = make_noise(
        tuple(image.shape[1:]),
        seed=0,
        draws=range(draws),
        tensor=0,
        dtype=dtype,
        device=device,
        scale=SIGMA,
        offset=image[0],
    )
    with exact_convolutions():
        ours = masks(model, noisy)
        sampled = SparsifiedSmoothGrad(Saliency(model), tau=TAU).sample(
            image, nt_samples=draws, nt_samples_batch_size=draws, stdevs=SIGMA, seed=0, target=0, covariance=False
        )
    assert sampled.counts is not None
    if dtype == torch.float64:
        torch.testing.assert_close(sampled.counts.flatten(), ours.sum(dim=0), rtol=0, atol=0)
    theirs = masks(model.cpu(), noisy.cpu())
    model.to(device, torch.float32)
    return float((ours & ~theirs).sum() / theirs.sum())


def check_selection(n_features: int, device: torch.device) -> None:
    """The device selects the features that the processor selects, also among equal magnitudes."""
    values = torch.rand(8, n_features, generator=torch.Generator().manual_seed(0))
    for magnitudes in (values, (values * 100).round() / 100, torch.zeros_like(values)):
        found, expected = (Sparsified(TAU)(magnitudes.to(place)) for place in (device, "cpu"))
        torch.testing.assert_close(found.values.cpu(), expected.values, rtol=0, atol=0)
        torch.testing.assert_close(found.placed_by_index.cpu(), expected.placed_by_index, rtol=0, atol=0)


def check_gram_matrices(n_features: int, draws: int, device: torch.device) -> None:
    """Inner products of 0/1 draws are exact, also where matrix products are rounded to TF32."""
    values = torch.rand(draws, n_features, generator=torch.Generator().manual_seed(1))
    zeros_and_ones = top_k_rows(values, n_features // 2)[0]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        gram = _StoredDraws(zeros_and_ones.to(device, torch.uint8), n_features, packed=False).gram()
        kept = BlockCovariance(1, n_features, binary=True, block=draws, device=device)
        kept.add(zeros_and_ones.to(device).unsqueeze(0), range(draws))
    finally:
        torch.set_float32_matmul_precision(before)
    wide = zeros_and_ones.double()
    expected = wide @ wide.T
    torch.testing.assert_close(torch.from_numpy(gram), expected, rtol=0, atol=0)
    centred = expected - expected.mean(dim=0) - expected.mean(dim=1, keepdim=True) + expected.mean()
    top = float(torch.linalg.eigvalsh(centred)[-1]) / (draws - 1)
    assert kept.summary is not None
    assert top * (1 - 1e-9) <= float(kept.summary.top_eigenvalue) <= top * (1 + 1e-9)


def synchronisations(run: Callable[[int], object], step: int) -> float:
    """Return how often the program waits for the GPU, per draw. The waits at the beginning of a run are left out."""
    counts = []
    for passes in (2, 6):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                run(passes * step)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchroniz" in str(warning.message).lower() for warning in caught))
    return (counts[1] - counts[0]) / (4 * step)


# -- times ---------------------------------------------------------------------------------------------------------


def timed(run: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def peak(run: Callable[[], object], device: torch.device) -> str:
    """Return the most memory of the GPU that a run takes beyond what is taken before."""
    if device.type != "cuda":
        run()
        return "not measured"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    return f"{(torch.cuda.max_memory_allocated(device) - before) / 2**30:.2f} GiB"


def speeds(model: nn.Module, image: Tensor, size: Size) -> Iterator[Row]:
    """Time our loops beside the loop that a user would write and NoiseTunnel."""
    explainer, tunnel = SparsifiedSmoothGrad(Saliency(model), tau=TAU), NoiseTunnel(Saliency(model))
    settings = {"nt_samples_batch_size": size.draws_of_a_pass, "stdevs": SIGMA}
    differentiable = image.clone().requires_grad_()
    runs: dict[str, Callable[[int], object]] = {
        "bare loop": lambda draws: bare_loop(model, image, draws, size.draws_of_a_pass),
        "`attribute`": lambda draws: explainer.attribute(image, nt_samples=draws, seed=0, target="argmax", **settings),
        "`sample` with covariance": lambda draws: explainer.sample(
            image, nt_samples=draws, seed=0, target="argmax", check_rows=False, **settings
        ),
        "`NoiseTunnel`": lambda draws: tunnel.attribute(differentiable, nt_samples=draws, target=0, **settings),
        "`attribute`, fixed target": lambda draws: explainer.attribute(
            image, nt_samples=draws, seed=0, target=0, **settings
        ),
    }
    for name, run in runs.items():
        run(size.draws_of_a_pass)  # chooses the algorithms of the convolutions
        yield f"peak memory, {name}", peak(lambda run=run: run(size.timed_draws), image.device)
        if image.device.type == "cuda":
            yield f"synchronisations a draw, {name}", f"{synchronisations(run, size.draws_of_a_pass):.4f}"
    times: dict[str, list[float]] = {name: [] for name in runs}
    for pair in range(size.pairs):
        for name in list(runs) if pair % 2 == 0 else reversed(runs):
            times[name].append(timed(lambda run=runs[name]: run(size.timed_draws), image.device))
    for name, seconds in times.items():
        yield f"draws per second, {name}", f"{size.timed_draws / median(seconds).median:.0f}"
    for ours, theirs in (
        ("`attribute`", "bare loop"),
        ("`sample` with covariance", "bare loop"),
        ("`attribute`, fixed target", "`NoiseTunnel`"),
    ):
        ratios = [other / own for own, other in zip(times[ours], times[theirs], strict=True)]
        yield f"speed of {ours} / {theirs}", str(median(ratios))


def certificate(model: nn.Module, image: Tensor, size: Size) -> Iterator[Row]:
    """Sample a map with covariance, and certify it by the spectral bound."""
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=TAU)
    sampled: list[SmoothedMap] = []

    def sample() -> None:
        sampled.append(
            explainer.sample(
                image,
                nt_samples=size.draws,
                nt_samples_batch_size=size.draws_of_a_pass,
                covariance=True,
                stdevs=SIGMA,
                seed=1,
                target="argmax",
            )
        )

    seconds = timed(sample, image.device)
    [smoothed_map] = sampled
    assert smoothed_map.counts is not None
    assert smoothed_map.covariance is not None
    n_features = image[0].numel()
    salient = Sparsified(TAU).max_squared_norm(n_features)
    assert int(smoothed_map.n_samples) == size.draws
    assert 0 < int(smoothed_map.counts.sum()) <= salient * size.draws
    assert 0 < float(smoothed_map.covariance.top_eigenvalue) <= salient
    yield f"seconds of {size.draws} draws with covariance, all checks included", f"{seconds:.1f}"
    certifier = Certifier(bound="spectral")
    start = time.perf_counter()
    curve = certifier.top_k_curve(smoothed_map, k=0.2, radii=RADII)[0]
    yield (
        f"seconds of {len(RADII)} spectral certificates of {n_features} features",
        f"{time.perf_counter() - start:.2f}",
    )
    k = certifier.top_k(smoothed_map, k=0.2, radius=0.0).k
    assert bool((curve[1:] <= curve[:-1]).all())
    assert 0 <= int(curve.min()) <= int(curve.max()) <= k
    shown = ", ".join(f"{100 * int(overlap) / k:.1f} %" for overlap in curve)
    yield f"certified at the radii {', '.join(f'{radius:g}' for radius in RADII)}", shown


def measured(size: Size, *, use_small_network: bool) -> Iterator[Row]:
    """Make all checks, and yield what was measured."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    yield "device", f"{name}, PyTorch {torch.__version__}"
    model, image = small() if use_small_network else resnet()
    model, image = model.to(device), image.to(device)
    n_features = image[0].numel()
    check_selection(n_features, device)
    check_gram_matrices(n_features, 16 * size.compared_draws, device)
    yield "Gram matrices of 0/1 draws under TF32", "exact"
    for dtype, limit in ((torch.float64, 0.0), (torch.float32, 0.01)):
        different = check_maps_against_the_processor(model, image, size.compared_draws, dtype)
        assert different <= limit, f"{different:.2%} of the salient features differ in {dtype}"
        yield f"salient features that a processor chooses differently, {str(dtype)[6:]}", f"{different:.4%}"
    yield from speeds(model, image, size)
    yield from certificate(model, image, size)


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small network and few draws: seconds on a processor")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} of the documentation")
    given = parser.parse_args(arguments)
    if not given.small and not torch.cuda.is_available():
        parser.error("Expected a GPU, got none. --small runs the checks on the processor.")
    rows = []
    for row in measured(SMALL if given.small else FULL, use_small_network=given.small):
        print(f"{row[0]}: {row[1]}", flush=True)
        rows.append(row)
    if given.write:
        lines = [("what", "measured"), ("---", "---"), *rows]
        note = "<!-- Written by tests/benchmarks/accelerator.py --write. -->\n\n"
        PAGE.write_text(note + "".join(f"| {what} | {value} |\n" for what, value in lines), encoding="utf-8")
    return rows


if __name__ == "__main__":
    main()
