"""Exceptions raised by captum_certified.

All of them are subclasses of ``CaptumCertifiedError``, and of an exception of Python:

- ``InvalidInputError``, a ``ValueError``: an argument is not what was expected
- ``CertificationError``, a ``RuntimeError``: the request is well formed, but no sound answer exists
- ``FileFormatError``, a ``ValueError``: a stored file is corrupt, truncated, or written by a newer version
- ``NotEnoughMemoryError``, a ``MemoryError``: the memory of the machine or of an accelerator ran out
"""

__all__ = ["CaptumCertifiedError", "CertificationError", "FileFormatError", "InvalidInputError", "NotEnoughMemoryError"]


class CaptumCertifiedError(Exception):
    """Base class of every exception that captum_certified raises on purpose."""


class InvalidInputError(CaptumCertifiedError, ValueError):
    """An argument is not what was expected. The message names the argument, the expectation and the value."""


class CertificationError(CaptumCertifiedError, RuntimeError):
    """The request is well formed, but no sound guarantee can be given for it."""


class FileFormatError(CaptumCertifiedError, ValueError):
    """A stored file is corrupt, truncated, or written by a newer version."""


class NotEnoughMemoryError(CaptumCertifiedError, MemoryError):
    """The memory of the machine or of an accelerator ran out. The message names what to change."""
