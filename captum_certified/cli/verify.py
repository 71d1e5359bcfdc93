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
        "regions. Not checked: label, prediction and other notes; the pictures, tables and pages beside a result; how "
        "its map was sampled. Exit code 0: all agree, 1: some differ, 2: some cannot be read.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="result (.json), certificate (.npz), or a folder of results; records of failures are skipped",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify every file, and continue after a file that differs or cannot be read."""
    paths = [inner for path in arguments.files for inner in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not paths:
        raise InvalidInputError(f"Expected results in {arguments.files[0]}, got none.")
    return max(_verified(path) for path in paths)


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
