"""The attack on the maps of one image: its record, its files, and the line to print."""

import argparse
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from captum_certified._captum import MethodArguments, as_tuple
from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.row_arguments import unshared
from captum_certified.certify import Certifier, TopKCertificate
from captum_certified.certify.written_numbers import ceiled_percent, floored_percent, rounded_down, written_confidence
from captum_certified.cli.class_names import class_named, class_title, named
from captum_certified.cli.explainers import arguments_of
from captum_certified.cli.image_groups import groups_of
from captum_certified.cli.image_sources import prediction_of, reference_of, settings_note
from captum_certified.cli.methods import choice_of
from captum_certified.cli.models import LoadedModel, placed
from captum_certified.cli.output import set_of
from captum_certified.images.framing import load_image
from captum_certified.metrics import top_k_intersection
from captum_certified.randomness import IsolatedRandomness, derived_seed
from captum_certified.robust import Challenge, Surrogate, challenge_certificate
from captum_certified.robust.named_attacks import NamedAttack
from captum_certified.runs import write_result
from captum_certified.runs.dataset import FAILURES
from captum_certified.storage import JsonObject, atomic_write
from captum_certified.visualization import attack_figure

__all__ = ["attacked"]

_BLACK, _WHITE = 0.0, 1.0


def attacked(
    path: Path, name: str, explainer: SmoothedAttribution, loaded: LoadedModel, arguments: argparse.Namespace
) -> tuple[JsonObject, str]:
    """Attack one image. Return the record of the result or of the failure, and the line to print."""
    try:
        return _attack(path, name, explainer, loaded, arguments)
    except FAILURES as error:
        if arguments.verbose:
            traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        return {"kind": "failure", "image": str(path), "error": reason}, f"{path}: failed: {reason}"


def _attack(
    path: Path, name: str, explainer: SmoothedAttribution, loaded: LoadedModel, arguments: argparse.Namespace
) -> tuple[JsonObject, str]:
    image, _ = load_image(path, loaded.framing, channels=arguments.channels, exif=arguments.exif)
    inputs = placed(image, arguments)
    names = loaded.class_names
    prediction = prediction_of(loaded.model, inputs, names=names)
    target = prediction if arguments.target == "predicted" else arguments.target
    choice, groups = choice_of(arguments.method), groups_of(arguments.groups, path, image, loaded, arguments)
    own = arguments_of(choice, image, loaded, arguments, groups)
    certificate = Certifier(explainer, confidence=arguments.confidence, bound=arguments.bound).certify(
        inputs,
        target=target,
        k=arguments.k,
        radius=arguments.radius,
        nt_samples=arguments.samples,
        stdevs=arguments.sigma,
        nt_samples_batch_size=arguments.batch_size,
        groups=groups,
        reference=reference_of(path, groups, loaded, arguments),
        seed=arguments.seed,
        show_progress=not arguments.quiet,
        **own,
    )
    challenge = challenge_certificate(
        certificate,
        explainer,
        inputs,
        forward_func=loaded.model,
        attack=arguments.attack,
        attack_draws=arguments.attack_draws,
        step_num=arguments.steps,
        n_restarts=arguments.restarts,
        n_queries=arguments.queries,
        nt_samples_batch_size=arguments.batch_size,
        lower_bound=_BLACK,
        upper_bound=_WHITE,
        surrogate_beta=arguments.beta,
        keep_class=not arguments.any_class,
        seed=derived_seed(arguments.seed, 1),
        show_progress=not arguments.quiet,
        target=target,
        **own,
    )
    [perturbed] = as_tuple(challenge.perturbed)
    # With --target argmax every noisy copy is explained for its own class. The plain map has one copy, without noise.
    plain_target = arguments.target if isinstance(arguments.target, int) else prediction
    plain = _plain_attack(certificate, explainer, loaded, inputs, {**own, "target": plain_target}, arguments)
    attacked_class = prediction_of(loaded.model, perturbed)
    notes: JsonObject = {
        "image": str(path),
        "prediction": prediction,
        **named({"prediction": prediction, "explained": target}, names),
        **settings_note(image, groups, choice, arguments),
        "attack": {
            "name": arguments.attack,
            "overlap_fraction": challenge.overlap_fraction.tolist(),
            "plain_overlap_fraction": [plain.overlap_fraction],
            "prediction": attacked_class,
            **named({"prediction": attacked_class}, names),
            **_length_of(arguments),
            "draws": arguments.attack_draws,
            "beta": challenge.surrogate.beta,
            "plain_beta": plain.surrogate.beta,
            "surrogate": str(challenge.surrogate),
        },
    }
    title = None if names is None else class_title(plain_target, names)
    _write(arguments.out / name, challenge, plain, inputs, notes, title)
    of_set = certificate.reference != "own"
    what = f"{set_of(certificate.to_dict())} in the smoothed map's" if of_set else "the smoothed one's"
    line = (
        f"{path}: {class_named(prediction, names)}, within L2 radius {rounded_down(certificate.at_radius)} an attack "
        f"leaves {ceiled_percent(plain.overlap_fraction)}% of the plain map's top {certificate.k} and "
        f"{ceiled_percent(float(challenge.overlap_fraction[0]))}% of {what}, measured from "
        f"{int(certificate.n_samples[0])} fresh draws; {floored_percent(float(certificate.overlap_fraction[0]))}% is "
        f"certified of the exact smoothed map ({certificate.bound}, confidence "
        f"{written_confidence(certificate.confidence)})"
    )
    return {**certificate.to_dict(), **notes}, line


