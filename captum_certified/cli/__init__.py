"""The command line."""

from captum_certified.cli.program import main

__all__ = ["main"]
