"""The saved maps of one example of a cell, and the numbers that follow from them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from captum_certified.benchmark.attacked_maps import AttackedMaps
from captum_certified.benchmark.plain_maps import PlainMaps
from captum_certified.certify import Certificate, TopKCertificate
from captum_certified.certify.reference import positive_top
from captum_certified.certify.verification import certifier_of
from captum_certified.exceptions import FileFormatError
from captum_certified.maps import SmoothedMap, same_behaviour
from captum_certified.runs.results import file_digest
from captum_certified.storage import Json, JsonObject
from captum_certified.theory import top_k_mask

__all__ = ["ATTACKED", "CERTIFICATE", "SavedMaps", "explanation_of", "inconsistencies", "numbers_of"]

ATTACKED = "attacked"  # the folder of the attacked maps, in the folder of a cell
CERTIFICATE = "certificate"  # the setting of an attack that holds the digest of the certificate

# What a map's setup says about the explanation, and not about the example.
_EXPLANATION = ("class", "tau", "gamma", "sign", "method", "options", "layers", "model")
# KernelShap fits weights at every input, and their digest is part of that of the model.
_OF_A_CALL = ("options", "model")
_TOLERANCE = 1 + 1e-5  # of the size of a perturbation, whose values are rounded to float32


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedMaps:
    """The saved maps of one example of a cell.

    Attributes:
        certificate: The certificate, with its map.
        certificate_digest: SHA-256 of the file of the certificate.
        attacked: The smoothed maps at attacked inputs.
        attack_settings: The settings of the attack.
        plain: The plain maps at neighbours of the input.
        neighbour_settings: The settings of the neighbours.
    """

    certificate: TopKCertificate
    certificate_digest: str
    attacked: AttackedMaps
    attack_settings: JsonObject
    plain: PlainMaps
    neighbour_settings: JsonObject

    @classmethod
    def load(cls, folder: Path, plain_folder: Path, name: str) -> "SavedMaps":
        """Read the maps of an example.

        Args:
            folder: Folder of the cell.
            plain_folder: Folder of the plain maps.
            name: Name of the example.

        Raises:
            FileFormatError: A file is corrupt or holds something else.
            OSError: A file cannot be opened.
        """
        path = folder / f"{name}.npz"
        certificate = Certificate.load(path)
        if not isinstance(certificate, TopKCertificate) or len(certificate.map) != 1:
            raise FileFormatError(f"Expected {path} to hold a top-K certificate of one example, got another.")
        attacked, attack_settings = AttackedMaps.load(folder / ATTACKED / f"{name}.npz")
        plain, neighbour_settings = PlainMaps.load(plain_folder / f"{name}.npz")
        return cls(
            certificate=certificate,
            certificate_digest=file_digest(path),
            attacked=attacked,
            attack_settings=attack_settings,
            plain=plain,
            neighbour_settings=neighbour_settings,
        )


def explanation_of(smoothed_map: SmoothedMap) -> dict[str, Json]:
    """Return what a map's setup says about the explanation and the noise, as JSON values."""
    setup = smoothed_map.setup
    return {name: setup[name] for name in _EXPLANATION if name in setup} | {"sigma": smoothed_map.sigma}


def numbers_of(saved: SavedMaps, radii: Sequence[float]) -> dict[str, Json]:
    """Return all numbers of one example that the table shows, except the time.

    Args:
        saved: The saved maps of the example.
        radii: L2 sizes at which to certify.

    Returns:
        Fractions in [0, 1], lists with one fraction for each radius, and ``None`` for what is unknown.
    """
    certificate, attacked, plain = saved.certificate, saved.attacked, saved.plain
    certifier, smoothed_map, k = certifier_of(certificate), certificate.map, certificate.k
    own = [certifier.top_k(smoothed_map, k=k, radius=radius) for radius in radii]
    of_plain = [certificate.of_plain for certificate in own]
    shared, plain_set = certificate.plain_overlap, _plain_set(smoothed_map, k)
    first = of_plain[0]
    return {
        "n_samples": int(certificate.n_samples[0]),
        "n_features": smoothed_map.layout.n_features,
        "k": k,
        "own": [float(each.overlap_fraction[0]) for each in own],
        "plain": [None if each is None else float(each.overlap_fraction[0]) for each in of_plain],
        "margin": [None if each is None else float(each.margin[0]) for each in of_plain],
        "chance": None if first is None else float(first.chance[0]),
        "brightness": None if first is None else _first(first.brightness),
        "random_weights": None if first is None else _first(first.randomised),
        "attacked": None if attacked.own is None else _left(certificate, attacked.own),
        "transferred": _left(certificate, attacked.transferred),
        "attacked_plain": _plain_left(plain_set, attacked.transferred.plain, k),
        "class_kept": _first(certificate.class_kept),
        "plain_overlap": None if shared is None else int(shared[0]) / k,
        "sensitivity": plain.sensitivity,
        "lipschitz": plain.lipschitz,
    }


def inconsistencies(saved: SavedMaps, settings: JsonObject) -> Iterator[str]:
    """Yield one sentence for everything in which saved maps of one example cannot belong together.

    Args:
        saved: The saved maps of the example.
        settings: The settings that the record of the cell states.
    """
    certificate, attacked, plain = saved.certificate, saved.attacked, saved.plain
    for kind, recorded in (("attack", saved.attack_settings), ("neighbours", saved.neighbour_settings)):
        for key in sorted(recorded.keys() & settings.keys()):
            if recorded[key] != settings[key]:
                yield f"{kind}: {key} {recorded[key]!r}, but the cell states {settings[key]!r}"
    if saved.attack_settings.get(CERTIFICATE) != saved.certificate_digest:
        yield "attack: of another certificate"
    expected = explanation_of(certificate.map)
    for name, smoothed_map in attacked.by_name.items():
        found = explanation_of(smoothed_map)
        for key in sorted(expected.keys() | found.keys()):
            if key not in _OF_A_CALL and expected.get(key) != found.get(key):
                yield f"{name} attack: {key} {found.get(key)!r}, but the certified map has {expected.get(key)!r}"
        size = attacked.sizes.get(name, math.nan)
        if not size <= certificate.at_radius * _TOLERANCE:
            yield f"{name} attack: of L2 size {size!r}, more than the radius {certificate.at_radius!r}"
        if not certificate.map.layout.same_as(smoothed_map.layout):
            yield f"{name} attack: a map of other features"
    known = certificate.map.plain
    fits = certificate.map.layout.shapes == (tuple(plain.clean.shape[1:]),)
    if not fits or (known is not None and not same_behaviour(certificate.map.layout.flatten([plain.clean], 1), known)):
        yield "plain maps: the map at the input is not the plain map of the certificate"


def _first(values: Tensor | None) -> float | None:
    return None if values is None else float(values[0])


def _left(certificate: TopKCertificate, attacked: SmoothedMap) -> float:
    """Return the fraction of the certified map's top K that is in the top K of an attacked map."""
    top, _ = top_k_mask(attacked.features.numpy(), certificate.k)
    return int((certificate.top_k & torch.from_numpy(top)).sum()) / certificate.k


def _plain_set(smoothed_map: SmoothedMap, k: int) -> Tensor | None:
    return None if smoothed_map.plain is None else positive_top(smoothed_map.plain, k)


def _plain_left(plain_set: Tensor | None, attacked: Tensor | None, k: int) -> float | None:
    """Return the fraction of the plain map's top K that is in the top K of the attacked plain map."""
    if plain_set is None or attacked is None or not bool(plain_set.any()):
        return None
    return int((positive_top(attacked, k) & plain_set).sum()) / int(plain_set.sum())
