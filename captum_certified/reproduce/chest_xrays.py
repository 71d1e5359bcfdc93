"""Certified maps of chest X-rays, by networks that were trained plainly and under noise."""

import functools
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import NamedTuple, TypeAlias

import torch
from captum.attr import Attribution, IntegratedGradients, LayerGradCam, Saliency
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_certified import Certifier, SmoothedMap, SparsifiedSmoothGrad, TopKCertificate, Upsampled
from captum_certified.certify.worth import shared_fraction
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, Value, number, numbers, where
from captum_certified.reproduce.mnist_networks import accuracy, plain_loss
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import Json, JsonObject
from captum_certified.training import GaussianAugmentationLoss, TrainingLoss, fit, xray_network
from captum_certified.visualization.colours import BESIDE, KINDS

__all__ = ["RADII", "ChestXrays", "margins", "saliency_setting", "trained_network"]

K = 0.2  # size of the top set, as a fraction of all features
RADII = tuple(round(0.05 * step, 2) for step in range(1, 11))
_REPORTED = (0.1, 0.25, 0.5)
_SEED = 1  # of the noise; the pilot had seed 0
_BATCH = 5  # draws of all images in a pass
_TRAINING_BATCH, _RATE = 64, 1e-3
_STDEV = 0.5  # of the noise in training
_COMPARED = ("chance", "brightness", "randomised")


class Setting(NamedTuple):
    """How maps are smoothed. The fields are columns of the table."""

    sigma: float
    tau: float
    groups: str


class _Method(NamedTuple):
    """A method, and the settings with which the pilot expects the largest margin for the noise-trained network."""

    of: Callable[[nn.Module], Attribution]
    setting: Setting
    steps: bool = False  # whether the method takes n_steps, and has fewer images and seeds because it costs more


_METHODS: Mapping[str, _Method] = {
    "Saliency": _Method(Saliency, Setting(0.5, 0.1, "patches:4")),
    "Grad-CAM": _Method(lambda model: _grad_cam(model), Setting(0.25, 0.1, "patches:4")),
    "Integrated gradients": _Method(IntegratedGradients, Setting(1.0, 0.2, "patches:4"), steps=True),
}
# What the pilot marks for the plainly trained network and Saliency.
_PLAIN_SETTING = Setting(1.0, 0.1, "patches:7")
_TRAININGS: Mapping[str, Callable[[int], TrainingLoss]] = {
    "plain": plain_loss,
    "noise": lambda seed: GaussianAugmentationLoss(stdev=_STDEV, seed=seed),
}


class _Size(NamedTuple):
    """The numbers of networks, epochs, test images and draws."""

    seeds: int  # networks for each training
    epochs: int
    images: int
    draws: int
    integrated: int  # images that are explained by integrated gradients
    steps: int  # of integrated gradients


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(seeds=1, epochs=1, images=2, draws=16, integrated=1, steps=2),
    "cpu": _Size(seeds=3, epochs=20, images=100, draws=4096, integrated=25, steps=8),
    "dry": _Size(seeds=1, epochs=1, images=2, draws=16, integrated=1, steps=2),
    "paper": _Size(seeds=3, epochs=20, images=624, draws=4096, integrated=100, steps=50),
}
_Job: TypeAlias = tuple[str, Setting, bool]  # a method, its settings, and whether they were chosen for this training


