"""The list of a report for those who check: settings, seed, digests, versions, and how to verify the certificate."""

import datetime
import html
from collections.abc import Iterator
from importlib.metadata import version

from captum_certified.certify import TopKCertificate
from captum_certified.certify.written_numbers import floored_percent, rounded_down, written_error
from captum_certified.maps import SmoothedMap
from captum_certified.storage import Json, JsonObject
from captum_certified.visualization.report_data import TopSet
from captum_certified.visualization.titles import method_named

__all__ = ["class_kept", "details"]

_DISTRIBUTION = "captum-certified"


def details(
    certificate: TopKCertificate,
    smoothed_map: SmoothedMap,
    shown: TopSet,
    texts: dict[str, str],
    *,
    example: int,
    stored: str | None,
) -> str:
    """Return the entries of the page's list of details as HTML. What is not recorded is left out.

    Args:
        certificate: The certificate of all examples.
        smoothed_map: The map of the example that the page shows.
        shown: The top set of the certificate, for this example.
        texts: The texts of the page's placeholders.
        example: Number of the example in the certificate.
        stored: Name of a file with the certificate.
    """
    setup = smoothed_map.setup
    entries = {
        "held fixed": certificate.held_fixed,
        "proved to stay, each one": f"called certified individually in figures and tables. {texts['each_one']}",
        "certificate of the plain map": "" if shown.of_plain is None else shown.of_plain.summaries()[0],
        "confidence": f"{texts['confidence']}. {texts['together']}",
        "bound": certificate.bound,
        "class under noise": class_kept(certificate, example, texts["predicted"]),
        "map": f"{method_named(smoothed_map, 'an attribution method')}, mean of {texts['draws']} draws, noise of "
        f"standard deviation {texts['sigma']}",
        "kind of map": ", ".join(_kind(setup)),
        "explained class": texts["answer"].strip(" ()"),
        "answer of the program": texts["predicted"],
        "familiar changes": texts["changes"],
        "seed": _seed(smoothed_map),
        "model": _digest(setup.get("model"), "digest of its weights and buffers"),
        "input": _digest(setup.get("inputs"), "digest of its values"),
        "software": _versions(setup),
        "page written": f"{datetime.datetime.now(datetime.UTC).date()}, by captum_certified {version(_DISTRIBUTION)}",
    }
    written = "".join(f"<dt>{term}</dt><dd>{html.escape(text)}</dd>\n" for term, text in entries.items() if text)
    command = f"<code>captum-certified verify {html.escape(stored or 'FILE')}</code>"
    where = (
        "recomputes the certificate from its stored map, without the model and the picture."
        if stored
        else "recomputes the certificate from its stored map. FILE is what the certificate was saved to."
    )
    return f"{written}<dt>to verify</dt><dd>{command} {where}</dd>\n"


def class_kept(certificate: TopKCertificate, example: int, predicted: str = "") -> str:
    """Return a text that says how many noisy copies keep the predicted class. It is empty if this is unknown.

    Args:
        certificate: The certificate.
        example: Number of the example.
        predicted: The predicted class in words, empty if it is unknown.
    """
    votes, radii = certificate.map.class_votes, certificate.class_radius
    if votes is None or radii is None:
        return ""
    kept, copies = votes[example].tolist()
    text = (
        f"{kept} of {copies} noisy copies ({floored_percent(kept / copies)} %) have the predicted class of the picture"
        + (f" ({predicted})" if predicted else "")
    )
    radius = float(radii[example])
    if radius == 0:
        return f"{text}; it is not certified that most copies keep it"
    size = rounded_down(radius, digits=3)
    return (
        f"{text}. Up to L2 radius {size} most copies keep it. With a chance of at most "
        f"{written_error(certificate.confidence)} % this statement is wrong. It does not share the error of the others."
    )


def _kind(setup: JsonObject) -> Iterator[str]:
    """Yield the name of the map's class, and its settings τ and γ."""
    if "class" in setup:
        yield str(setup["class"])
    for name, symbol in (("tau", "τ"), ("gamma", "γ")):
        value = setup.get(name)
        if isinstance(value, int | float):
            yield f"{symbol} = {value:g}"


def _seed(smoothed_map: SmoothedMap) -> str:
    if smoothed_map.seed is None:
        return ""
    ranges = [] if smoothed_map.draws is None else smoothed_map.draws[0]
    numbers = ", ".join(f"{start} to {stop - 1}" for start, stop in ranges)
    return f"{smoothed_map.seed}" + (f", draws {numbers}" if numbers else "")


def _digest(value: Json, what: str) -> str:
    """Return a digest with what it is of. The digests of several tensors are listed."""
    digests = value if isinstance(value, list) else [value]
    found = [digest for digest in digests if isinstance(digest, str)]
    return f"{what}: {', '.join(found)}" if found else ""


def _versions(setup: JsonObject) -> str:
    versions = setup.get("versions")
    return ", ".join(f"{name} {number}" for name, number in versions.items()) if isinstance(versions, dict) else ""
