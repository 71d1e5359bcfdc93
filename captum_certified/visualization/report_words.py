"""The sentences of a report that depend on its certificate."""

import math
from collections.abc import Sequence

from captum_certified.attr.smoothgrad import SparsifiedSmoothGrad
from captum_certified.certify import TopKCertificate
from captum_certified.certify.written_numbers import (
    ceiled_percent,
    rounded_down,
    written_confidence,
    written_error,
)
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import SmoothedMap
from captum_certified.storage import Json
from captum_certified.theory import fraction_to_count
from captum_certified.visualization.feature_names import described, noun
from captum_certified.visualization.image_layout import (
    Pixels,
    is_in_unit_interval,
    is_the_input,
    values_of_input,
)
from captum_certified.visualization.report_data import TopSet
from captum_certified.visualization.titles import method_named

__all__ = ["others_reach", "subject", "units", "words"]

_CHANGES = (
    "rounding changes every value by at most half a grey level; JPEG of quality 95 is measured at this picture; a "
    "shift by one pixel is to the left, right, up or down, with the border repeated. All are changes of the picture as "
    "the program gets it."
)
_LEAST_EVEN, _LEAST_LEVEL = 0.0001, 0.01  # smaller changes are not written out


def words(
    certificate: TopKCertificate,
    smoothed_map: SmoothedMap,
    picture: Pixels,
    class_names: Sequence[str] | None = None,
    predicted: int | None = None,
) -> dict[str, str]:
    """Return the texts of the page's placeholders by name, as plain text.

    Args:
        certificate: The certificate of all examples.
        smoothed_map: The smoothed map of the example that the page shows.
        picture: The picture of this example, shape (H, W, C).
        class_names: Names of the classes.
        predicted: The class that the model predicts for the picture, if it is known.

    Raises:
        InvalidInputError: The explained or the predicted class has no name.
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
        **_about_answer(smoothed_map, class_names, predicted),
        **_about_maps(smoothed_map, features),
        "noun": features,
        "Noun": features.capitalize(),
        "feature": described(layout, pixels),
        "as_input": ", as the program gets it" if is_the_input(smoothed_map, picture) else "",
        "changes": _CHANGES if is_the_input(smoothed_map, picture) else "",
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


def _about_answer(
    smoothed_map: SmoothedMap, class_names: Sequence[str] | None, predicted: int | None
) -> dict[str, str]:
    """Return the texts about the explained class and the predicted class. Unknown classes give empty texts."""
    target = smoothed_map.setup.get("target")
    target = target[0] if isinstance(target, list) and len(target) == 1 else target
    explained = "" if target is None or target == "argmax" else _class(target, class_names)
    answered = "" if predicted is None else _class(predicted, class_names)
    if not answered:
        lead = f"The map is about one answer of the program: {explained}." if explained else ""
    elif not explained or target == predicted:
        lead = f"The program answered: {answered}."
    else:
        lead = f"The program answered: {answered}. The map is about another answer: {explained}."
    doubt = f"This page does not say whether the answer {'' if lead else 'of the program '}is right."
    return {
        "answer": f" ({explained})" if explained else "",
        "predicted": answered,
        "lead": f"{lead} {doubt}".strip(),
    }


def _class(number: Json, class_names: Sequence[str] | None) -> str:
    if class_names is None or not isinstance(number, int):
        return f"class {number}"
    if not 0 <= number < len(class_names):
        raise InvalidInputError(f"Expected `class_names` with a name for class {number}, got {len(class_names)} names.")
    return f"class {number}, {class_names[number]}"


def _about_maps(smoothed_map: SmoothedMap, features: str) -> dict[str, str]:
    """Return the sentences that explain the plain and the smoothed map."""
    n, draws, setup = smoothed_map.layout.n_features, int(smoothed_map.n_samples[0]), smoothed_map.setup
    method, tau = method_named(smoothed_map, "An attribution method"), setup.get("tau")
    salient = max(1, fraction_to_count(tau, n)) if isinstance(tau, float) else n
    few = setup.get("class") == SparsifiedSmoothGrad.__name__ and salient < n
    return {
        "method": method,
        "few": f" In each copy only the {salient} strongest of {n} {features} count, so {features} that are seldom "
        "among them are dark in it."
        if few
        else "",
        "copies": str(draws),
    }


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
    models = 0 if certificate.map.randomised is None else certificate.map.randomised.shape[1]
    whole = "them" if int(certificate.reference_size) <= one.k else f"the {one.k} that can be"
    # Each value is first rounded to 12 digits. A floating-point mean of five fractions may exceed the exact mean.
    (first, share), *others = [
        (name, f"{ceiled_percent(round(float(s[0]), 12))} %") for name, s in known if s is not None
    ]
    return (
        f"For comparison: {first} holds {share} of {whole}{''.join(f', {name} {other}' for name, other in others)}"
        + (f" (mean of {models} such models)" if models > 1 else "")
        + ". These shares are calculated or measured, not proved, and rounded up."
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
            "verb": "stay",
            "unmarked": "in the top set",
            "each_one": "Each of these features is proved to be in the top set of the exact smoothed map.",
            "marked": f"They are the most salient {features} of the smoothed map. Those in the "
            "strong colour are proved to stay among them, each one",
            "section": "Stability of the smoothed map",
            "curve_name": "stability of the smoothed map",
            "curve": f"The solid line is the share of the chosen {features} that is proved to stay",
        }
    whose = "the plain map's top set" if reference == "plain" else "the given set"
    return {
        "promise": f"how much of {whose} is proved to be in the top set of the smoothed map",
        "verb": "be in the top set",
        "unmarked": f"in {whose}",
        "each_one": "Each of these features is proved to be in the top set of the exact smoothed map.",
        "marked": f"They are {whose}. Those in the strong colour are proved to be among the most salient {features} of "
        "the smoothed map, each one",
        "section": f"Agreement with {'the plain map' if reference == 'plain' else whose}",
        "curve_name": f"agreement with {'the plain map' if reference == 'plain' else whose}",
        "curve": f"The solid line is the share of {whose} that is proved to be among the most salient {features} of "
        "the smoothed map",
    }