class ChestXrays(Experiment):
    """Certificates of Saliency, Grad-CAM and integrated gradients for two trainings on PneumoniaMNIST.

    The page ``docs/howto/medical.md`` has the protocol, which was written before any test image was explained.
    """

    name = "xrays"
    uses = ("xrays",)
    title = "Certified maps of chest X-rays, PneumoniaMNIST, trained plainly and under noise"
    claim = "Ours: training under noise gives the median plain map a positive margin at ρ = 0.5."

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of training and certificates."""
        methods = {name: list(method.setting) for name, method in _METHODS.items()}
        training: JsonObject = {"stdev": _STDEV, "batch_size": _TRAINING_BATCH, "rate": _RATE}
        smoothing: JsonObject = {"k": K, "radii": RADII, "seed": _SEED, "batch": _BATCH}
        return {
            **_SIZES[scale]._asdict(),
            **training,
            **smoothing,
            "methods": methods,
            "plain_setting": list(_PLAIN_SETTING),
        }

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for the accuracy of each network, and one for each network and method."""
        size, parts = _SIZES[scale], []
        for seed in range(size.seeds):
            for training in _TRAININGS:
                of_network = functools.partial(trained_network, training, seed, size.epochs, material)
                about: Row = {"training": training, "seed": seed}
                parts.append(Part(f"{training}-{seed}", functools.partial(_accuracies, of_network, about, material)))
                for job in _jobs(training, seed):
                    name = f"{training}-{seed}-{job[0].replace(' ', '-').lower()}{'-chosen' if job[2] else ''}"
                    parts.append(Part(name, functools.partial(_rows, of_network, about, job, size, material)))
        return parts

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return accuracies, and means and medians over the images for each network, method and setting."""
        explained = [row for row in rows if row["method"] is not None]
        kinds = dict.fromkeys((str(row["training"]), _label(row), int(number(row, "seed"))) for row in explained)
        summary: dict[str, dict[str, Json]] = {}
        for row in where(rows, method=None):
            name = f"{row['training']}, seed {row['seed']}"
            summary[name] = {part: row[part] for part in ("accuracy", "normal", "pneumonia")}
        for training, label, seed in kinds:
            own = [row for row in where(explained, training=training, seed=seed) if _label(row) == label]
            summary[f"{training}, seed {seed}"][label] = _of_images(own)
        return dict(summary)

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot the median margin over ρ, with a panel for each method and a line for each network."""
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        colors = dict(zip(_TRAININGS, KINDS, strict=False))
        for axes, name in zip(figure.subplots(1, len(_METHODS), sharey=True), _METHODS, strict=True):
            own = where(rows, method=name, chosen_for_it=False)
            for training, seed in dict.fromkeys((str(row["training"]), row["seed"]) for row in own):
                found = where(own, training=training, seed=seed)
                values = [median(margins(found, radius)) for radius in RADII]
                label = training if seed == 0 else None
                axes.plot(RADII, values, "o-", drawstyle="steps-pre", markersize=3, color=colors[training], label=label)
            axes.axhline(0, color=BESIDE, linewidth=1)
            axes.set_title(name, fontsize=10)
            axes.set_xlabel("radius ρ")
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylabel("median margin")
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, title="training", loc="outside right center", frameon=False)
        return figure


def margins(rows: Sequence[Row], radius: float) -> list[float]:
    """Return the margin of each image at a radius, as :attr:`captum_certified.TopKCertificate.margin` defines it."""
    best = [max(number(row, name) for name in _COMPARED) for row in rows]
    plain = numbers(rows, f"plain_{radius:g}")
    return [certified - other for certified, other in zip(plain, best, strict=True)]


def saliency_setting() -> Setting:
    """Return the settings that the pilot chose for Saliency and the networks trained under noise."""
    return _METHODS["Saliency"].setting


def _jobs(training: str, seed: int) -> list[_Job]:
    """Return what is certified for a network."""
    jobs = [(name, method.setting, False) for name, method in _METHODS.items() if seed == 0 or not method.steps]
    chosen = ("Saliency", _PLAIN_SETTING, True)
    return [*jobs, chosen] if training == "plain" else jobs


def _label(row: Row) -> str:
    return f"{row['method']}, settings chosen for it" if row["chosen_for_it"] else str(row["method"])


def _of_images(rows: Sequence[Row]) -> dict[str, Json]:
    """Return means, the median margin at the reported radii, and the largest radius at which it is positive."""
    medians = {radius: median(margins(rows, radius)) for radius in RADII}
    classes = {name: where(rows, predicted=number) for number, name in enumerate(("normal", "pneumonia"))}
    means = ("class_kept", "plain_overlap", *_COMPARED, "other_patients", *(f"own_{radius:g}" for radius in _REPORTED))
    return {
        "images": len(rows),
        **{f"predicted_{name}": len(own) for name, own in classes.items()},
        **{f"class_kept_{name}": fmean(numbers(own, "class_kept")) if own else None for name, own in classes.items()},
        **{name: fmean(numbers(rows, name)) for name in means},
        **{f"plain_{radius:g}": fmean(numbers(rows, f"plain_{radius:g}")) for radius in _REPORTED},
        **{f"mean_margin_{radius:g}": fmean(margins(rows, radius)) for radius in _REPORTED},
        **{f"median_margin_{radius:g}": medians[radius] for radius in _REPORTED},
        **{f"above_other_patients_{radius:g}": _above_other_patients(rows, radius) for radius in _REPORTED},
        **{f"positive_{radius:g}": sum(m > 0 for m in margins(rows, radius)) for radius in _REPORTED},
        "largest_radius": max((radius for radius, value in medians.items() if value > 0), default=None),
    }


