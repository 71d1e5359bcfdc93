"""The command ``captum-certified attack``."""

import argparse
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.attr import SmoothedAttribution
from captum_certified.certify import Certifier, TopKCertificate
from captum_certified.certify.written_numbers import ceiled_percent, floored_percent, rounded_down, written_confidence
from captum_certified.cli.arguments import positive_integer, surrogate
from captum_certified.cli.image_files import check_outputs, expanded
from captum_certified.cli.options import (
    ADVICE,
    Commands,
    Group,
    HelpFormatter,
    add_denoiser,
    add_exif,
    add_explanation,
    add_model,
    add_verbosity,
)
from captum_certified.cli.output import (
    check_folder,
    check_json,
    conditions_of,
    set_of,
    text_stream,
    units_of,
    write_json,
)
from captum_certified.metrics import top_k_intersection
from captum_certified.randomness import derived_seed, fresh_seed
from captum_certified.robust import Challenge, InterpretationAttack, Surrogate, challenge_certificate
from captum_certified.storage import JsonObject, atomic_write

if TYPE_CHECKING:  # this import loads torchvision
    from captum_certified.cli.models import LoadedModel

__all__ = ["add_to", "run"]

_DONE, _SOME_FAILED = 0, 1
_BLACK, _WHITE = 0.0, 1.0


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "attack",
        help="attack the saliency maps of image files, and certify the maps",
        description="Certify the sparsified SmoothGrad map of image files. Attack this map and the plain map within "
        "the same L2 radius without changing the predicted class, and show how much of each map's top set is left. "
        "Pixels are in [0, 1].",
        epilog="What an attack leaves of the smoothed map is measured from as many fresh draws as the certificate has, "
        "so this number has a sampling error. The certificate is about the exact smoothed map and holds with "
        f"--confidence for each image; the class of --target is held fixed. {ADVICE}",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, arrays, or folders of them")
    model = parser.add_argument_group("model")
    add_model(model)
    add_denoiser(model)
    add_exif(model)
    add_explanation(parser.add_argument_group("explanation and certificate"))
    _add_attack(parser.add_argument_group("attack"))
    _add_output(parser.add_argument_group("output"))
    parser.set_defaults(run=run)


def _add_attack(group: Group) -> None:
    group.add_argument("--steps", type=positive_integer, default=20, help="gradient steps from each start", metavar="N")
    group.add_argument("--restarts", type=positive_integer, default=2, help="number of random starts", metavar="N")
    group.add_argument("--attack-draws", type=positive_integer, default=16, help="draws for each gradient", metavar="N")
    group.add_argument(
        "--beta",
        type=surrogate,
        default="auto",
        metavar="N",
        help="β of the softplus that replaces ReLUs in the gradients of the attack: a number, none for no replacement, "
        "or auto, which is 30 if the model has ReLUs",
    )
    group.add_argument(
        "--any-class", action="store_true", help="allow attacks that change the class; the certificate covers them too"
    )


def _add_output(group: Group) -> None:
    group.add_argument(
        "--out",
        type=Path,
        default=Path("captum-certified-attacks"),
        metavar="DIR",
        help="folder for the results of each image: certificate (.json, .npz), figure (.png), attacked image (.npy)",
    )
    group.add_argument("--json", metavar="FILE", help="write all results as one JSON list; - is standard output")
    add_verbosity(group)


