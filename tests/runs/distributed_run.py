"""A program that test_distributed starts under torchrun: distributed_run.py FOLDER DATA.

Each process makes the calls below and writes FOLDER/rank.json. A file is used because printed lines of two processes
can run together.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from digits_run import certifier, certify, small_model
from torch import distributed, nn

from captum_certified import CaptumCertifiedError
from captum_certified.runs import example_run

DRAWN = []


class Broken(nn.Module):
    def forward(self, images):
        raise RuntimeError("this network is broken")


def record_blocks():
    block = example_run.ExampleRun._block
    example_run.ExampleRun._block = lambda run, *rest: DRAWN.append(run.source.name) or block(run, *rest)


def drawn():
    names = list(DRAWN)
    DRAWN.clear()
    return names


def failure(data, folder, rank, **changes):
    """Return the error of a run in which the network of process 1 is broken."""
    try:
        certify(data, folder, certifier=certifier(Broken() if rank == 1 else small_model()), **changes)
    except (RuntimeError, CaptumCertifiedError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def run(folder, images, labels):
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    report = {"rank": rank}
    many, one = [(images, labels)], [(images[:1], labels[:1])]
    report["many"] = len(certify(many, folder / "many"))
    report["many_drawn"] = drawn()
    certify(one, folder / "one")
    report["one_drawn"] = drawn()
    certify(one, folder / "plain", reference="plain")
    certify(many, folder / "sequential", reference="plain", overlap=0.5)
    drawn()
    summary = certify(one, folder / "fresh", seed=None)
    report["fresh_seed"] = summary[0].record["seed"]
    report["kept"] = [result.outcome for result in certify(one, folder / "one")]
    report["nothing_written"] = certify(one, None)[0].record["overlap"]
    report["many_failure"] = failure(many, folder / "many_failure", rank)
    report["one_failure"] = failure(one, folder / "one_failure", rank)
    report["recorded"] = failure(one, folder / "recorded", rank, on_failure="record")
    distributed.barrier()
    distributed.destroy_process_group()
    return report


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    record_blocks()
    folder = Path(sys.argv[1])
    report = run(folder, *torch.load(sys.argv[2], weights_only=True))
    (folder / f"{report['rank']}.json").write_text(json.dumps(report))
