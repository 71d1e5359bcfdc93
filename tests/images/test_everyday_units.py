"""A radius compared with grey levels, rounding, JPEG and a shift: each stated size is that of the real change."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torchvision.transforms import functional

from captum_certified import InvalidInputError
from captum_certified.images.everyday_units import radius_in_units

GENERATOR = torch.Generator().manual_seed(0)
PICTURES = torch.rand(3, 3, 32, 48, generator=GENERATOR)


def test_grey_levels_are_an_equal_change_of_every_value():
    units = radius_in_units(0.5, PICTURES)
    changed = torch.full_like(PICTURES[0], units.grey_levels / 255)
    assert_close(changed.norm(), torch.tensor(0.5))


def test_rounding_is_what_rounding_does_to_a_picture():
    rounded = (PICTURES * 255).round() / 255
    for picture, other in zip(PICTURES, rounded, strict=True):
        assert abs(float((picture - other).norm()) / radius_in_units(0, PICTURES).rounding - 1) < 0.05


def test_the_rounding_of_a_photograph_of_224_pixels_is_044():
    assert_close(radius_in_units(0, torch.zeros(1, 3, 224, 224)).rounding, 0.44, atol=0.005, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_writes_and_reads(channels):
    picture = functional.gaussian_blur(PICTURES[:1, :channels], 5)
    levels = (picture[0] * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=95)
    change = np.asarray(Image.open(file)).astype(float) - levels
    assert_close(radius_in_units(0.1, picture).jpeg.item(), float(np.sqrt((change**2).sum())) / 255)


def test_a_shift_is_the_smallest_of_four():
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8) / 8
    assert radius_in_units(0.1, ramp).shift.tolist() == [0.0]  # up or down changes nothing
    turned = PICTURES[:1].transpose(2, 3)
    assert_close(radius_in_units(0.1, turned).shift, radius_in_units(0.1, PICTURES[:1]).shift)
    one = torch.zeros(1, 1, 5, 5)
    one[..., 2, 2] = 1
    assert_close(radius_in_units(0.1, one).shift.item(), math.sqrt(2))


def test_other_inputs_have_no_pictures_sizes():
    units = radius_in_units(0.1, torch.rand(2, 7))
    assert units.jpeg is None
    assert units.shift is None
    assert "JPEG" not in str(units)


def test_it_reads_as_one_line():
    text = str(radius_in_units(0.05, functional.gaussian_blur(PICTURES, 5)))
    assert text.startswith("L2 radius 0.05: 0.19 grey levels in every value; rounding to 8 bits is 0.077; JPEG 95 ")
    assert "a shift by one pixel " in text


@pytest.mark.parametrize(
    ("radius", "inputs", "message"),
    [
        (-1, PICTURES, "`radius` to be a finite number >= 0"),
        (0.1, PICTURES * 255, r"`inputs` with values in \[0, 1\], got values from .* to 25\d"),
        (0.1, "picture", "`inputs` to be a floating point tensor"),
        (0.1, torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "`inputs` to be a floating point tensor"),
    ],
)
def test_bad_arguments_are_refused(radius, inputs, message):
    with pytest.raises(InvalidInputError, match=message):
        radius_in_units(radius, inputs)
