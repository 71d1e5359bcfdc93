"""Run the demo: train a classifier, certify and attack its explanations, and write figures and results."""

from dataclasses import dataclass
from pathlib import Path

import torch
from captum.attr import Saliency
from matplotlib.figure import Figure
from torch import nn

from captum_certified._captum import as_tuple, progress_bar
from captum_certified.attr import SparsifiedSmoothGrad
from captum_certified.certify import Certifier, TopKCertificate
from captum_certified.demo.attacked import AttackedDigit, attack_digit
from captum_certified.demo.digits import Digits, load_digits, train_classifier
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import SmoothedMap
from captum_certified.runs import write_result
from captum_certified.storage import atomic_write
from captum_certified.visualization import attack_figure, certificate_figure

__all__ = ["DemoReport", "DemoSettings", "DigitResult", "run_demo"]

_PAPER_BOUND = "theorem2"


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """The settings of the demo.

    Attributes:
        images: Number of test digits.
        samples: Number of noise draws for each digit.
        sigma: Standard deviation σ of the noise; pixels are in [0, 1].
        tau: Fraction τ of the pixels that are salient in each draw.
        k: Size of the top set, a count or a fraction.
        radius: L2 radius ρ of the perturbation, in the units of the pixels.
        seed: Seed of the classifier and of the noise.
    """

    images: int = 6
    samples: int = 4096
    sigma: float = 0.25
    tau: float = 0.2
    k: float = 0.2
    radius: float = 0.2
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DigitResult:
    """The result of one digit.

    Attributes:
        label: The true digit.
        prediction: The predicted class, which is explained.
        paper: Number of features in the overlap that the paper's Theorem 2 certifies.
        certificate: The certificate by the default bound ``"best"``.
        attacked: The plain and the smoothed map after attacks within the certified radius.
        path: The JSON file of this result.
    """

    label: int
    prediction: int
    paper: int
    certificate: TopKCertificate
    attacked: AttackedDigit
    path: Path


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """The results and the files of the demo.

    Attributes:
        accuracy: Fraction of the test digits that the classifier gets right.
        results: A result for each digit.
        figure: The file with the figure of all certificates.
        attacks: The file with the figure of all attacks.
    """

    accuracy: float
    results: tuple[DigitResult, ...]
    figure: Path
    attacks: Path


def run_demo(settings: DemoSettings, directory: Path, *, show_progress: bool = False) -> DemoReport:
    """Certify a few digits, attack their explanations, and write two figures and a JSON file for each digit.

    Args:
        settings: The settings.
        directory: Folder for the files. It is created if it does not exist.
        show_progress: Show progress on stderr.

    Raises:
        CaptumCertifiedError: Scikit-learn is not installed, or a setting is out of range.
        OSError: A file cannot be written.
    """
    digits = load_digits()
    _check(settings, digits)
    directory.mkdir(parents=True, exist_ok=True)
    model = train_classifier(digits, sigma=settings.sigma, seed=settings.seed, show_progress=show_progress)
    with torch.no_grad():
        predictions = model(digits.test_images).argmax(dim=1)
    results = []
    with progress_bar(total=settings.images, description="certifying and attacking digits", show=show_progress) as bar:
        for index in range(settings.images):
            results.append(_certify(index, int(predictions[index]), model, digits, settings, directory))
            bar.update(1)
    accuracy = float((predictions == digits.test_labels).double().mean())
    return DemoReport(
        accuracy=accuracy,
        results=tuple(results),
        figure=_draw(results, digits, directory),
        attacks=_draw_attacks(results, digits, directory),
    )


def _check(settings: DemoSettings, digits: Digits) -> None:
    """Refuse settings out of range before anything is trained or written.

    Raises:
        InvalidInputError: A setting is out of range.
    """
    available = len(digits.test_labels)
    if not 1 <= settings.images <= available:
        raise InvalidInputError(f"Expected `images` from 1 to {available}, got {settings.images}.")
    SparsifiedSmoothGrad(Saliency(nn.Identity()), tau=settings.tau)
    nothing = torch.zeros_like(digits.test_images[:1], dtype=torch.int64)
    blank = SmoothedMap.from_counts(nothing, n_samples=settings.samples, stdevs=settings.sigma)
    Certifier().top_k(blank, k=settings.k, radius=settings.radius)


def _certify(
    index: int, prediction: int, model: nn.Module, digits: Digits, settings: DemoSettings, directory: Path
) -> DigitResult:
    image, label = digits.test_images[index : index + 1], int(digits.test_labels[index])
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=settings.tau)
    certificate = Certifier(explainer).certify(
        image,
        target=prediction,
        k=settings.k,
        radius=settings.radius,
        nt_samples=settings.samples,
        stdevs=settings.sigma,
        seed=settings.seed,
    )
    paper_certificate = Certifier(bound=_PAPER_BOUND).top_k(certificate.map, k=settings.k, radius=settings.radius)
    paper = int(paper_certificate.overlap[0])
    attacked = attack_digit(model, explainer, image, certificate, target=prediction, seed=settings.seed)
    path = write_result(
        directory / f"digit-{index}.json",
        certificate,
        image,
        notes={
            "label": label,
            "prediction": prediction,
            "data": f"scikit-learn digits, test image {index}",
            f"overlap_{_PAPER_BOUND}": paper,
            "overlap_attacked": attacked.smoothed,
            "overlap_attacked_plain_map": attacked.plain,
        },
    )
    return DigitResult(
        label=label, prediction=prediction, paper=paper, certificate=certificate, attacked=attacked, path=path
    )


def _draw(results: list[DigitResult], digits: Digits, directory: Path) -> Path:
    first = results[0].certificate
    stacked = SmoothedMap.stack([result.certificate.map for result in results])
    certificate = Certifier().top_k(stacked, k=first.k, radius=first.radius)
    figure, _ = certificate_figure(certificate, digits.test_images[: len(results)], labels=_labels(results))
    return _saved(figure, directory / "certificates.png")


def _draw_attacks(results: list[DigitResult], digits: Digits, directory: Path) -> Path:
    challenges = [result.attacked.challenge for result in results]
    certificates = [challenge.certificate for challenge in challenges]
    figure, _ = attack_figure(
        digits.test_images[: len(results)],
        torch.cat([as_tuple(challenge.perturbed)[0] for challenge in challenges]),
        torch.cat([as_tuple(certificate.map.mean)[0] for certificate in certificates]),
        torch.cat([as_tuple(challenge.map.mean)[0] for challenge in challenges]),
        k=certificates[0].k,
        certified=[float(certificate.overlap_fraction[0]) for certificate in certificates],
        labels=_labels(results),
        names=[f"smoothed over {int(certificate.n_samples[0])} draws" for certificate in certificates],
    )
    return _saved(figure, directory / "attacks.png")


def _labels(results: list[DigitResult]) -> list[str]:
    return [f"a {result.label}, predicted {result.prediction}" for result in results]


def _saved(figure: Figure, path: Path) -> Path:
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return path
