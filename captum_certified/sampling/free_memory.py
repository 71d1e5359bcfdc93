"""The memory that is free for one process, on an accelerator or on the machine, within the limits of its cgroup."""

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

__all__ = ["free_memory", "free_memory_of_machine", "local_processes"]

# Where the system does not say how much memory is free (macOS, Windows), this share of the machine's memory is assumed
# to be free. Where the machine's memory is unknown too, this number of bytes is assumed.
_ASSUMED_SHARE, _ASSUMED_BYTES = 0.5, 4_000_000_000
_MEMORY_OF_GROUPS = Path("sys/fs/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that are free for this process; ``None`` for accelerators that do not say.

    All processes of the run on one machine see the same free memory, so each of them gets an equal share. Memory that
    the allocators of this process keep for later use counts as free.
    """
    processes = local_processes()
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] // -(-processes // max(torch.cuda.device_count(), 1)) + kept
    if device.type in ("cpu", "mps"):  # Apple's processors and their GPUs share the memory of the machine
        return free_memory_of_machine() // processes + _kept_bytes()
    return None


def local_processes() -> int:
    """Return how many processes of the run are on this machine.

    ``torchrun`` gives this number. Without ``torchrun``, all processes of the run are assumed to be on this machine.
    """
    given = os.environ.get("LOCAL_WORLD_SIZE", "")
    if given.isascii() and given.isdecimal():
        return max(int(given), 1)
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1


def free_memory_of_machine(root: Path = Path("/")) -> int:
    """Return the bytes that programs can still take on this machine.

    On Linux this is ``MemAvailable``, or less if a cgroup of the process (version 1 or 2) leaves less. On other systems
    it is half of the machine's memory, or 4 GB if the machine's memory is unknown.

    Args:
        root: Folder with ``proc`` and ``sys``.
    """
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    available = _half_of_machine() if found is None else 1024 * int(found[1])
    return max(min([available, *_left_by_groups(root)]), 0)


def _left_by_groups(root: Path) -> Iterator[int]:
    """Yield the bytes that this process may still take in its memory cgroup, and in each cgroup that contains it."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not controllers:
            top, names = root / _MEMORY_OF_GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / _MEMORY_OF_GROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = top / path.strip("/")
        # Inside a container this path may be a path of the host. Only the top folder is visible then.
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(top))):
            yield from _left_by_group(folder, *names)


def _left_by_group(folder: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
    if most.isdecimal() and used.isdecimal():
        # Pages of files that were read long ago count as used, but the system drops them when memory is needed.
        files = re.search(rf"^{reclaimable} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
        yield int(most) - int(used) + (0 if files is None else int(files[1]))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _half_of_machine() -> int:
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _ASSUMED_SHARE)
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return _ASSUMED_BYTES


class _AllocatorState(ctypes.Structure):
    """``struct mallinfo2`` of the GNU C library."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _kept_bytes() -> int:
    """Return the freed bytes that the GNU C library keeps in this process; 0 with another C library."""
    state = _allocator_state()
    return 0 if state is None else int(state().fordblks)


@cache
def _allocator_state() -> "ctypes._NamedFuncPointer | None":
    if platform.libc_ver()[0] != "glibc":
        return None
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)  # since version 2.33
    if function is not None:
        function.restype = _AllocatorState
    return function
