"""The sentences of a report that depend on its certificate."""

import math
from collections.abc import Sequence

import numpy as np

from captum_certified.certify import TopKCertificate
from captum_certified.certify.written_numbers import (
    ceiled_percent,
    rounded_down,
    written_confidence,
    written_error,
)
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import SmoothedMap
from captum_certified.visualization.feature_names import described, noun
from captum_certified.visualization.image_layout import (
    Pixels,
    is_in_unit_interval,
    is_the_input,
    radius_beside_changes,
    values_of_input,
)
from captum_certified.visualization.report_data import TopSet
from captum_certified.visualization.titles import method_named

__all__ = ["comparison", "others_reach", "subject", "units", "words"]

_LEAST_EVEN, _LEAST_LEVEL = 0.0001, 0.01  # smaller changes are not written out


def words(
    certificate: TopKCertificate, smoothed_map: SmoothedMap, picture: Pixels, class_names: Sequence[str] | None = None
) -> dict[str, str]:
    """Return the texts of the page's placeholders by name, as plain text.

    Args:
        certificate: The certificate of all examples.
        smoothed_map: The smoothed map of the example that the page shows.
        picture: The picture of this example, shape (H, W, C).
        class_names: Names of the classes.

    Raises:
        InvalidInputError: The explained class has no name.
    """
    height, width, _ = picture.shape
    layout, pixels = smoothed_map.layout, height * width
    features = noun(layout, pixels)
    confidence = written_confidence(certificate.confidence, percent=True)
    together = (
        f"All numbers of this page that are proved hold together with confidence {confidence} %."
        if certificate.violations == 0
        else f"For one size of the top set, the statements at all radii hold together with confidence {confidence} %. "
        "The statements about other sizes and about single features each have this confidence by themselves."
    )
    return {
        **_about_set(certificate.reference, features),
        "noun": features,
        "Noun": features.capitalize(),
        "feature": described(layout, pixels),
        "fixed": certificate.held_fixed,
        "answer": _answer(smoothed_map, class_names),
        "method": method_named(smoothed_map, "an attribution method"),
        "values": str(values_of_input(smoothed_map, picture)),
        "scale": ", of which 0 is black and 1 is white" if is_in_unit_interval(picture) else "",
        "error": f"{written_error(certificate.confidence)} %",
        "each": "" if certificate.violations == 0 else ", for each of these statements by itself",
        "confidence": f"{confidence} %",
        "together": together,
        "bound": certificate.bound,
        "draws": str(int(smoothed_map.n_samples[0])),
        "sigma": f"{smoothed_map.sigma:g}",
        "radius": rounded_down(certificate.radius),
        "k": str(certificate.k),
        "width": str(width),
        "height": str(height),
    }


def _answer(smoothed_map: SmoothedMap, class_names: Sequence[str] | None) -> str:
    """Return the explained class in brackets, or an empty text if it is unknown or differs between noisy copies."""
    target = smoothed_map.setup.get("target")
    target = target[0] if isinstance(target, list) and len(target) == 1 else target
    if target is None or target == "argmax":
        return ""
    if class_names is None or not isinstance(target, int):
        return f" (class {target})"
    if not 0 <= target < len(class_names):
        raise InvalidInputError(f"Expected `class_names` with a name for class {target}, got {len(class_names)} names.")
    return f" (class {target}, {class_names[target]})"


def subject(one: TopSet, reference: str, features: str) -> str:
    """Name the features of a set, as the page does after "of the"."""
    count = int(one.top.sum())
    if reference == "own":
        return f"{one.k} most salient {features} of the smoothed map"
    return (
        f"{count} strongest {features} of the plain map"
        if reference == "plain"
        else f"{count} {features} of the given set"
    )


def others_reach(one: TopSet, features: str) -> str:
    """Return a sentence that says how much of a set is in top sets that do not depend on the trained model.

    Args:
        one: A reference set, or a top K with a certificate of the plain map's top K. Other sets give an empty text.
        features: The noun by which the page calls the features.
    """
    certificate = one.of_plain or one.of_set
    if certificate is None:
        return ""
    known = [
        ("a top set chosen by chance", certificate.chance),
        (f"the brightest {features}", certificate.brightness),
        ("the same explanation of a model with random weights", certificate.randomised),
    ]
    whole = "them" if int(certificate.reference_size) <= one.k else f"the {one.k} that can be"
    (first, share), *others = [(name, f"{ceiled_percent(float(s[0]))} %") for name, s in known if s is not None]
    return f"For comparison: {first} holds {share} of {whole}{''.join(f', {name} {other}' for name, other in others)}."


def comparison(certificate: TopKCertificate, smoothed_map: SmoothedMap, picture: Pixels) -> str:
    """Return the sizes of familiar changes of the picture as text. It is empty if the picture is not the input."""
    if not is_the_input(smoothed_map, picture):
        return ""
    known = radius_beside_changes(certificate.radius, picture[np.newaxis])
    assert known.jpeg is not None  # noqa: S101  for the type checker: pictures have one or three channels
    assert known.shift is not None  # noqa: S101
    return (
        f"For comparison: rounding this picture to 8 bits is a change of size {known.rounding:.2g}, JPEG of quality 95 "
        f"one of size {float(known.jpeg):.2g}, and a shift by one pixel one of size {float(known.shift):.2g}."
    )


def units(radius: float, smoothed_map: SmoothedMap, picture: Pixels) -> tuple[str, str]:
    """Return the largest equal change of all values within a radius, in the units of the input and in grey levels.

    Both numbers are rounded down to two digits. A change that is too small to be written with few digits is an empty
    text in the units of the input, and "less than 0.01" grey levels. The grey levels are empty unless the input is a
    picture in [0, 1].
    """
    even = radius / math.sqrt(values_of_input(smoothed_map, picture))
    levels = 255 * even
    small = f"less than {_LEAST_LEVEL}" if 0 < levels < _LEAST_LEVEL else _two_digits(levels)
    return "" if 0 < even < _LEAST_EVEN else _two_digits(even), small if is_the_input(smoothed_map, picture) else ""


def _two_digits(value: float) -> str:
    return "0" if value == 0 else rounded_down(math.nextafter(value, math.inf), digits=2)


def _about_set(reference: str, features: str) -> dict[str, str]:
    """Return the texts of the page that depend on the set: what the page promises, and legends of marks and curve."""
    if reference == "own":
        return {
            "promise": "how much of the smoothed map is proved to stay",
            "unmarked": "in the top set",
            "curve": f"The solid line is the share of the chosen {features} that is proved to stay",
        }
    whose = "the plain map's top set" if reference == "plain" else "the given set"
    return {
        "promise": f"how much of {whose} is proved to be in the top set of the smoothed map",
        "unmarked": f"in {whose}",
        "curve": f"The solid line is the share of {whose} that is proved to be among the most salient {features} of "
        "the smoothed map",
    }