def _above_other_patients(rows: Sequence[Row], radius: float) -> int:
    """Return for how many images more is certified than the maps of the other images share with the plain map."""
    return sum(number(row, f"plain_{radius:g}") > number(row, "other_patients") for row in rows)


@functools.lru_cache(maxsize=1)
def trained_network(training: str, seed: int, epochs: int, material: Material) -> nn.Module:
    """Train a network, as ``captum-certified train`` does."""
    model = xray_network(seed=seed)
    fit(
        model,
        TensorDataset(*material.xrays(train=True)),
        _TRAININGS[training](seed),
        optimizer=torch.optim.Adam(model.parameters(), lr=_RATE),
        epochs=epochs,
        batch_size=_TRAINING_BATCH,
        seed=seed,
    )
    return model.eval().requires_grad_(False)


def _grad_cam(model: nn.Module) -> Attribution:
    return Upsampled(LayerGradCam(model, model.get_submodule("4")))


def _accuracies(of_network: Callable[[], nn.Module], about: Row, material: Material) -> list[Row]:
    model, (images, classes) = of_network(), material.xrays(train=False)
    groups = {"accuracy": classes >= 0, "normal": classes == 0, "pneumonia": classes == 1}
    shares = {name: round(accuracy(model, images[rows], classes[rows]), 4) for name, rows in groups.items()}
    return [{**about, "method": None, **shares}]


def _rows(of_network: Callable[[], nn.Module], about: Row, job: _Job, size: _Size, material: Material) -> list[Row]:
    """Certify the maps of the first test images, at all radii from the same draws."""
    model, (name, setting, chosen) = of_network(), job
    method = _METHODS[name]
    images = material.xrays(train=False)[0][: size.integrated if method.steps else size.images]
    targets = model(images).argmax(dim=1)
    smoothed_map = SparsifiedSmoothGrad(method.of(model), tau=setting.tau).sample(
        images,
        target=targets,
        nt_samples=size.draws,
        nt_samples_batch_size=_BATCH,
        stdevs=setting.sigma,
        groups=setting.groups,
        seed=_SEED,
        attribution_kwargs={"n_steps": size.steps} if method.steps else None,
    )
    columns = {"predicted": targets.tolist(), **_certified(smoothed_map)}
    shared: Row = {**about, "method": name, **setting._asdict(), "chosen_for_it": chosen}
    return [
        {**shared, "image": image, **{column: values[image] for column, values in columns.items()}}
        for image in range(len(images))
    ]


def _certified(smoothed_map: SmoothedMap) -> dict[str, list[Value]]:
    """Return the columns of a certificate at all radii. Overlaps are fractions of the reference set."""
    certifier = Certifier()
    own = certifier.top_k(smoothed_map, k=K, radius=RADII[-1])
    plain = certifier.top_k(smoothed_map, k=K, radius=RADII[-1], reference="plain")
    own_curve = certifier.top_k_curve(smoothed_map, k=K, radii=_REPORTED) / own.k
    plain_curve = certifier.top_k_curve(smoothed_map, k=K, radii=RADII, reference="plain")
    plain_curve = plain_curve / plain.reference_size.clamp_max(plain.k).unsqueeze(1)
    shared = None if own.plain_overlap is None else own.plain_overlap / own.k
    columns: dict[str, Tensor | None] = {"class_kept": own.class_kept, "plain_overlap": shared}
    columns |= {name: getattr(plain, name) for name in _COMPARED}
    columns["other_patients"] = _of_other_patients(plain)
    columns |= {f"own_{radius:g}": own_curve[:, i] for i, radius in enumerate(_REPORTED)}
    columns |= {f"plain_{radius:g}": plain_curve[:, i] for i, radius in enumerate(RADII)}
    return {name: [None] * len(smoothed_map) if v is None else _rounded(v) for name, v in columns.items()}


def _of_other_patients(plain: TopKCertificate) -> Tensor | None:
    """Return the overlap fraction of the K features that are most often in the plain top sets of the other images.

    No certificate compares a map with those of other images. A map that is the same for every image overlaps fully.
    """
    others = plain.members.sum(dim=0) - plain.members.long()
    return shared_fraction(others, plain.members, plain.k)


def _rounded(values: Tensor) -> list[Value]:
    return [round(float(value), 4) for value in values]
