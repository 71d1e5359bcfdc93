"""``denoising.OneStepDiffusion``: networks whose answer is known, the time of the call, the probe, bad arguments."""

import math

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import nn

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.denoising import Denoised, OneStepDiffusion
from captum_certified.exceptions import CertificationError, InvalidInputError

ALPHAS_CUMPROD = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)
STDEV = 0.25
SIGNAL, NOISE = math.sqrt(0.8), math.sqrt(0.2)  # √ᾱ and √(1 − ᾱ), as 2σ = √((1 − ᾱ) / ᾱ)


class Fixed(nn.Module):
    """A network that returns a given output and keeps what it was called with."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, images, times):
        self.called_with = images, times
        return self.output


class Convolution(nn.Module):
    """A random network."""

    def __init__(self, channels=1):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, images, times):
        return self.layer(images)


class BatchMean(Convolution):
    """A network that subtracts the mean of all images of the call."""

    def forward(self, images, times):
        return self.layer(images - images.mean(dim=0))


@pytest.fixture
def clean():
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def noise():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def answers(clean, noise):
    """What a network that knows everything returns, by type of prediction."""
    scaled = 2 * clean - 1
    return {"epsilon": noise, "v_prediction": SIGNAL * noise - NOISE * scaled, "sample": scaled}


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_that_knows_the_noise_gives_the_clean_image(kind, dtype, clean, noise):
    network = Fixed(answers(clean, noise)[kind].to(dtype))
    denoiser = OneStepDiffusion(network, ALPHAS_CUMPROD, stdev=STDEV, prediction_type=kind)
    returned = denoiser((clean + STDEV * noise).to(dtype))
    assert returned.dtype == dtype
    torch.testing.assert_close(returned, clean.to(dtype), rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-12)


def test_the_network_gets_an_image_of_its_training_at_the_nearest_time(clean, noise):
    network = Fixed(noise)
    OneStepDiffusion(network, ALPHAS_CUMPROD, stdev=STDEV)(clean + STDEV * noise)
    images, times = network.called_with
    torch.testing.assert_close(images, SIGNAL * (2 * clean - 1) + NOISE * noise)
    assert times.tolist() == [144, 144]
    assert times.dtype == torch.int64
    torch.testing.assert_close(float(ALPHAS_CUMPROD[144]), SIGNAL**2, rtol=0.005, atol=0)


@pytest.mark.parametrize("stdev", [0.0051, 0.02, 0.1, 1.0, 70.0])
def test_no_time_is_nearer(stdev):
    time = int(OneStepDiffusion(Convolution(), ALPHAS_CUMPROD.numpy(), stdev=stdev).time)
    ratios = [math.sqrt((1 - a) / a) / (2 * stdev) for a in ALPHAS_CUMPROD.tolist()]
    assert max(ratios[time], 1 / ratios[time]) == min(max(ratio, 1 / ratio) for ratio in ratios)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_best_network_for_normal_images_gives_the_wiener_filter(kind, clean, noise):
    """Pixels are normal with mean .5 and standard deviation .2, of which the posterior mean is known."""
    variance = (2 * 0.2) ** 2  # in [−1, 1]
    images = clean + STDEV * noise

    class Posterior(nn.Module):
        def forward(self, scaled, times):
            total = SIGNAL**2 * variance + NOISE**2
            return answers((SIGNAL * variance / total * scaled + 1) / 2, NOISE / total * scaled)[kind]

    denoiser = OneStepDiffusion(Posterior(), ALPHAS_CUMPROD, stdev=STDEV, prediction_type=kind)
    torch.testing.assert_close(denoiser(images), 0.5 + 0.2**2 / (0.2**2 + STDEV**2) * (images - 0.5))


def test_predicted_variances_and_further_outputs_are_left_out(clean, noise):
    images = clean + STDEV * noise
    for output in (torch.cat([noise, 9 * noise], dim=1), (noise, None), [noise]):
        torch.testing.assert_close(OneStepDiffusion(Fixed(output), ALPHAS_CUMPROD, stdev=STDEV)(images), clean)


@pytest.mark.parametrize(
    ("output", "got"),
    [(torch.zeros(2, 1, 8, 8), "shape \\(2, 1, 8, 8\\)"), (("text", 1), "str"), (torch.zeros(2), "shape \\(2,\\)")],
)
def test_other_outputs_are_refused(output, got, clean):
    with pytest.raises(InvalidInputError, match=rf"Expected `unet` to return .* \(2, 3, 8, 8\), got {got}"):
        OneStepDiffusion(Fixed(output), ALPHAS_CUMPROD, stdev=STDEV)(clean)


def certificate(unet, stdev=STDEV):
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3))
    model = Denoised(OneStepDiffusion(unet, ALPHAS_CUMPROD, stdev=stdev), classifier)
    explainer = SparsifiedSmoothGrad(Saliency(model.eval()), tau=0.2)
    image = torch.full((1, 1, 8, 8), 0.5)
    return Certifier(explainer).certify(image, nt_samples=64, stdevs=STDEV, seed=0, target=0, k=0.2, radius=0.01)


def test_the_probe_accepts_one_step_and_refuses_a_network_that_mixes_images():
    assert certificate(Convolution()).k == 13
    with pytest.raises(CertificationError, match="maps change with the other rows of their pass"):
        certificate(BatchMean())


def test_a_result_knows_the_time_of_its_denoiser():
    torch.manual_seed(0)
    unet = Convolution()
    one, other = certificate(unet), certificate(unet, stdev=0.5)
    assert one.map.setup["model"] != other.map.setup["model"]
    assert certificate(unet).map.setup["model"] == one.map.setup["model"]


def test_the_time_moves_with_the_module_and_keeps_its_type():
    denoiser = OneStepDiffusion(Convolution(), ALPHAS_CUMPROD, stdev=STDEV).double()
    assert denoiser.time.dtype == torch.int64
    assert denoiser.to("meta").time.is_meta


def test_a_schedule_may_end_in_noise_alone():
    schedule = [1.0, 0.8, 0.5, 0.0]
    assert int(OneStepDiffusion(Convolution(), schedule, stdev=0.01).time) == 1
    assert int(OneStepDiffusion(Convolution(), np.array(schedule, dtype=np.float32), stdev=1e6).time) == 2


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([[0.9, 0.8]], r"values in \[0, 1\] and shape \(times,\), got shape \(1, 2\)"),
        ([], r"got shape \(0,\)"),
        ([0.9, math.nan], r"values in \[0, 1\]"),
        ([1.2, 0.8], r"values in \[0, 1\]"),
        ([0.2, 0.8], "to decrease with time"),
        ([0.8, 0.8], "to decrease with time"),
    ],
)
def test_bad_schedules_are_refused(schedule, message):
    with pytest.raises(InvalidInputError, match=message):
        OneStepDiffusion(Convolution(), schedule, stdev=STDEV)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stdev": 0}, "Expected `stdev` to be a finite number > 0"),
        ({"stdev": 0.001}, "`stdev` to be a noise level of `alphas_cumprod`, from 0.00500025 to 78.7"),
        ({"stdev": 1e4}, "`stdev` to be a noise level of `alphas_cumprod`"),
        ({"stdev": STDEV, "prediction_type": "flow"}, "`prediction_type` to be one of epsilon, v_prediction, sample"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        OneStepDiffusion(Convolution(), ALPHAS_CUMPROD, **settings)
