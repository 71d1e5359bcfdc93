"""A program that test_distributed starts under torchrun: killed_process.py FOLDER DATA.

Process 1 is killed before its second block.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from digits_run import certify
from torch import distributed

from captum_certified.runs import example_run


def die_in_the_second_block():
    block, drawn = example_run.ExampleRun._block, []

    def counted(run, *rest):
        drawn.append(run)
        if len(drawn) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return block(run, *rest)

    example_run.ExampleRun._block = counted


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    if distributed.get_rank() == 1:
        die_in_the_second_block()
    certify([torch.load(sys.argv[2], weights_only=True)], Path(sys.argv[1]))
