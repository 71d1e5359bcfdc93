"""The program ``captum-certified``: run one command, and turn errors into messages and exit codes.

Exit codes: 0 done · 1 done in part: an image failed, a part is missing, or a result does not agree with its map ·
2 bad call, bad file, or no place to write · 130 interrupted.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from captum_certified import __version__
from captum_certified.cli import attack, benchmark, card, certify, demo, pilot, reproduce, train, train_denoiser, verify
from captum_certified.cli.process import keep_freed_memory
from captum_certified.exceptions import CaptumCertifiedError

__all__ = ["build_parser", "main"]

_COMMANDS = (demo, pilot, certify, attack, benchmark, train, train_denoiser, verify, card, reproduce)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The command line arguments; by default those of the process.

    Returns:
        The exit code.
    """
    if argv is None:  # no other program runs in this process
        keep_freed_memory()
    try:
        arguments = build_parser().parse_args(argv)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code: int = arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # argparse has printed the reason
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        print("captum-certified: interrupted", file=sys.stderr)
        return 130
    except CaptumCertifiedError as error:
        print(f"captum-certified: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        from captum_certified.attr.memory import first_line, is_out_of_memory  # PyTorch is not loaded for --help

        if not is_out_of_memory(error):
            raise
        print(
            f"captum-certified: the memory ran out: {first_line(error)} Choose a smaller --size or --batch-size.",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        print(f"captum-certified: {error}", file=sys.stderr)
        _abandon_output()
        return 2
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as one line, without the source line that issued it."""
    print(f"captum-certified: {message}", file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the program with all commands."""
    parser = argparse.ArgumentParser(
        prog="captum-certified",
        description="Prove, at a confidence level that you choose, how much of the smoothed saliency map of one fixed "
        "class survives every perturbation of a given L2 size.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


def _abandon_output() -> None:
    """Discard unwritten output. Otherwise the interpreter would fail to write it again at exit, with a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
