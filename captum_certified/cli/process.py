"""The process of a command: which freed memory it keeps, and the process group that it joins under ``torchrun``."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
from torch import distributed

__all__ = ["keep_freed_memory", "process_group"]

# Parameters of mallopt by the environment variables that set them too (malloc.h of the GNU C library).
_PARAMETERS = {"MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1), "MALLOC_MMAP_THRESHOLD_": (-3, 2**30)}

_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Processes wait for the slowest share of the images. If one dies, torchrun ends the others at once.
_PATIENCE = timedelta(days=30)


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, because the next pass needs it again.

    By default the GNU C library returns blocks of more than 32 MB to the system when they are freed. The system clears
    them page by page when they are requested again, in every layer of every pass, which can take longer than the
    gradients. The peak of memory in use does not change. With another C library, or if the user has set one of the
    environment variables, this does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for variable, (parameter, value) in _PARAMETERS.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(parameter, value)


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the other processes if ``torchrun`` started this one, and leave them at the end.

    Args:
        device: The device of the model. Each process on a machine takes its own accelerator.
    """
    if not all(name in os.environ for name in _VARIABLES):
        yield
        return
    local, processes = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    accelerators = torch.cuda.device_count() if device == "cuda" else 0
    if accelerators:
        torch.cuda.set_device(local % accelerators)
    # NCCL takes at most one process for each accelerator.
    distributed.init_process_group("nccl" if accelerators >= processes else "gloo", timeout=_PATIENCE)
    try:
        yield
        # PyTorch 2.3 hangs if a process leaves the group while another is still in the last exchange. If a process is
        # gone, the barrier raises; that process has failed, and torchrun reports it.
        with suppress(RuntimeError):
            distributed.barrier()
    finally:
        distributed.destroy_process_group()
