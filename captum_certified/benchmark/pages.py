"""The leaderboard as Markdown, and as one HTML page that loads nothing and sorts its rows."""

import html
import importlib.resources
import re
from collections.abc import Iterator
from pathlib import Path

from captum_certified.benchmark.columns import Column, Mean
from captum_certified.benchmark.leaderboard import Leaderboard, Row
from captum_certified.certify.written_numbers import ceiled_percent, floored_percent
from captum_certified.storage import atomic_write

__all__ = ["HTML", "MARKDOWN", "html_page", "markdown_page", "write_pages"]

MARKDOWN, HTML = "leaderboard.md", "leaderboard.html"
_TEXTS = ("method", "map", "σ", "groups")
_TITLE = "Certified explanations"
_INTERVALS = (
    "Every number is a mean over the images, with its 95 % t-interval, cut to what is possible. The interval "
    "tells how the mean varies with the choice of the images. A certificate has its confidence for each image. If a "
    "number is unknown for some images, the number of the other images stands in round brackets."
)
_READING = (
    "Methods have different plain maps. A margin compares the certificate of a method with what chance, brightness and "
    "random weights reach of the same plain map. It does not tell which method explains best."
)
_SHAMS = (
    "A sham looks at no model. The empirical metrics and the certified share of its own top set can rank it first, "
    "because its map hardly moves. If random weights are known, its margin is at most 0, because random weights do not "
    "change its map. Rank 1 is the most robust of the methods with the same map, noise and groups."
)


def write_pages(board: Leaderboard, folder: Path) -> None:
    """Write the leaderboard as ``leaderboard.md`` and ``leaderboard.html``."""
    for name, text in ((MARKDOWN, markdown_page(board)), (HTML, html_page(board))):
        with atomic_write(folder / name) as file:
            file.write(text.encode())


# -- Markdown ------------------------------------------------------------------------------------------------------


def markdown_page(board: Leaderboard) -> str:
    """Return the leaderboard as Markdown."""
    columns = board.columns
    head = [*_TEXTS, "images × draws", *(column.title for column in columns)]
    lines = [f"# {_TITLE}", "", *_settings(board), "", _row(head), _row(["---"] * len(head))]
    lines += [_row([*_texts(row), *_cells(row, columns)]) for row in board.rows]
    lines += ["", _INTERVALS, "", *(f"- **{column.title}**: {column.about}" for column in columns), "", _READING]
    ranks = board.ranks_of_shams()
    if ranks:
        titles = list(ranks[0][1])
        lines += ["", "## Where the shams rank", "", _SHAMS, "", _row([*_TEXTS, *titles])]
        lines += [_row(["---"] * (len(_TEXTS) + len(titles)))]
        lines += [_row([*_texts(row)[:-1], *by.values()]) for row, by in ranks]
    if board.failures:
        lines += ["", "## Not computed", "", *(f"- {text}" for text in _failures(board))]
    return "\n".join([*lines, ""])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


# -- HTML ----------------------------------------------------------------------------------------------------------


def html_page(board: Leaderboard) -> str:
    """Return the leaderboard as one HTML page that loads nothing from the network."""
    columns, shams = board.columns, board.ranks_of_shams()
    fields = {
        "title": _TITLE,
        "settings": "".join(f"<p>{html.escape(line)}</p>" for line in _settings(board) if line),
        "head": "".join(_head(board, columns)),
        "body": "\n".join(_html_row(row, columns) for row in board.rows),
        "intervals": _INTERVALS,
        "reading": _READING,
        "about": "".join(f"<dt>{html.escape(c.title)}</dt><dd>{html.escape(c.about)}</dd>" for c in columns),
        "shams": "" if not shams else _html_shams(shams),
        "failures": "" if not board.failures else _html_failures(board),
    }
    page = importlib.resources.files("captum_certified.benchmark").joinpath(HTML).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], page)


def _head(board: Leaderboard, columns: tuple[Column, ...]) -> Iterator[str]:
    sorted_by = next((c for c in columns if c.name == "margin" and c.radius == board.radius), None)
    for title in (*_TEXTS, "images × draws"):
        yield f'<th scope="col" data-kind="text"><button type="button">{title}</button></th>'
    for column in columns:
        order = ' aria-sort="descending"' if column is sorted_by else ""
        about = html.escape(column.about, quote=True)
        button = f'<button type="button" title="{about}">{html.escape(column.title)}</button>'
        yield f'<th scope="col" data-kind="number"{order}>{button}</th>'


