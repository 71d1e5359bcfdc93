"""Kills a run with signal 9 at random moments and starts it again: killed.py FOLDER DATA KILLS SEED.

The runs are forks of this process, so that everything is imported only once. The process itself uses no autograd.
"""

import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import torch
from digits_run import certify


def started(data, out):
    child = os.fork()
    if child:
        return child
    warnings.simplefilter("ignore")  # damaged results are redone with a warning
    certify(data, out, nt_samples=257)
    os._exit(0)


def main(folder, data, kills, seed):
    torch.set_num_threads(1)
    images, labels = torch.load(data, weights_only=True)
    batches = [(images, labels)]
    begun = time.perf_counter()
    assert os.waitpid(started(batches, folder / "whole"), 0)[1] == 0
    seconds = time.perf_counter() - begun
    moments, landed = random.Random(seed), 0  # noqa: S311  no secret
    for _ in range(kills):
        child = started(batches, folder / "killed")
        time.sleep(moments.uniform(0, 1.5 * seconds / kills))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        landed += os.WIFSIGNALED(status)
    assert os.waitpid(started(batches, folder / "killed"), 0)[1] == 0
    print(landed, f"of {kills} kills before the end of a run of {seconds:.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
