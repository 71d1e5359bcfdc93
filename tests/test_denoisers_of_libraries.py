"""The page about denoisers of other libraries runs as printed, on tiny networks. Skipped without the libraries."""

import json
import re
from pathlib import Path

import pytest
import torch
from captum.attr import Saliency
from torch import nn

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.cli import main
from captum_certified.denoising import Denoised, OneStepDiffusion

diffusers = pytest.importorskip("diffusers", reason="needs the extra denoisers")
deepinv_models = pytest.importorskip("deepinv.models", reason="needs the extra denoisers")

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "denoisers.md"
BLOCK = re.compile(r"^```(?:\{code-cell\} )?python\n(?:---\n.*?^---\n)?(.*?)^```$", re.DOTALL | re.MULTILINE)
SIGMA = 0.25


def certificate(denoiser, rows=2):
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.Softplus(), nn.Linear(8, 5))
    explainer = SparsifiedSmoothGrad(Saliency(Denoised(denoiser, classifier).eval()), tau=0.2)
    images = torch.rand(rows, 3, 16, 16)
    settings = {"nt_samples": 32, "stdevs": SIGMA, "seed": 0, "target": 0}
    return Certifier(explainer).certify(images, k=0.2, radius=0.02, **settings)


@pytest.fixture
def weights(folder):
    """A folder of an untrained diffusion model in the current folder."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained("ddpm")
    return folder


def test_the_page_runs(weights):
    torch.save(deepinv_models.DRUNet(pretrained=None).state_dict(), "drunet.pth")
    names = {"__name__": "howto", "model": nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))}
    for number, block in enumerate(BLOCK.findall(PAGE.read_text()), start=1):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)  # noqa: S102
    images = torch.rand(2, 3, 16, 16)
    assert names["drunet"](images, SIGMA).shape == images.shape
    assert certificate(names["diffusion"]()).k == 154


def test_the_commands_take_the_module_of_the_page(weights):
    [module] = [block for block in BLOCK.findall(PAGE.read_text()) if "def diffusion()" in block]
    Path("mine.py").write_text(module)
    options = ["--model", f"{weights}:made", "--model-arg", "12", "--size", "12", "--samples", "32", "-q"]
    assert (
        main(["certify", "one.png", *options, "--denoiser", "mine:diffusion", "--sigma", "0.25", "--out", "out"]) == 0
    )
    assert json.loads(Path("out/one.json").read_text())["denoiser"] == "mine:diffusion"


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_clean_image_is_the_one_of_the_scheduler(kind):
    """At the noise level of a time of the schedule, which the class and the scheduler then both know exactly."""

    class Wave(nn.Module):
        def forward(self, images, times):
            return torch.sin(3 * images)

    scheduler = diffusers.DDPMScheduler(prediction_type=kind, clip_sample=False)
    time = 144
    kept = scheduler.alphas_cumprod[time].double()
    sigma = float(((1 - kept) / kept).sqrt() / 2)
    denoiser = OneStepDiffusion(Wave(), scheduler.alphas_cumprod, stdev=sigma, prediction_type=kind)
    assert int(denoiser.time) == time
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    scaled = kept.sqrt() * (2 * images - 1)
    expected = scheduler.step(torch.sin(3 * scaled), time, scaled).pred_original_sample
    torch.testing.assert_close(denoiser(images), (expected + 1) / 2, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["DnCNN", "DRUNet"])
def test_denoisers_of_deepinv_pass_the_probe(name):
    small = {"DnCNN": {"depth": 3, "nf": 8}, "DRUNet": {"nc": (4, 4, 8, 8), "nb": 1}}[name]
    network = getattr(deepinv_models, name)(pretrained=None, **small)

    class AtNoiseLevel(nn.Module):
        def __init__(self):
            super().__init__()
            self.denoiser = network

        def forward(self, images):
            return self.denoiser(images, SIGMA)

    assert certificate(AtNoiseLevel()).k == 154
