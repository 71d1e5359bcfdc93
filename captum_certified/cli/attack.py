"""``captum-certified attack``."""

import argparse
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from captum_certified.certify.written_numbers import ceiled_percent, floored_percent, rounded_down, written_confidence
from captum_certified.cli.arguments import positive_integer, surrogate
from captum_certified.cli.conditions import conditions_of
from captum_certified.cli.image_files import check_outputs, expanded
from captum_certified.cli.options import (
    ADVICE,
    add_exif,
    add_explanation,
    add_model,
    check_folder,
    check_json,
    explainer_of,
    write_json,
)

if TYPE_CHECKING:
    from captum_certified.attr import SmoothedAttribution
    from captum_certified.certify import TopKCertificate
    from captum_certified.cli.models import LoadedModel
    from captum_certified.robust import Challenge, Surrogate

__all__ = ["add_to", "run"]

_DONE, _SOME_FAILED = 0, 1
_BLACK, _WHITE = 0.0, 1.0


def add_to(commands: Any) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "attack",
        help="attack the saliency maps of image files, beside their certificates",
        description="Certify the sparsified SmoothGrad of image files, attack it and the plain map within the same L2 "
        "radius while the predicted class stays, and show what is left of both. Pixels are in [0, 1].",
        epilog="What an attack leaves of the smoothed map is measured from as many fresh draws as the certificate has, "
        "so it has a sampling error; what is certified is about the exact smoothed map, with --confidence for each "
        f"image and the class of --target held fixed. {ADVICE}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, arrays, or folders of them")
    model = parser.add_argument_group("model")
    add_model(model)
    add_exif(model)
    add_explanation(parser.add_argument_group("explanation and certificate"))
    _add_attack(parser.add_argument_group("attack"))
    _add_output(parser.add_argument_group("output"))
    parser.set_defaults(run=run)


def _add_attack(group: Any) -> None:
    number: dict[str, Any] = {"metavar": "N"}
    group.add_argument("--steps", type=positive_integer, default=20, help="steps from each start", **number)
    group.add_argument("--restarts", type=positive_integer, default=2, help="random starts", **number)
    group.add_argument("--attack-draws", type=positive_integer, default=16, help="draws of each gradient", **number)
    group.add_argument(
        "--beta",
        type=surrogate,
        default="auto",
        metavar="N",
        help="of the softplus that stands in for ReLUs in gradients: a number, none, or auto, which is 30 if the model "
        "has ReLUs",
    )
    group.add_argument(
        "--any-class", action="store_true", help="let the predicted class change: the certificate holds then, too"
    )


def _add_output(group: Any) -> None:
    group.add_argument(
        "--out",
        type=Path,
        default=Path("captum-certified-attacks"),
        metavar="DIR",
        help="folder for a JSON and an npz of each certificate, a figure, and the attacked image as an array",
    )
    group.add_argument("--json", metavar="FILE", help="write all results as one JSON list; - is standard output")
    noise = group.add_mutually_exclusive_group()
    noise.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    noise.add_argument("-v", "--verbose", action="store_true", help="say why an image failed in full")


