"""Titles, legends and notes for figures of top-K certificates.

They name the certified set of features, and say how much of it stays and what to be careful about.
"""

from captum_certified.attr import Upsampled
from captum_certified.certify import SelectionCertificate, TopKCertificate
from captum_certified.certify.written_numbers import ceiled_percent, floored_percent, rounded_down
from captum_certified.maps import SmoothedMap
from captum_certified.visualization.image_layout import ImageReading, is_the_input, radius_beside_changes
from captum_certified.visualization.panels import literal

__all__ = [
    "bar_headline",
    "brief_cautions",
    "individually",
    "method_named",
    "others_in_set",
    "overlap_title",
    "plain_title",
    "reference_named",
    "set_named",
    "size_note",
]

# Lengths of a method's name in a panel's title, in characters. A name above the second length is cut.
_SHORT_NAME = 11
_LONGEST_NAME = 19

_FEW = 4  # a legend lists the numbers of up to so many examples


def overlap_title(certificate: TopKCertificate, row: int) -> str:
    """Return the title above the marked features of an example, in two lines.

    Args:
        certificate: The certificate. Its set may be the map's own top K, the plain map's top K, or a reference set.
        row: Number of the example.
    """
    size, k = f"‖δ‖₂ ≤ {rounded_down(certificate.radius)}", certificate.k
    nothing, percent = int(certificate.overlap[row]) == 0, _percent(certificate, row)
    if certificate.reference == "own":
        if nothing:
            return f"nothing is certified of the\ntop {k} for {size}"
        return f"≥ {percent} % of the top {k} stay\nfor any {size}"
    count = int(certificate.reference_size[row])
    if certificate.reference == "plain":
        if nothing:
            return f"nothing is certified of the plain\nmap's top {count} for {size}"
        return f"≥ {percent} % of the plain map's top\n{count} stay for any {size}"
    if nothing:
        return f"nothing is certified of the\nreference's {count} for {size}"
    if count <= k:
        return f"≥ {percent} % of the reference's {count}\nfeatures stay for any {size}"
    # A set larger than K does not fit into the top K, so the percentage is of the top K.
    return f"≥ {percent} % of the top {k} are of the\nreference's {count}, any {size}"


def bar_headline(certificate: TopKCertificate | SelectionCertificate, row: int) -> str:
    """Return one line that states what is certified of an example."""
    size = f"‖δ‖₂ ≤ {rounded_down(certificate.at_radius)}"
    if isinstance(certificate, SelectionCertificate):
        decided = int((certificate.feature_selected | certificate.feature_rejected)[row].sum())
        return f"{decided} of {certificate.map.layout.n_features} features are decided for any {size}"
    count, k = int(certificate.overlap[row]), certificate.k
    if certificate.reference == "own":
        return f"at least {count} of the top {k} stay for any {size}" if count else f"nothing is certified for {size}"
    whose = "plain map's top" if certificate.reference == "plain" else "reference's"
    where = f"the {whose} {int(certificate.reference_size[row])}"
    if not count:
        return f"nothing is certified of {where} for {size}"
    return f"at least {count} of {where} are in the top {k} for any {size}"


def method_named(smoothed_map: SmoothedMap, unknown: str = "map") -> str:
    """Return the name of the explained method, without the interpolation around a layer method."""
    return str(smoothed_map.setup.get("method", unknown)).removeprefix(f"{Upsampled.__name__} of ")


def plain_title(certificate: TopKCertificate | None, row: int, method: str) -> str:
    """Return the title above the plain map of an example, at most two lines.

    Only the title of example 0 names the method.

    Args:
        certificate: The certificate of the plain map's top set, or ``None`` if nothing can be certified about it.
        row: Number of the example.
        method: Name of the attribution method.
    """
    name = method if len(method) <= _LONGEST_NAME else f"{method[: _LONGEST_NAME - 1]}…"
    if certificate is None:
        return literal(f"plain {method}") if row == 0 else ""
    if int(certificate.overlap[row]) == 0:
        return literal(
            f"plain {name}:\nnothing of its top is certified"
            if row == 0
            else "nothing of the plain map's\ntop is certified"
        )
    share, chance = _percent(certificate, row), ceiled_percent(float(certificate.chance[row]), digits=0)
    by_chance = f"({chance} % by chance)"
    if row > 0:
        return f"≥ {share} % of the plain map's\ntop stay {by_chance}"
    if len(name) <= _SHORT_NAME:
        return literal(f"plain {name}: ≥ {share} % of its\ntop stay {by_chance}")
    return literal(f"plain {name}: ≥ {share} %\nof its top stay {by_chance}")


def brief_cautions(certificate: TopKCertificate) -> list[str]:
    """Return one line for each caution.

    If the certificate has several examples, the line lists the numbers, from 1, of those that it is about.
    """
    rows_of: dict[str, list[int]] = {}
    rows = len(certificate.map)
    for row in range(rows):
        for sentence in certificate.cautions(row):
            brief = sentence.partition(":")[0].replace("%", " %")
            rows_of.setdefault(brief, []).append(row + 1)
    return [
        f"caution{'' if rows == 1 else f' for image {_listed(numbers)}'}: {brief}" for brief, numbers in rows_of.items()
    ]


def size_note(certificate: TopKCertificate, reading: ImageReading) -> list[str]:
    """Return one line that compares the radius with familiar changes of the images, or no line.

    There is a line if the images can be the inputs of the map: all values in [0, 1], and as many as an input has.
    """
    if not all(is_the_input(certificate.map, image) for image in reading.images):
        return []
    return [str(radius_beside_changes(certificate.radius, reading.images))]


def reference_named(certificate: TopKCertificate) -> str:
    """Return the words for a certificate's set of features in a legend."""
    names = {"own": "in the top K", "plain": "in the plain map's top K"}
    return names.get(certificate.reference, "in the reference")


def set_named(certificate: TopKCertificate) -> str:
    """Return the words for the features of a certificate's set that are marked on a picture."""
    names = {"own": "in the top set", "plain": "in the plain map's top set"}
    return names.get(certificate.reference, "in the given set")


def individually(counts: list[int]) -> str:
    """Return the legend of features that are certified individually, with their number for each example."""
    return f"certified individually ({_each(counts)})"


def others_in_set(certificate: TopKCertificate, least: list[int]) -> str:
    """Return the legend of the other features of a certificate's set.

    Args:
        certificate: The certificate.
        least: For each example, how many of these features stay at least: the certified overlap minus the number of
            features that are certified individually.
    """
    numbers = [max(count, 0) for count in least]
    if not any(numbers):
        return f"{set_named(certificate)}: nothing is certified of these"
    stay = "stay" if certificate.reference == "own" else f"are in the top {certificate.k}"
    return f"{set_named(certificate)}: at least {_each(numbers)} of these {stay}"


def _each(counts: list[int]) -> str:
    """Write a number for each example, or the range of the numbers if they are many."""
    if len(set(counts)) == 1:
        return str(counts[0])
    return ", ".join(map(str, counts)) if len(counts) <= _FEW else f"{min(counts)} to {max(counts)}"


def _percent(certificate: TopKCertificate, row: int) -> str:
    return floored_percent(float(certificate.overlap_fraction[row]), digits=0)


def _listed(numbers: list[int]) -> str:
    """Write increasing numbers as text, with ranges, such as ``1, 3–5``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)
