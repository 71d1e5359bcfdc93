"""Every public attribution class of Captum is smoothed or refused with a reason, as the documentation says."""

from pathlib import Path

import pytest
import torch
from captum_classes import CLASSES, KINDS, arguments_of, page, public_attributions, status, subject

from captum_certified import ScaledSmoothGrad
from captum_certified.attr.per_draw_maps import Scaled
from captum_certified.maps import FeatureLayout
from captum_certified.randomness import IsolatedRandomness, derived_seed

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "captum_classes.md"
WORKING = [name for name, row in CLASSES.items() if row.refused is None]
REFUSED = [name for name, row in CLASSES.items() if row.refused is not None]


def test_the_table_has_every_class_that_captum_exports():
    assert set(CLASSES) == public_attributions()


def test_the_documentation_shows_the_table():
    assert PAGE.read_text() == page(), f"write it anew: python tests/attr/captum_classes.py > {PAGE.name}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_class_is_refused_with_its_reason(name, kind):
    assert CLASSES[name].refused in status(name, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WORKING)
def test_without_noise_one_draw_is_the_map_of_the_wrapped_method(name, kind):
    s = subject(kind)
    arguments = arguments_of(CLASSES[name], s)
    smoothed = ScaledSmoothGrad(CLASSES[name].make(s)).attribute(s.inputs, 1, stdevs=0, seed=0, **arguments)

    hidden = arguments.pop("attribution_kwargs", {})
    inputs = (
        tuple(x.clone().requires_grad_() for x in s.inputs) if kind == "tuple" else s.inputs.clone().requires_grad_()
    )
    with IsolatedRandomness(torch.device("cpu"))(derived_seed(0, 0)):
        plain = CLASSES[name].make(s).attribute(inputs, **arguments, **hidden)

    maps = plain if isinstance(plain, tuple) else (plain,)
    layout = FeatureLayout.of(maps, is_tuple=isinstance(plain, tuple), rows=2)
    expected = layout.unflatten(Scaled()(layout.flatten([m.detach() for m in maps], 2)).values)
    torch.testing.assert_close(smoothed, expected, rtol=0, atol=0)
