"""Figures of every kind, of usual and of degenerate maps, for tests of their text and for people to look at."""

import torch

from captum_certified import Certifier, Pilot, PilotRow, SmoothedMap
from captum_certified.visualization import (
    attack_figure,
    bar_figure,
    certificate_figure,
    curve_figure,
    overlap_figure,
    pilot_figure,
    radius_figure,
    region_figure,
)

NAMES = ["age", "body mass index", "a name that goes on and on until nobody wants to read it any more", "β", "blood"]


def blob(size=28, rows=1, channels=1):
    """Scores with two bright spots."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    spots = [(0.3, 0.35, 14.0), (0.65, 0.6, 30.0)]
    score = sum(torch.exp(-((y - a * size) ** 2 + (x - b * size) ** 2) / (w * (size / 28) ** 2)) for a, b, w in spots)
    strength = torch.linspace(1.0, 0.6, rows * channels).reshape(rows, channels, 1, 1)
    return (score / score.max() * strength).double()


def image(size=28, rows=1, channels=1):
    return 0.15 + 0.8 * blob(size, rows, channels).flip(3).float()


def smoothed(scores, n_samples=4096, regions=False):
    counts = (scores * n_samples).long()
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=n_samples, stdevs=0.25)
    object.__setattr__(smoothed_map, "plain", smoothed_map.features.float().sqrt())
    if regions:
        mask = scores[:1] > 0.4
        mask[..., :4, :4] = True
        shares = torch.rand(len(scores), n_samples, generator=torch.Generator().manual_seed(0)).double() * 0.2 + 0.7
        if not scores.any():
            shares = torch.full_like(shares, 0.0)
        object.__setattr__(smoothed_map, "regions", {"tumour": (mask.reshape(1, -1), shares)})
    return smoothed_map


def _columns(rows=1):
    return torch.tensor([[0.97, 0.93, 0.6, 0.41, 0.02], [0.9, 0.02, 0.5, 0.1, 0.7]][:rows]).double()


def _top_k(scores, k=0.2, radius=0.05):
    return Certifier().top_k(smoothed(scores), k=k, radius=radius)


def _selection(scores, radius=0.05):
    return Certifier().selection(smoothed(scores), radius=radius)


def _attack(scores, images, **settings):
    maps = smoothed(scores).mean
    return attack_figure(images, (images + 0.04).clamp(0, 1), maps, maps.roll(2, dims=-1), k=0.2, **settings)


def _pilot_row(method, sigma, tau):
    own, plain = 0.3 + 2 * sigma, 0.5 - sigma
    return PilotRow(
        method=method, map="SparsifiedSmoothGrad", tau=tau, sigma=sigma, groups="patches:8", n_features=784, examples=8,
        class_kept=0.95 - 3 * sigma, plain_overlap=0.6, chance=0.2, brightness=0.24 if method == "Saliency" else 0.52,
        randomised=0.41, forecast_own=own, forecast_plain=plain, margin=plain - 0.41, margin_error=0.03, seconds=200.0,
    )  # fmt: skip


ZEROS = torch.zeros(1, 1, 28, 28).double()
GALLERY = {
    "top-k": lambda: certificate_figure(_top_k(blob(rows=2)), image(rows=2), labels=["a first digit", "another"]),
    "top-k-colour": lambda: certificate_figure(_top_k(blob(channels=3)), image(channels=3)),
    "top-k-zeros": lambda: certificate_figure(_top_k(ZEROS), ZEROS),
    "selection": lambda: certificate_figure(_selection(blob(rows=2)), image(rows=2)),
    "selection-zeros": lambda: certificate_figure(_selection(ZEROS), ZEROS),
    "selection-all-abstained": lambda: certificate_figure(_selection(blob(), radius=9.0), image()),
    "radii": lambda: radius_figure(_top_k(blob(rows=2), k=0.3), image(rows=2), labels=["one", "two"]),
    "radii-selection": lambda: radius_figure(_selection(blob()), image()),
    "radii-zeros": lambda: radius_figure(_top_k(ZEROS), ZEROS),
    "radii-everything": lambda: radius_figure(_top_k(blob(), k=1.0), image(), largest=0.2),
    "radii-selection-zeros": lambda: radius_figure(_selection(ZEROS), ZEROS),
    "curves": lambda: curve_figure(
        smoothed(blob()),
        k=0.2,
        radii=torch.linspace(0, 0.4, 81),
        bounds=["clopper_pearson", "hoeffding", "kl", "theorem2"],
        attacked={0.1: 0.97, 0.2: torch.tensor([0.93]), 0.4: 0.9},
    ),
    "curves-mean": lambda: curve_figure(smoothed(blob(rows=3)), k=9, radii=[0.0, 0.1, 0.2]),
    "curves-zeros": lambda: curve_figure(smoothed(ZEROS), k=9, radii=[0.0]),
    "overlaps": lambda: overlap_figure(
        torch.tensor([[0.9, 0.6, 0.2], [0.8, 0.4, 0.1], [0.5, 0.3, 0.0]]), radii=[0.1, 0.22345, 0.4], confidence=0.95
    ),
    "pilot": lambda: pilot_figure(
        Pilot(
            rows=tuple(
                _pilot_row(method, sigma, tau)
                for method in ("Saliency", "InputXGradient")
                for sigma in (0.05, 0.1, 0.2)
                for tau in (0.1, 0.2)
            ),
            k=0.2,
            radius=0.05,
            nt_samples=8192,
            pilot_samples=1024,
            seed=0,
        )
    ),
    "pilot-one": lambda: pilot_figure(
        Pilot(rows=(_pilot_row("Saliency", 0.1, None),), k=5, radius=0.1, nt_samples=512, pilot_samples=256, seed=0)
    ),
    "attack": lambda: _attack(blob(rows=2), image(rows=2), certified=[0.61, None], labels=["smoothed", "plain"]),
    "attack-names": lambda: _attack(blob(rows=2), image(rows=2), names=["plain Saliency", "smoothed over 4096 draws"]),
    "attack-zeros": lambda: _attack(ZEROS, ZEROS.float()),
    "region": lambda: region_figure(
        Certifier().region(smoothed(blob(rows=2), regions=True), radius=0.1), image(rows=2), labels=["one", "two"]
    ),
    "region-zeros": lambda: region_figure(Certifier().region(smoothed(ZEROS, regions=True), radius=0.1), ZEROS),
    "bars": lambda: bar_figure(_top_k(_columns(2), k=2), feature_names=NAMES, labels=["patient 1", "patient 2"]),
    "bars-selection": lambda: bar_figure(_selection(_columns()), feature_names=NAMES),
    "bars-most": lambda: bar_figure(_top_k(blob().reshape(1, -1)), most=25),
    "bars-zeros": lambda: bar_figure(_top_k(torch.zeros(1, 3).double(), k=1)),
    "bars-all-abstained": lambda: bar_figure(_selection(_columns(), radius=9.0)),
}