def _length_of(arguments: argparse.Namespace) -> JsonObject:
    """Return how long the chosen attack searches, in the words of its options."""
    words = {"interpretation": ("steps", "restarts"), "ghorbani": ("steps",), "black_box": ("queries",)}
    return {word: getattr(arguments, word) for word in words.get(arguments.attack, ())}


class _PlainAttack(NamedTuple):
    """An attack on the plain map, which has no certificate. Its overlap is counted in the smoothed map's features."""

    method: str
    perturbed: Tensor
    before: Tensor
    after: Tensor
    overlap_fraction: float
    surrogate: Surrogate


def _plain_attack(
    certificate: TopKCertificate,
    explainer: SmoothedAttribution,
    loaded: LoadedModel,
    inputs: Tensor,
    own: MethodArguments,
    arguments: argparse.Namespace,
) -> _PlainAttack:
    method = explainer.attribution_method
    named = NamedAttack(
        name=arguments.attack,
        step_num=arguments.steps,
        n_restarts=arguments.restarts,
        n_queries=arguments.queries,
    )
    attack = named.on(loaded.model, method, lower_bound=_BLACK, upper_bound=_WHITE, surrogate_beta=arguments.beta)
    result = attack(
        inputs,
        arguments.radius,
        k=certificate.k / certificate.map.layout.n_features,
        target=own["target"],
        attribution_kwargs={name: value for name, value in own.items() if name != "target"},
        keep_class=not arguments.any_class,
        seed=derived_seed(arguments.seed, 2),
        show_progress=not arguments.quiet,
    )
    [perturbed] = as_tuple(result.perturbed)
    layout = certificate.map.layout
    given = {name: unshared(value) for name, value in own.items()}
    maps = []
    for x in (inputs, perturbed):
        with IsolatedRandomness(x.device)(derived_seed(arguments.seed, 3)):  # methods that sample: the same samples
            maps.append(method.attribute(x.clone().requires_grad_(), **given).detach().cpu())
    before, after = (layout.unflatten(layout.flatten([one], 1)) for one in maps)
    assert isinstance(before, Tensor)  # noqa: S101  for the type checker: the image is one tensor
    assert isinstance(after, Tensor)  # noqa: S101
    [kept] = top_k_intersection(layout.group_means([before]), layout.group_means([after]), k=certificate.k).tolist()
    return _PlainAttack(type(method).__name__, perturbed, before, after, kept, result.surrogate)


def _write(
    stem: Path, challenge: Challenge, plain: _PlainAttack, inputs: Tensor, notes: JsonObject, title: str | None
) -> None:
    [perturbed] = as_tuple(challenge.perturbed)
    with atomic_write(stem.with_name(f"{stem.name}.png")) as file:
        _figure(challenge, plain, inputs, title).savefig(file, format="png", dpi=150)
    with atomic_write(stem.with_name(f"{stem.name}-attacked.npy")) as file:
        np.save(file, perturbed[0].float().cpu().numpy())
    write_result(stem.with_name(f"{stem.name}.json"), challenge.certificate, inputs, notes=notes)


def _figure(challenge: Challenge, plain: _PlainAttack, inputs: Tensor, title: str | None) -> Figure:
    """Draw a row for the plain map, which has no certificate, and a row for the smoothed map.

    The title, if there is one, is placed above the clean images.
    """
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
        labels=None if title is None else [title, title],
        names=[f"plain {plain.method}", f"smoothed over {int(certificate.n_samples[0])} draws"],
    )
    return figure
