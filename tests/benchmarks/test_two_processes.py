"""How much faster a second process makes sampling, compared with how much faster it makes the bare loop."""

import multiprocessing
from functools import partial

import pytest
import torch
from benchmark_networks import SIGMA, bare_loop, mobilenet
from captum.attr import Saliency
from ratios import median, report, seconds

from captum_certified import SparsifiedSmoothGrad

pytestmark = pytest.mark.benchmark

SIZE, DRAWS, ROUNDS = 8, 32, 48


def work(folder, pipe):
    """Run the function that the pipe names, and answer when it has finished."""
    torch.set_num_threads(1)
    model, image = mobilenet(folder)
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.1)
    sample = partial(
        explainer.attribute, image, nt_samples=DRAWS, nt_samples_batch_size=SIZE, stdevs=SIGMA, target="argmax"
    )
    runs = {"ours": lambda: sample(seed=0), "bare": lambda: bare_loop(model, image, DRAWS, SIZE)}
    for name in iter(pipe.recv, None):
        runs[name]()
        pipe.send(name)


@pytest.fixture
def workers(shared_data):
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(2):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(shared_data, there), daemon=True)
        process.start()
        pipes.append(here)
        processes.append(process)
    yield pipes
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join(timeout=10)


def together(pipes, name):
    for pipe in pipes:
        pipe.send(name)
    for pipe in pipes:
        pipe.recv()


def gain(pipes, name):
    """Return how many times as much work two processes do as one."""
    return 2 * seconds(lambda: together(pipes[:1], name)) / seconds(lambda: together(pipes, name))


def test_a_second_process_gains_what_it_gains_the_bare_loop(workers):
    for name in ("ours", "bare"):
        together(workers, name)
    ours, control = [], []
    for _ in range(ROUNDS):
        first, sampled, second = gain(workers, "bare"), gain(workers, "ours"), gain(workers, "bare")
        ours.append(2 * sampled / (first + second))
        control.append(first / second)
    report("MobileNet v1, passes of 8", "gain of a second process: bare loop / bare loop (control)", median(control))
    report("MobileNet v1, passes of 8", "gain of a second process: attribute / bare loop", median(ours), goal=0.95)