def run(arguments: argparse.Namespace) -> int:
    """Attack every image, and continue after an image that fails."""
    from captum_certified.cli.models import explainer_of, load_model

    if arguments.seed is None:
        arguments.seed = fresh_seed()
    files = expanded(arguments.images, without=arguments.out)
    check_outputs(files, arguments.out, (".png", ".json", ".npz", "-attacked.npy"))
    check_json(arguments.json)
    check_folder(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    loaded = load_model(arguments)
    explainer = explainer_of(loaded, arguments)
    stream = text_stream(arguments.json)
    records = []
    for path, name in files:
        record, line = _attacked(path, name, explainer, loaded, arguments)
        records.append(record)
        print(line, file=stream, flush=True)
    for condition in (*conditions_of(records), *units_of(records)):
        print(condition, file=stream, flush=True)
    print(f"Results: {arguments.out}", file=stream, flush=True)
    write_json(records, arguments.json)
    return _SOME_FAILED if any("error" in record for record in records) else _DONE


def _attacked(
    path: Path, name: str, explainer: SmoothedAttribution, loaded: "LoadedModel", arguments: argparse.Namespace
) -> tuple[JsonObject, str]:
    """Attack one image. Return the record of the result or of the failure, and the line to print."""
    from captum_certified.runs.dataset import FAILURES

    try:
        return _attack(path, name, explainer, loaded, arguments)
    except FAILURES as error:
        if arguments.verbose:
            traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        return {"kind": "failure", "image": str(path), "error": reason}, f"{path}: failed: {reason}"


def _attack(
    path: Path, name: str, explainer: SmoothedAttribution, loaded: "LoadedModel", arguments: argparse.Namespace
) -> tuple[JsonObject, str]:
    from captum_certified.cli.image_groups import groups_of
    from captum_certified.cli.image_sources import groups_note, prediction_of, reference_of, units_note
    from captum_certified.images.framing import load_image

    image, _ = load_image(path, loaded.framing, channels=arguments.channels, exif=arguments.exif)
    inputs = image.to(arguments.device, getattr(torch, arguments.dtype))
    prediction = prediction_of(loaded.model, inputs)
    target = prediction if arguments.target == "predicted" else arguments.target
    groups = groups_of(arguments.groups, path, image, loaded, arguments)
    certificate = Certifier(explainer, confidence=arguments.confidence, bound=arguments.bound).certify(
        inputs,
        target=target,
        k=arguments.k,
        radius=arguments.radius,
        nt_samples=arguments.samples,
        stdevs=arguments.sigma,
        nt_samples_batch_size=arguments.batch_size,
        groups=groups,
        reference=reference_of(path, image, groups, loaded, arguments),
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
    [perturbed] = as_tuple(challenge.perturbed)
    plain = _plain_attack(certificate, explainer, loaded, inputs, prediction, arguments)
    notes: JsonObject = {
        "image": str(path),
        "prediction": prediction,
        "everyday_units": units_note(image, arguments.radius),
        **({} if arguments.denoiser is None else {"denoiser": arguments.denoiser}),
        **groups_note(arguments.groups, groups),
        "attack": {
            "overlap_fraction": challenge.overlap_fraction.tolist(),
            "plain_overlap_fraction": [plain.overlap_fraction],
            "prediction": prediction_of(loaded.model, perturbed),
            "steps": arguments.steps,
            "restarts": arguments.restarts,
            "draws": arguments.attack_draws,
            "beta": challenge.surrogate.beta,
            "plain_beta": plain.surrogate.beta,
            "surrogate": str(challenge.surrogate),
        },
    }
    _write(arguments.out / name, challenge, plain, inputs, notes)
    of_set = certificate.reference != "own"
    what = f"{set_of(certificate.to_dict())} in the smoothed map's" if of_set else "the smoothed one's"
    line = (
        f"{path}: class {prediction}, within L2 radius {rounded_down(certificate.at_radius)} an attack leaves "
        f"{ceiled_percent(plain.overlap_fraction)}% of the plain map's top {certificate.k} and "
        f"{ceiled_percent(float(challenge.overlap_fraction[0]))}% of {what}, measured from "
        f"{int(certificate.n_samples[0])} fresh draws; {floored_percent(float(certificate.overlap_fraction[0]))}% is "
        f"certified of the exact smoothed map ({certificate.bound}, confidence "
        f"{written_confidence(certificate.confidence)})"
    )
    return {**certificate.to_dict(), **notes}, line


class _PlainAttack(NamedTuple):
    """An attack on the plain map, which has no certificate. Overlaps count the features of the smoothed map."""

    method: str
    perturbed: Tensor
    before: Tensor
    after: Tensor
    overlap_fraction: float
    surrogate: Surrogate


def _plain_attack(
    certificate: TopKCertificate,
    explainer: SmoothedAttribution,
    loaded: "LoadedModel",
    inputs: Tensor,
    prediction: int,
    arguments: argparse.Namespace,
) -> _PlainAttack:
    method = explainer.attribution_method
    # Without noise, the class that argmax chooses for each draw is the predicted class.
    target = arguments.target if isinstance(arguments.target, int) else prediction
    attack = InterpretationAttack(
        loaded.model, method, lower_bound=_BLACK, upper_bound=_WHITE, surrogate_beta=arguments.beta
    )
    result = attack.attack(
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
    [perturbed] = as_tuple(result.perturbed)
    layout = certificate.map.layout
    maps = [method.attribute(x.clone().requires_grad_(), target=target).detach().cpu() for x in (inputs, perturbed)]
    before, after = (layout.unflatten(layout.flatten([one], 1)) for one in maps)
    assert isinstance(before, Tensor)  # noqa: S101  for the type checker: the image is one tensor
    assert isinstance(after, Tensor)  # noqa: S101
    [kept] = top_k_intersection(layout.group_means([before]), layout.group_means([after]), k=certificate.k).tolist()
    return _PlainAttack(type(method).__name__, perturbed, before, after, kept, result.surrogate)


def _write(stem: Path, challenge: Challenge, plain: _PlainAttack, inputs: Tensor, notes: JsonObject) -> None:
    from captum_certified.runs import write_result

    [perturbed] = as_tuple(challenge.perturbed)
    with atomic_write(stem.with_name(f"{stem.name}.png")) as file:
        _figure(challenge, plain, inputs).savefig(file, format="png", dpi=150)
    with atomic_write(stem.with_name(f"{stem.name}-attacked.npy")) as file:
        np.save(file, perturbed[0].float().cpu().numpy())
    write_result(stem.with_name(f"{stem.name}.json"), challenge.certificate, inputs, notes=notes)


def _figure(challenge: Challenge, plain: _PlainAttack, inputs: Tensor) -> Figure:
    """Draw a row for the plain map, which has no certificate, and a row for the smoothed map."""
    from captum_certified.visualization import attack_figure

    certificate = challenge.certificate
    [mean], [attacked_mean] = as_tuple(certificate.map.mean), as_tuple(challenge.map.mean)
    figure, _ = attack_figure(
        torch.cat([inputs, inputs]).float().cpu(),
        torch.cat([plain.perturbed, *as_tuple(challenge.perturbed)]).float().cpu(),
        torch.cat([plain.before.double(), mean]),
        torch.cat([plain.after.double(), attacked_mean]),
        k=certificate.k,
        groups=certificate.map.layout.group_ids,
        certified=[None, float(certificate.overlap_fraction[0])],
        names=[f"plain {plain.method}", f"smoothed over {int(certificate.n_samples[0])} draws"],
    )
    return figure
