"""The table of training losses on the real MNIST. It takes two processes half an hour to an hour."""

import os
import subprocess
import sys
import time

import pytest

from captum_certified.reproduce import EXPERIMENTS, Material, run_experiment


@pytest.fixture(scope="module")
def summary(shared_data, tmp_path_factory):
    given = os.environ.get("CAPTUM_CERTIFIED_RESULTS")
    out = given or str(tmp_path_factory.mktemp("training"))
    program = [sys.executable, "-m", "captum_certified", "reproduce", "training", "--data", str(shared_data), "-q"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    shards = [
        subprocess.Popen([*program, "--out", out, "--shard", f"{part}/2"], env=environment)  # noqa: S603  this program
        for part in (1, 2)
    ]
    assert {shard.wait() for shard in shards} <= {0, 1}
    material = Material(data=shared_data)
    record = run_experiment(EXPERIMENTS["training"], material, scale="cpu", out=type(shared_data)(out))
    assert {computed["threads"] for computed in record["computed_by"]} == {1}
    assert given or time.perf_counter() - begun < 3600
    return record["summary"]


@pytest.mark.slow
def test_training_against_the_attack_defends_saliency_far_better_than_adversarial_training(summary):
    ours, adversarial = summary["saliency (D.1)"], summary["adversarial"]
    assert ours["overlap"]["change"] >= 0.2
    assert ours["accuracy"]["change"] >= -0.01
    assert adversarial["overlap"]["change"] < ours["overlap"]["change"] / 3


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["IG-NORM", "IG-SUM-NORM"])
def test_attribution_regularization_defends_integrated_gradients(summary, loss):
    assert summary[loss]["intersection"]["change"] > 0
    assert summary[loss]["correlation"]["change"] > 0
    assert summary[loss]["accuracy"]["change"] >= -0.03


@pytest.mark.slow
def test_the_smooth_surface_lowers_the_top_eigenvalue(summary):
    assert summary["smooth surface"]["eigenvalue"]["highest"] < summary["plain"]["eigenvalue"]["lowest"]
