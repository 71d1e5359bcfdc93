"""The command ``captum-certified card``."""

import argparse
import sys
from pathlib import Path

from captum_certified.cli.options import Commands, HelpFormatter
from captum_certified.cli.verify import print_differences

__all__ = ["add_to", "run"]

_DONE, _DIFFERS = 0, 1


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "card",
        help="write a section for a model card about a stored result",
        description="Verify a stored result, and write a section for a model card about it in Markdown: the digest of "
        "the model, method, class, settings, what is certified, cautions, versions, and how to verify it. What files "
        "cannot show is left for the author to state. Exit code 1: the result does not agree with its map, and nothing "
        "is written.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="result (.json) or certificate (.npz)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write; by default standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify a result, and write its section."""
    from captum_certified.runs import model_card, verify
    from captum_certified.storage import atomic_write

    verification = verify(arguments.file)
    if not verification.agrees:
        print_differences(verification, sys.stderr)
        return _DIFFERS
    card = model_card(verification)
    if arguments.out is None:
        print(card, end="")
    else:
        with atomic_write(arguments.out) as file:
            file.write(card.encode())
    return _DONE