def run(arguments: argparse.Namespace) -> int:
    """Attack every image, whatever the others are like."""
    from captum_certified.cli.models import load_model
    from captum_certified.randomness import fresh_seed

    if arguments.seed is None:
        arguments.seed = fresh_seed()
    files = expanded(arguments.images, without=arguments.out)
    check_outputs(files, arguments.out, (".png", ".json", ".npz", "-attacked.npy"))
    check_json(arguments.json)
    check_folder(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    loaded = load_model(arguments)
    explainer = explainer_of(loaded, arguments)
    stream = sys.stderr if arguments.json == "-" else sys.stdout
    records = []
    for path, name in files:
        record = _attacked(path, name, explainer, loaded, arguments)
        records.append(record)
        print(_sentence(record), file=stream, flush=True)
    for line in conditions_of(records):
        print(line, file=stream, flush=True)
    print(f"Results: {arguments.out}", file=stream, flush=True)
    write_json(records, arguments.json)
    return _SOME_FAILED if any("error" in record for record in records) else _DONE


def _attacked(
    path: Path, name: str, explainer: "SmoothedAttribution", loaded: "LoadedModel", arguments: argparse.Namespace
) -> dict[str, Any]:
    """The record of one image; of its failure, if it fails."""
    from captum_certified.runs.dataset import FAILURES

    try:
        return _attack(path, name, explainer, loaded, arguments)
    except FAILURES as error:
        if arguments.verbose:
            traceback.print_exc()
        return {"kind": "failure", "image": str(path), "error": f"{type(error).__name__}: {error}"}


def _attack(
    path: Path, name: str, explainer: "SmoothedAttribution", loaded: "LoadedModel", arguments: argparse.Namespace
) -> dict[str, Any]:
    import torch

    from captum_certified.certify import Certifier
    from captum_certified.cli.image_sources import prediction_of
    from captum_certified.images.framing import load_image
    from captum_certified.randomness import derived_seed
    from captum_certified.robust import challenge_certificate

    image, _ = load_image(path, loaded.framing, channels=arguments.channels, exif=arguments.exif)
    inputs = image.to(arguments.device, getattr(torch, arguments.dtype))
    prediction = prediction_of(loaded.model, inputs)
    target: Any = prediction if arguments.target == "predicted" else arguments.target
    certificate = Certifier(explainer, confidence=arguments.confidence, bound=arguments.bound).certify(
        inputs,
        target=target,
        k=arguments.k,
        radius=arguments.radius,
        nt_samples=arguments.samples,
        stdevs=arguments.sigma,
        nt_samples_batch_size=arguments.batch_size,
        groups=arguments.groups,
        seed=arguments.seed,
        show_progress=not arguments.quiet,
    )
    challenge = challenge_certificate(
        certificate,
        explainer,
        inputs,
        forward_func=loaded.model,
        attack_draws=arguments.attack_draws,
        step_num=arguments.steps,
        n_restarts=arguments.restarts,
        nt_samples_batch_size=arguments.batch_size,
        lower_bound=_BLACK,
        upper_bound=_WHITE,
        surrogate_beta=arguments.beta,
        keep_class=not arguments.any_class,
        seed=derived_seed(arguments.seed, 1),
        show_progress=not arguments.quiet,
        target=target,
    )
    plain = _plain_attack(challenge, explainer, loaded, inputs, prediction, arguments)
    notes = {
        "image": str(path),
        "prediction": prediction,
        "attack": {
            "overlap_fraction": challenge.overlap_fraction.tolist(),
            "plain_overlap_fraction": plain.overlap_fraction,
            "prediction": prediction_of(loaded.model, challenge.perturbed),
            "steps": arguments.steps,
            "restarts": arguments.restarts,
            "draws": arguments.attack_draws,
            "beta": challenge.surrogate.beta,
            "plain_beta": plain.surrogate.beta,
            "surrogate": str(challenge.surrogate),
        },
    }
    _write(arguments.out / name, challenge, plain, inputs, notes)
    return {**certificate.to_dict(), **notes}


def _write(
    stem: Path,
    challenge: "Challenge",
    plain: "_PlainAttack",
    inputs: Any,
    notes: Mapping[str, Any],
) -> None:
    import numpy as np

    from captum_certified.runs import write_result
    from captum_certified.storage import atomic_write

    certificate = challenge.certificate
    with atomic_write(stem.with_name(f"{stem.name}.png")) as file:
        _figure(challenge, plain, inputs).savefig(file, format="png", dpi=150)
    with atomic_write(stem.with_name(f"{stem.name}-attacked.npy")) as file:
        np.save(file, challenge.perturbed[0].float().cpu().numpy())
    write_result(stem.with_name(f"{stem.name}.json"), certificate, inputs, notes=dict(notes))


def _figure(challenge: "Challenge", plain: "_PlainAttack", inputs: Any) -> Any:
    """Two rows: the plain map, of which nothing is certified, and the smoothed one."""
    import torch

    from captum_certified.visualization import attack_figure

    certificate = challenge.certificate
    smoothed = [_by_feature(m, certificate) for m in (certificate.map.mean, challenge.map.mean)]
    perturbed: list[Any] = [plain.perturbed, challenge.perturbed]
    figure, _ = attack_figure(
        torch.cat([inputs, inputs]).float().cpu(),
        torch.cat(perturbed).float().cpu(),
        torch.cat([plain.before, smoothed[0]]),
        torch.cat([plain.after, smoothed[1]]),
        k=certificate.k,
        certified=[None, float(certificate.overlap_fraction[0])],
        names=[f"plain {plain.method}", f"smoothed over {int(certificate.n_samples[0])} draws"],
    )
    return figure


class _PlainAttack(NamedTuple):
    """An attack on the map that nothing certifies, counted in the features of the certificate."""

    method: str
    perturbed: Any
    before: Any
    after: Any
    overlap_fraction: list[float]
    surrogate: "Surrogate"


def _plain_attack(
    challenge: "Challenge",
    explainer: "SmoothedAttribution",
    loaded: "LoadedModel",
    inputs: Any,
    prediction: int,
    arguments: argparse.Namespace,
) -> _PlainAttack:
    from captum_certified.metrics import top_k_intersection
    from captum_certified.randomness import derived_seed
    from captum_certified.robust import InterpretationAttack

    certificate, method = challenge.certificate, explainer.attribution_method
    # A class chosen for each draw is the predicted one where there is no noise.
    target = arguments.target if isinstance(arguments.target, int) else prediction
    attack = InterpretationAttack(
        loaded.model, method, lower_bound=_BLACK, upper_bound=_WHITE, surrogate_beta=arguments.beta
    )
    result: Any = attack.attack(
        inputs,
        arguments.radius,
        k=certificate.k / certificate.map.layout.n_features,
        step_num=arguments.steps,
        n_restarts=arguments.restarts,
        target=target,
        keep_class=not arguments.any_class,
        seed=derived_seed(arguments.seed, 2),
        show_progress=not arguments.quiet,
    )
    before, after = (
        _by_feature(method.attribute(points.clone().requires_grad_(), target=target).detach(), certificate)
        for points in (inputs, result.perturbed)
    )
    kept = top_k_intersection(before, after, k=certificate.k)
    return _PlainAttack(type(method).__name__, result.perturbed, before, after, kept.tolist(), result.surrogate)


def _by_feature(maps: Any, certificate: "TopKCertificate") -> Any:
    """Magnitudes of the certificate's features: entries, or pixels, whose channels are summed."""
    magnitudes = maps.abs().double().cpu()
    return magnitudes.sum(dim=1) if certificate.map.layout.by_channel else magnitudes


def _sentence(record: Mapping[str, Any]) -> str:
    if "error" in record:
        return f"{record['image']}: failed: {record['error']}"
    attack = record["attack"]
    return (
        f"{record['image']}: class {record['prediction']}, within L2 radius {rounded_down(record['radius'])} an attack "
        f"leaves {ceiled_percent(attack['plain_overlap_fraction'][0])}% of the plain map's top {record['k']} and "
        f"{ceiled_percent(attack['overlap_fraction'][0])}% of the smoothed one's, measured from "
        f"{record['n_samples'][0]} fresh draws; {floored_percent(record['overlap_fraction'][0])}% is certified of the "
        f"exact smoothed map ({record['bound']}, confidence {written_confidence(record['confidence'])})"
    )
