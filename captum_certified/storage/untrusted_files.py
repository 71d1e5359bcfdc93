"""Arrays from files that may be damaged or malicious: nothing is executed, and nothing huge is allocated.

An error says what is wrong with the file, and callers add its name.
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

# An archive may always inflate to this many bytes, and a larger archive to this many times its own size.
_ALWAYS = 2**27
_TIMES = 100


def load_arrays(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Load the arrays of an npz archive that is open for reading.

    Raises:
        FileFormatError: The file is no npz archive, holds objects, or claims more than it can hold.
    """
    with _corrupt_on_error(FileFormatError, MemoryError):
        _check_members(file)
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def load_array(file: IO[bytes]) -> np.ndarray:
    """Load the array of an npy file that is open for reading.

    Raises:
        FileFormatError: The file is no npy file, holds objects, or claims more than it can hold.
    """
    with _corrupt_on_error(FileFormatError, MemoryError):
        claimed = _claimed_bytes(file)
        if claimed != os.fstat(file.fileno()).st_size - file.tell():
            raise FileFormatError("its size is not that of its array")
        file.seek(0)
        array: np.ndarray = np.load(file, allow_pickle=False)
    return array


def load_tensors(file: IO[bytes]) -> Any:
    """Load on the CPU what ``torch.save`` wrote to an open file: only tensors and plain containers of tensors.

    Raises:
        FileFormatError: The file is corrupt or compressed, or reading it would execute code.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise FileFormatError("it is compressed, as PyTorch's files are not")
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
    """Turn every error that is not passed on into a FileFormatError."""
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
            raise FileFormatError("it inflates to far more than its size")
        for member in members:
            with archive.open(member) as opened:
                if _claimed_bytes(opened) != member.file_size - opened.tell():
                    raise FileFormatError(f"the size of {member.filename} is not that of its array")


def _claimed_bytes(file: IO[bytes]) -> int:
    """Return the bytes of the array that an npy header announces. The file is left behind the header."""
    with _corrupt_on_error(
        FileFormatError
    ):  # also a lack of memory: a damaged header can announce a header of gigabytes
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise FileFormatError("it holds objects")
        return int(math.prod(shape) * dtype.itemsize)
