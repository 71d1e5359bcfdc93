"""The command ``captum-certified verify``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from captum_certified.cli.options import Commands
from captum_certified.exceptions import CaptumCertifiedError, InvalidInputError

if TYPE_CHECKING:  # this import loads PyTorch
    from captum_certified.runs.verification import Verification

__all__ = ["add_to", "print_differences", "run"]

_AGREES, _DIFFERS, _UNREADABLE = 0, 1, 2


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "verify",
        help="recompute stored results from their maps and compare",
        description="Recompute stored results from their saved maps, and compare the certificate, the curve and the "
        "regions. Of a benchmark, or an unpacked submission of one, recompute every number and the leaderboard, except "
        "the times. Not checked: label, prediction and other notes; the pictures, tables and pages beside a result; "
        "how its map was sampled. Exit code 0: all agree, 1: some differ, 2: some cannot be read.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="result (.json), certificate (.npz), a folder of results, or a folder of a benchmark; records "
        "of failures are skipped",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify every file, and continue after a file that differs or cannot be read."""
    from captum_certified.benchmark import is_benchmark

    benchmarks = [path for path in arguments.files if path.is_dir() and is_benchmark(path)]
    others = [path for path in arguments.files if path not in benchmarks]
    paths = [inner for path in others for inner in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not paths and not benchmarks:
        raise InvalidInputError(f"Expected results in {arguments.files[0]}, got none.")
    return max([*map(_verified_benchmark, benchmarks), *map(_verified, paths)])


def _verified_benchmark(folder: Path) -> int:
    """Verify all cells of a benchmark and its leaderboard."""
    from captum_certified.benchmark import verify_benchmark

    try:
        parts = verify_benchmark(folder)
    except (CaptumCertifiedError, OSError) as error:
        print(f"{folder}: cannot be verified: {error}", file=sys.stderr)
        return _UNREADABLE
    for one in parts:
        numbers = f" ({one.numbers} numbers recomputed)" if one.numbers else ""
        print(f"{one.path}: {'agrees' if one.agrees else 'DIFFERS from what the saved maps give'}{numbers}")
        for difference in one.differences:
            print(f"  {difference}")
    return _AGREES if all(one.agrees for one in parts) else _DIFFERS


def _verified(path: Path) -> int:
    from captum_certified.certify.written_numbers import rounded_down, written_confidence
    from captum_certified.runs import verify
    from captum_certified.storage import read_json

    try:
        if path.suffix == ".json" and read_json(path).get("kind") == "failure":
            print(f"{path}: a failure, nothing to verify")
            return _AGREES
        verification = verify(path)
    except (CaptumCertifiedError, OSError) as error:
        print(f"{path}: cannot be verified: {error}", file=sys.stderr)
        return _UNREADABLE
    if verification.agrees:
        certificate = verification.certificate
        radius, confidence = rounded_down(certificate.at_radius), written_confidence(certificate.confidence)
        print(f"{path}: agrees (L2 radius {radius}, confidence {confidence})")
        for line in (*certificate.summaries(), *certificate.conditions):
            print(f"  {line}")
        return _AGREES
    print_differences(verification, sys.stdout)
    return _DIFFERS


def print_differences(verification: "Verification", stream: TextIO) -> None:
    """Print how a stored result differs from the result recomputed from its map."""
    print(f"{verification.path}: DIFFERS from what its map gives", file=stream)
    for difference in verification.differences:
        print(f"  {difference}", file=stream)
