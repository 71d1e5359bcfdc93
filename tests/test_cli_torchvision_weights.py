"""``--model-arg weights=NAME`` chooses among the weights that torchvision has for a classifier."""

import argparse

import pytest
import torch
from torchvision.models import mobilenet_v2

from captum_certified.cli.models import load_model
from captum_certified.exceptions import InvalidInputError


@pytest.fixture
def arguments(tmp_path):
    """The options of a model whose weights are a file, so that nothing is downloaded."""
    path = tmp_path / "weights.pt"
    torch.save(mobilenet_v2().state_dict(), path)

    def of(*model_arg):
        given = {"model": "mobilenet_v2", "model_arg": list(model_arg), "weights": path}
        return argparse.Namespace(**given, size=None, mean=None, std=None, channels=3)

    return of


def test_the_images_are_framed_for_the_named_weights(arguments):
    """The second weights of torchvision want 232 pixels, where those of the paper's time want 256."""
    resized = [load_model(arguments(*given)).framing.resize for given in ([], ["weights=IMAGENET1K_V1"])]
    assert resized == [232, 256]


@pytest.mark.parametrize("weights", ["IMAGENET", "None", "[1]"])
def test_unknown_weights_are_refused_with_the_known_ones(arguments, weights):
    with pytest.raises(InvalidInputError, match=r"`--model-arg weights=` one of \['IMAGENET1K_V1', 'IMAGENET1K_V2'"):
        load_model(arguments(f"weights={weights}"))
