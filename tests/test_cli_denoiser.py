"""``captum-certified train-denoiser`` and ``--denoiser``: weights, their certificates and attacks, and bad files."""

import json
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from captum_certified import Certificate
from captum_certified.cli import main
from captum_certified.denoising import small_denoiser

TRAIN = ["train-denoiser", "one.png", "two.jpg", "--size", "12", "-q", "--width", "8", "--depth", "1"]
QUICK = ["--model-arg", "12", "--size", "12", "--samples", "32", "--seed", "1", "-q"]


@pytest.fixture
def denoiser(folder):
    """A file of weights that change the image."""
    network = small_denoiser(width=8, depth=1, seed=0)
    torch.nn.init.normal_(network.tail.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    torch.save(network.state_dict(), "denoiser.pt")
    return "denoiser.pt"


def certified(folder, *arguments):
    assert main(["certify", "one.png", "--model", f"{folder}:made", *QUICK, "--out", "out", *arguments]) == 0
    return json.loads(Path("out/one.json").read_text())


def test_a_trained_denoiser_serves_the_other_commands(folder, capsys):
    model = ["--model", f"{folder}:made", "--model-arg", "12"]
    assert main([*TRAIN, *model, "--epochs", "2", "--out", "den.pt", "--json", "-"]) == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert (record["sigma"], record["images"], record["measured"], record["steps"]) == (0.2, 1, 1, 2)
    assert 0 <= record["kept_with"] <= 1
    assert "of the noisy copies keep the class of the clean image" in printed.err
    once = Path("den.pt").read_bytes()
    assert main([*TRAIN, *model, "--epochs", "2", "--out", "den.pt", "--resume"]) == 0
    assert Path("den.pt").read_bytes() == once
    capsys.readouterr()
    assert certified(folder, "--denoiser", "den.pt")["denoiser"] == "den.pt"
    assert "Explained is the model behind the denoiser den.pt" in capsys.readouterr().out


def test_without_a_model_only_the_noise_is_removed(folder, capsys):
    assert main([*TRAIN, "--epochs", "1", "--crop", "8", "--out", "den.pt"]) == 0
    printed = capsys.readouterr().out
    assert "The mean square error of the denoised images is" in printed
    assert "keep the class" not in printed


def test_a_training_can_start_from_another(folder, capsys):
    assert main([*TRAIN, "--epochs", "1", "--out", "first.pt"]) == 0
    assert (
        main([*TRAIN, "--epochs", "1", "--lr", "1e-30", "--width", "5", "--start", "first.pt", "--out", "next.pt"]) == 0
    )
    first, following = (torch.load(name) for name in ("first.pt", "next.pt"))
    assert all(torch.allclose(first[name], following[name]) for name in first)  # at this rate nothing is learnt


@pytest.mark.filterwarnings("always:Results in out")
def test_a_denoiser_changes_what_is_explained(folder, denoiser, capsys):
    bare = certified(folder)
    behind = certified(folder, "--denoiser", denoiser)
    assert "model changed" in capsys.readouterr().err  # the result of the bare model is not taken for this one
    assert bare["setup"]["model"] != behind["setup"]["model"]
    assert "denoiser" not in bare
    assert Certificate.load("out/one.npz").map.setup["model"] == behind["setup"]["model"]


def test_attack_and_pilot_take_a_denoiser(folder, denoiser, capsys):
    model = ["--model", f"{folder}:made", "--denoiser", denoiser]
    quick = [*QUICK, "--steps", "2", "--restarts", "1", "--attack-draws", "4"]
    assert main(["attack", "one.png", *model, *quick, "--out", "attacks", "--json", "attacks.json"]) == 0
    [record] = json.loads(Path("attacks.json").read_text())
    assert record["denoiser"] == denoiser
    assert record["attack"]["overlap_fraction"][0] >= record["overlap_fraction"][0]
    capsys.readouterr()
    settings = ["--radius", "0.05", "--pilot-samples", "256", "--sigmas", "0.2", "--taus", "0.2"]
    assert main(["pilot", "one.png", *model, *QUICK, *settings]) == 0
    printed = capsys.readouterr().out
    assert "captum-certified certify IMAGES" in printed
    assert "--denoiser denoiser.pt" in printed


def test_a_callable_is_a_denoiser_too(folder):
    Path("identities.py").write_text("from torch import nn\n\n\ndef same():\n    return nn.Identity()\n")
    behind, bare = certified(folder, "--denoiser", "identities:same"), certified(folder, "--no-resume")
    assert behind["overlap_fraction"] == bare["overlap_fraction"]


@pytest.mark.filterwarnings("always:Results in out")
def test_a_diffusion_model_is_a_denoiser_too(folder):
    source = """
    import torch
    from torch import nn

    from captum_certified.denoising import OneStepDiffusion


    class Zero(nn.Module):
        def forward(self, images, times):
            return torch.zeros_like(images)


    def diffusion():
        return OneStepDiffusion(Zero(), [0.9, 0.5, 0.1], stdev=0.2)
    """
    Path("diffusions.py").write_text(dedent(source))
    behind, bare = certified(folder, "--denoiser", "diffusions:diffusion"), certified(folder, "--no-resume")
    assert behind["overlap_fraction"] == bare["overlap_fraction"]  # no noise was found
    assert behind["setup"]["model"] != bare["setup"]["model"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.pt", "to be a file that train-denoiser wrote, or package.module:callable"),
        ("weights.pt", "to have the weights of a denoiser of train-denoiser, got others"),
        ("one.png", "to be a file of train-denoiser"),
        ("nothing:here", "to load, got ModuleNotFoundError"),
    ],
)
def test_other_files_are_refused(folder, capsys, given, message):
    torch.save(torch.nn.Linear(2, 2).state_dict(), "weights.pt")
    assert main(["certify", "one.png", "--model", f"{folder}:made", *QUICK, "--denoiser", given]) == 2
    printed = capsys.readouterr().err
    assert f"`--denoiser` {given}" in printed or given == "missing.pt"
    assert message in printed


def test_squares_must_fit_into_the_images(folder, capsys):
    assert main([*TRAIN, "--crop", "20", "--out", "den.pt"]) == 2
    assert "Expected squares of 20 pixels to fit into the images" in capsys.readouterr().err


def test_one_image_is_too_few(folder, capsys):
    assert main(["train-denoiser", "one.png", "--size", "12", "--out", "den.pt", "-q"]) == 2
    assert "Expected at least 2 images, got 1" in capsys.readouterr().err
