"""A section for a model card, in Markdown, about one stored and verified result."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from captum_certified.certify import Certificate, TopKCertificate
from captum_certified.certify.written_numbers import rounded_down, written_confidence, written_error
from captum_certified.exceptions import InvalidInputError
from captum_certified.runs.results import file_digest, map_name
from captum_certified.runs.verification import Verification
from captum_certified.storage import Json, JsonObject, read_json

__all__ = ["model_card"]

_UNKNOWN = "not recorded"
_LIMITS = (
    "The certificate does not say that the explanation is right. It says how much of the explanation is stable.",
    "The certificate is about this input, this model and this method only, and about changes of the input up to this "
    "L2 size. It says nothing about larger changes, about other norms, or about a model that is trained further, "
    "quantised or computed by other software.",
)
_TO_STATE = (
    "All settings except the radius were fixed before looking at anything that was computed from these draws.",
    "The settings were chosen with another seed: (how, and on which inputs)",
    "The input was not chosen by its certificate: (how it was chosen)",
)


def model_card(verification: Verification) -> str:
    """Return a section for a model card about a stored result that agrees with its map.

    The section names the model by the digest of its weights. It states the method, the class, the settings, what is
    certified, cautions, versions, and how to verify the result. The author must fill in what files cannot show.

    Args:
        verification: The result of :func:`verify`.

    Returns:
        Markdown.

    Raises:
        InvalidInputError: The stored result does not agree with its map.
        OSError: A file cannot be opened.

    Example:
        >>> import tempfile
        >>> from captum_certified import Certifier, SmoothedMap
        >>> from captum_certified.runs import model_card, verify
        >>> import torch
        >>> smoothed_map = SmoothedMap.from_counts(torch.tensor([[990, 980, 5, 2]]), n_samples=1000, stdevs=0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Certifier().top_k(smoothed_map, k=2, radius=0.1).save(f"{folder}/result.npz")
        ...     card = model_card(verify(f"{folder}/result.npz"))
        >>> print(card.splitlines()[0])
        ## Certified robustness of the explanation
    """
    if not verification.agrees:
        raise InvalidInputError(
            f"Expected `verification` of a result that agrees with its map, got {len(verification.differences)} "
            f"differences in {verification.path}: {verification.differences[0]}"
        )
    path, certificate = verification.path, verification.certificate
    record = read_json(path) if path.suffix == ".json" else {}
    parts = [
        "## Certified robustness of the explanation",
        _table(_settings(certificate, record)),
        "### What is certified",
        _opening(certificate),
        _listed(_numbered(certificate.summaries())),
        *certificate.conditions,
        "### What to keep in mind",
        _listed((*_cautions(certificate), *_LIMITS)),
        "### To be stated by the author",
        "The files cannot show the following. The certificate holds only if all of it is true.",
        _listed(f"[ ] {sentence}" for sentence in _TO_STATE),
        "### How to verify",
        _how_to_verify(path, record),
        _table((("File", "SHA-256"), *((_code(file.name), _code(file_digest(file))) for file in _files(path, record)))),
    ]
    return "\n\n".join(parts) + "\n"


def _settings(certificate: Certificate, record: JsonObject) -> Iterator[tuple[str, str]]:
    smoothed, setup = certificate.map, certificate.map.setup
    yield "Setting", "Value"
    yield "Model, digest of its parameters and buffers", _code(setup.get("model"))
    if "denoiser" in record:
        yield "Denoiser in front of the model, part of what is explained", _code(record["denoiser"])
    if "image" in record:
        yield "Input", _code(record["image"])
    yield "Input, digest", _code(record.get("input_digest", _joined(setup.get("inputs"))))
    yield "Explained class", _code(_joined(setup.get("target")))
    if "prediction" in record:
        yield "Predicted class", _code(record["prediction"])
    yield "Explanation", f"{_code(setup.get('class'))} of {_code(setup.get('method'))}"
    options = ", ".join(f"{name} = {setup[name]}" for name in ("tau", "gamma", "sign") if setup.get(name) is not None)
    if options:
        yield "Options", _code(options)
    yield "Features", f"{smoothed.layout.n_features}, groups {_code(setup.get('groups') or 'none')}"
    yield "Noise σ", _code(smoothed.stdevs)
    yield "Draws", ", ".join(str(draws) for draws in sorted(set(smoothed.n_samples.tolist())))
    yield "Seed", _code(smoothed.seed)
    yield "L2 radius ρ", rounded_down(certificate.at_radius)
    yield "Confidence for each example", f"{written_confidence(certificate.confidence, percent=True)} %"
    yield "Bound", f"{_code(certificate.bound)}, violations {certificate.violations}"
    yield "Versions", _versions(setup.get("versions"), record.get("versions"))


def _versions(sampled: Json, stored: Json) -> str:
    found = {**(stored if isinstance(stored, dict) else {}), **(sampled if isinstance(sampled, dict) else {})}
    named = {name.replace("-", "_"): version for name, version in found.items()}
    return ", ".join(f"{name} {version}" for name, version in sorted(named.items())) or _UNKNOWN


def _opening(certificate: Certificate) -> str:
    return (
        "The following holds for every change of the input whose L2 norm is at most "
        f"{rounded_down(certificate.at_radius)}. For each example there was a probability of at most "
        f"{written_error(certificate.confidence)} % that the drawn noise makes the statement about this example false."
    )


def _numbered(sentences: list[str]) -> list[str]:
    return [f"{_prefix(row, len(sentences))}{sentence}" for row, sentence in enumerate(sentences)]


def _prefix(row: int, rows: int) -> str:
    return f"Example {row}: " if rows > 1 else ""


def _cautions(certificate: Certificate) -> list[str]:
    """Return, for each example, the reasons why its certificate may mean little."""
    if not isinstance(certificate, TopKCertificate):
        return []
    sentences = []
    for row in range(len(certificate.map)):
        prefix = _prefix(row, len(certificate.map))
        sentences += [f"{prefix}{caution}." for caution in certificate.cautions(row)]
        if not int(certificate.overlap[row]):
            sentences.append(f"{prefix}nothing is proved. That does not mean that nothing is stable.")
        plain = certificate.of_plain
        if plain is None:
            sentences.append(f"{prefix}the plain map is unknown, so nothing is known about fidelity.")
        elif float(plain.margin[row]) <= 0:
            sentences.append(
                f"{prefix}no more of the plain map is certified than chance, the brightness of the input or random "
                "weights reach. This is no evidence that the stable part depends on what the model has learned."
            )
    return sentences


def _how_to_verify(path: Path, record: JsonObject) -> str:
    beside = f", with {_code(map_name(record, path))} in the same folder," if record else ""
    return (
        f"`captum-certified verify` with the file {_code(path.name)}{beside} computes every number above again from "
        "the stored map. Sampling again with the seed, the model, the input and the versions above shows that the map "
        "was sampled with them."
    )


def _files(path: Path, record: JsonObject) -> list[Path]:
    return [path, path.parent / map_name(record, path)] if record else [path]


def _table(rows: Iterable[tuple[str, str]]) -> str:
    header, *body = (f"| {left} | {right} |" for left, right in rows)
    return "\n".join([header, "|---|---|", *body])


def _listed(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _joined(values: Json) -> Json:
    return ", ".join(map(str, values)) if isinstance(values, list) else values


def _code(value: "Json | tuple[float, ...]") -> str:
    """Return a value as code that cannot end its table or its line."""
    if value is None:
        return _UNKNOWN
    return "`" + " ".join(str(value).replace("`", "'").replace("|", "\\|").split()) + "`"
