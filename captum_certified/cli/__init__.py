"""The command line program ``captum-certified``."""

from captum_certified.cli.program import main

__all__ = ["main"]
