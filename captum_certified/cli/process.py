"""Set up the process of a command: keep freed memory, and join the process group of ``torchrun``."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

__all__ = ["keep_freed_memory", "process_group"]

# Parameter and value for mallopt, by the environment variable for the same parameter (malloc.h of the GNU C library).
_PARAMETERS = {"MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1), "MALLOC_MMAP_THRESHOLD_": (-3, 2**30)}

_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# How long a process waits for the slowest process. If a process dies, torchrun ends all other processes at once.
_PATIENCE = timedelta(days=30)


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, because the next pass needs it again.

    By default the GNU C library returns blocks of more than 32 MB to the system when they are freed. Every layer then
    requests new blocks in every forward and backward pass. The system clears new blocks page by page, which can take
    longer than computing the gradients. The peak of memory in use does not change. If the user has set the environment
    variable of a parameter, the parameter stays as it is. With another C library this function does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for variable, (parameter, value) in _PARAMETERS.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(parameter, value)


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the process group if ``torchrun`` started this process, and leave the group at the end.

    Args:
        device: The device of the model. Each process on a machine takes its own accelerator.
    """
    if not all(name in os.environ for name in _VARIABLES):
        yield
        return
    import torch
    from torch import distributed

    local, processes = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    accelerators = torch.cuda.device_count() if device == "cuda" else 0
    if accelerators:
        torch.cuda.set_device(local % accelerators)
    # NCCL takes at most one process for each accelerator.
    distributed.init_process_group("nccl" if accelerators >= processes else "gloo", timeout=_PATIENCE)
    try:
        yield
        # PyTorch 2.3 hangs if a process leaves the group while another process is still in the last exchange. If
        # another process has failed and left, the barrier raises an error. torchrun reports the failure in any case.
        with suppress(RuntimeError):
            distributed.barrier()
    finally:
        distributed.destroy_process_group()
