"""Load arrays from files that may be damaged or malicious, without executing code or allocating huge arrays.

The errors say what is wrong with the file, and callers add the name of the file.
"""

import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import torch

from captum_certified.exceptions import FileFormatError

__all__ = ["load_array", "load_arrays", "load_tensors", "may_inflate"]

# An archive may inflate to ``_ALWAYS`` bytes or to ``_TIMES`` times its compressed size, whichever is larger.
_ALWAYS = 2**27
_TIMES = 100


def load_arrays(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Load the arrays of an npz archive that is open for reading.

    Raises:
        FileFormatError: The file is not an npz archive, holds Python objects, inflates too much, or does not have the
            sizes that its headers announce.
    """
    with _corrupt_on_error(FileFormatError, MemoryError):
        _check_members(file)
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def load_array(file: IO[bytes]) -> np.ndarray:
    """Load the array of an npy file that is open for reading.

    Raises:
        FileFormatError: The file is not an npy file, holds Python objects, or does not have the announced size.
    """
    with _corrupt_on_error(FileFormatError, MemoryError):
        claimed = _claimed_bytes(file)
        if claimed != os.fstat(file.fileno()).st_size - file.tell():
            raise FileFormatError("it does not have the size that its header announces")
        file.seek(0)
        array: np.ndarray = np.load(file, allow_pickle=False)
    return array


def load_tensors(file: IO[bytes]) -> Any:
    """Load tensors and plain containers of tensors, which ``torch.save`` wrote, from an open file to the CPU.

    Raises:
        FileFormatError: The file is corrupt or compressed, or reading it would execute code.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise FileFormatError("it is compressed, but PyTorch's files are not")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (FileFormatError, MemoryError):
        raise
    except Exception as error:
        # PyTorch's messages fill pages and recommend loading the file without this protection.
        raise FileFormatError(f"it is corrupt or truncated ({type(error).__name__})") from error


def may_inflate(compressed: int, inflated: int) -> bool:
    """Return whether an archive of ``compressed`` bytes may claim to hold ``inflated`` bytes."""
    return inflated <= max(_ALWAYS, _TIMES * compressed)


@contextmanager
def _corrupt_on_error(*passed_on: type[Exception]) -> Iterator[None]:
    """Turn every error into a FileFormatError, except errors of the types ``passed_on``."""
    try:
        yield
    except passed_on:
        raise
    except Exception as error:
        raise FileFormatError(f"it is corrupt or truncated ({error})") from error


def _check_members(file: IO[bytes]) -> None:
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if not may_inflate(size, sum(member.file_size for member in members)):
            raise FileFormatError("it would inflate to far more than the size of the file")
        for member in members:
            with archive.open(member) as opened:
                if _claimed_bytes(opened) != member.file_size - opened.tell():
                    raise FileFormatError(f"{member.filename} does not have the size that its header announces")


def _claimed_bytes(file: IO[bytes]) -> int:
    """Return the size in bytes that an npy header announces for its array, and stop reading after the header."""
    # A MemoryError is turned into a FileFormatError too, because a damaged file can announce a header of gigabytes.
    with _corrupt_on_error(FileFormatError):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise FileFormatError("it holds objects")
        return int(math.prod(shape) * dtype.itemsize)
