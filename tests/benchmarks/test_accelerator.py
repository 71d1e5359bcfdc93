"""The checks for a GPU run on the processor too, with a small network."""

import accelerator
import pytest
import torch


def test_the_checks_for_a_gpu_pass_on_the_processor(capsys):
    rows = dict(accelerator.main(["--small"]))
    assert rows["Gram matrices of 0/1 draws under TF32"] == "exact"
    assert rows["salient features that a processor chooses differently, float64"] == "0.0000%"
    assert float(rows["speed of `attribute` / bare loop"].split()[0]) > 0
    certified = rows["certified at the radii 0, 0.01, 0.02, 0.05, 0.1"].split(", ")
    assert len(certified) == len(accelerator.RADII)
    assert certified[0] != "0.0 %"
    printed = capsys.readouterr().out
    assert all(f"{what}: {value}" in printed for what, value in rows.items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_full_size_needs_a_gpu(capsys):
    with pytest.raises(SystemExit):
        accelerator.main([])
    assert "Expected a GPU, got none. --small runs the checks on the processor." in capsys.readouterr().err
