"""The process group of a command under ``torchrun``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

__all__ = ["process_group"]

_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Processes wait for the slowest share of the images. One that dies ends the others at once, whatever the limit.
_PATIENCE = timedelta(days=30)


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the other processes, if ``torchrun`` started this one, and leave them at the end.

    Args:
        device: Where the model runs. Of several accelerators each process on a machine takes its own.
    """
    if not all(name in os.environ for name in _VARIABLES):
        yield
        return
    import torch
    from torch import distributed

    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    accelerators = torch.cuda.device_count() if device == "cuda" else 0
    if accelerators:
        torch.cuda.set_device(local % accelerators)
    # NCCL takes one process for each accelerator, no more.
    distributed.init_process_group("nccl" if accelerators >= here else "gloo", timeout=_PATIENCE)
    try:
        yield
        # PyTorch 2.3 hangs in leaving a group whose last exchange is not over everywhere. One that is gone has failed,
        # and torchrun says so.
        with suppress(RuntimeError):
            distributed.barrier()
    finally:
        distributed.destroy_process_group()
