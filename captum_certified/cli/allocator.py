"""Keeps freed memory for the next pass: to give it back and ask for it again can take longer than the gradients."""

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

# Parameters of mallopt by the variables of the environment that set them too (malloc.h of the GNU C library).
_PARAMETERS = {"MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1), "MALLOC_MMAP_THRESHOLD_": (-3, 2**30)}


def keep_freed_memory() -> None:
    """Let the process keep what it frees, where the GNU C library allocates and its user has not decided otherwise.

    By default blocks of more than 32 MB are returned to the system when they are freed, and cleared page by page when
    they are asked for again, in every layer of every pass. The most that is ever in use does not change.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for variable, (parameter, value) in _PARAMETERS.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(parameter, value)