def _html_row(row: Row, columns: tuple[Column, ...]) -> str:
    name, *texts = map(html.escape, _texts(row))
    cells = [f"<td>{text}</td>" for text in texts]
    for mean, text in zip(row.means, _cells(row, columns), strict=True):
        number, _, rest = html.escape(text).partition(" ")
        value = "" if mean is None else f' data-value="{mean.value!r}"'
        cells.append(f'<td class="number"{value}>{number}{f" <small>{rest}</small>" if rest else ""}</td>')
    sham = ' class="sham"' if row["sham"] else ""
    return f'<tr{sham}><th scope="row">{name}</th>{"".join(cells)}</tr>'


def _html_shams(shams: list[tuple[Row, dict[str, str]]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in (*_TEXTS, *shams[0][1]))
    body = "".join(
        f'<tr><th scope="row">{html.escape(_texts(row)[0])}</th>'
        + "".join(f"<td>{html.escape(text)}</td>" for text in (*_texts(row)[1:-1], *by.values()))
        + "</tr>"
        for row, by in shams
    )
    table = f'<table id="shams"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return (
        f"<h2>Where the shams rank</h2><p>{_SHAMS}</p>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Ranks of the shams">{table}</div>'
    )


def _html_failures(board: Leaderboard) -> str:
    return f"<h2>Not computed</h2><ul>{''.join(f'<li>{html.escape(text)}</li>' for text in _failures(board))}</ul>"


# -- both ----------------------------------------------------------------------------------------------------------


def _texts(row: Row) -> list[str]:
    return [
        row.method,
        row.map,
        f"{row['sigma']:g}" if isinstance(row["sigma"], int | float) else "",
        str(row["groups"]),
        f"{row.examples} × {row['nt_samples']}",
    ]


def _cells(row: Row, columns: tuple[Column, ...]) -> list[str]:
    return [_written(mean, column, row.examples) for mean, column in zip(row.means, columns, strict=True)]


def _written(mean: Mean | None, column: Column, examples: int) -> str:
    """Write a mean with its interval: proved shares are rounded down, shares that an attack leaves are rounded up."""
    if mean is None:
        return "–"
    text = _number(mean.value, column.kind)
    if mean.half is not None:
        low, high = mean.value - mean.half, mean.value + mean.half
        if column.kind != "points":
            low = max(low, 0.0)
        if column.kind in ("proved", "left", "share"):
            high = min(high, 1.0)
        text += f" [{_number(low, column.kind)}, {_number(high, column.kind)}]"
    return text if mean.examples == examples else f"{text} ({mean.examples})"


def _number(value: float, kind: str) -> str:
    if kind == "proved":
        return floored_percent(value)
    if kind == "left":
        return ceiled_percent(round(value, 12))  # a mean of fractions may exceed the exact mean
    if kind == "points":
        return f"{100 * value:+.1f}"
    return f"{100 * value:.1f}" if kind == "share" else f"{value:.3g}"


def _settings(board: Leaderboard) -> list[str]:
    """Return what all cells have in common, as sentences."""
    known = [settings for record in board.records if isinstance(settings := record.get("settings"), dict)]

    def common(name: str) -> str:
        values = sorted({str(settings.get(name)) for settings in known})
        return " or ".join(values)

    versions = sorted(
        {
            ", ".join(f"{name} {number}" for name, number in found.items())
            for record in board.records
            if isinstance(found := record.get("versions"), dict)
        }
    )
    models = sorted(
        {
            str(explained["model"])
            for record in board.records
            if isinstance(explained := record.get("explanation"), dict) and explained.get("model")
        }
    )
    return [
        f"Top set: k = {common('k')}. Confidence of the certificates of an image: {common('confidence')}. Bound: "
        f"{common('bound')}. Shares are in percent, margins in percentage points.",
        "",
        f"Attacks: L2 radius {common('radius')}, {common('steps')} steps, {common('restarts')} start(s), "
        f"{common('attack_draws')} draws for each gradient. Empirical metrics: {common('neighbours')} neighbours, each "
        f"value changed by at most {common('neighbour_radius')}.",
        "",
        f"Digest of the model's weights: {', '.join(models) or 'unknown'}. Versions: {'; '.join(versions)}.",
    ]


def _failures(board: Leaderboard) -> list[str]:
    return [
        f"{one.get('method')}, {one.get('map')}, σ = {one.get('sigma')}, {one.get('groups')}: {one.get('error')}"
        for one in board.failures
    ]
