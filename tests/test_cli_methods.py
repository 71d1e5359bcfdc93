"""``--method`` and its options: every method from an image file to a certificate, and messages for bad calls."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from PIL import Image
from torch import nn

from captum_certified import Certificate, InvalidInputError
from captum_certified.attr.request import Sign
from captum_certified.cli import main
from captum_certified.cli.explainers import arguments_of, method_of
from captum_certified.cli.methods import METHODS, choice_of
from captum_certified.cli.models import LoadedModel
from captum_certified.cli.options import add_explanation, add_model
from captum_certified.images.framing import Framing, load_image

SIDE = 12
NETWORK = """
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2))
        self.relu = nn.ReLU()
        self.head = nn.Linear(features, 3)

    def forward(self, images):
        return self.head(self.relu(self.features(images)).flatten(1))


def load(features=125):
    torch.manual_seed(0)
    network = Network(features).eval()
    network.head.weight.data.mul_(20)  # Lime drops features of little effect
    return network
"""
# What each method needs besides its name.
NEEDED = {
    "GradientShap": ["--baselines", "two.jpg"],
    "DeepLiftShap": ["--baselines", "others"],
    "LayerGradientShap": ["--layer", "features.2", "--baselines", "two.jpg"],
    "LayerDeepLiftShap": ["--layer", "features.2", "--baselines", "others"],
    "IntegratedGradients": ["--method-arg", "n_steps=4"],
    "ShapleyValueSampling": ["--method-arg", "n_samples=2"],
    "KernelShap": ["--method-arg", "n_samples=8"],
    "Lime": ["--method-arg", "n_samples=8"],
}
# These methods call the network often, so their tests make few draws.
SLOW = ("ShapleyValueSampling", "KernelShap", "Lime", "FeatureAblation")


@pytest.fixture
def network(folder):
    """The name of a network, beside the images one.png and two.jpg, and a folder with copies of both."""
    Path("layered_network.py").write_text(NETWORK)
    Path("others").mkdir()
    for name in ("one.png", "two.jpg"):
        Path("others", name).write_bytes(Path(name).read_bytes())
    return "layered_network:load"


def call(network, *arguments, samples=32, command="certify", groups="patches:4"):
    words = [command, "one.png", "--model", network, "--size", str(SIDE), "--groups", groups, *arguments]
    return main([*words, "--samples", str(samples), "--seed", "1", "-q"])


def certified(network, *arguments, **options):
    assert call(network, *arguments, "--json", "all.json", "--out", "results", **options) == 0
    return json.loads(Path("all.json").read_text())[0]


def needed(name):
    layer = ["--layer", "features.2"] if METHODS[name].layer else []
    return ["--method", name, *NEEDED.get(name, layer)]


@pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")
@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_certified(network, name):
    record = certified(network, *needed(name), samples=8 if name in SLOW else 32)
    assert record["setup"]["method"].endswith(METHODS[name].captum_name)
    assert record["setup"]["layers"] == ([None, "features.2"] if METHODS[name].upsampled else record["setup"]["layers"])
    assert ("features.2" in record["setup"]["layers"]) == METHODS[name].layer
    assert record["n_features"] == 9
    assert Path("results/one.png").is_file()
    smoothed = Certificate.load("results/one.npz").map
    assert tuple(smoothed.mean.shape) == (1, 1 if METHODS[name].upsampled else 3, SIDE, SIDE)
    assert float(smoothed.mean.max()) > 0


def test_the_choices_of_sign_are_those_of_the_library():
    assert {choice.sign for choice in METHODS.values()} <= set(get_args(Sign))


# -- a layer ---------------------------------------------------------------------------------------------------


def loaded_network(folder):
    namespace = {}
    exec(NETWORK, namespace)  # noqa: S102
    model = namespace["load"]()
    return LoadedModel(model, model, Framing(resize=SIDE, crop=SIDE))


def test_grad_cam_is_the_positive_part_of_captums_by_default(network, capsys):
    record = certified(network, "--method", "GradCAM", "--layer", "features.2")
    assert record["setup"]["sign"] == "positive"
    assert record["method_options"] == {"layer": "features.2"}
    printed = capsys.readouterr().out
    assert "The explained layer is features.2." in printed
    assert "Only positive attributions count (--sign positive)." in printed
    loaded = loaded_network(network)
    image, _ = load_image("one.png", loaded.framing)
    layer = loaded.model.features[2]
    coarse = LayerGradCam(loaded.model, layer).attribute(image, target=record["prediction"])
    fine = nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear").clamp_min(0)
    cells = nn.functional.avg_pool2d(fine, 4, divisor_override=1).flatten()
    plain = Certificate.load("results/one.npz").map.plain[0]
    torch.testing.assert_close(plain.float(), cells.detach())


def test_another_sign_can_be_asked_for(network, capsys):
    record = certified(network, "--method", "GradCAM", "--layer", "features.2", "--sign", "both")
    assert "sign" not in record["setup"]
    assert "attributions count" not in capsys.readouterr().out


def test_channels_of_a_layer_are_added(network):
    record = certified(network, "--method", "LayerGradientXActivation", "--layer", "features.0")
    loaded = loaded_network(network)
    image, _ = load_image("one.png", loaded.framing)
    method = LayerGradientXActivation(loaded.model, loaded.model.features[0])
    places = method.attribute(image, target=record["prediction"]).sum(dim=1, keepdim=True).abs()
    cells = nn.functional.avg_pool2d(places, 4, divisor_override=1).flatten()
    torch.testing.assert_close(Certificate.load("results/one.npz").map.plain[0].float(), cells.detach())


def test_the_layer_is_named_as_the_user_wrote_the_model(network):
    normalised = ["--mean", "0.5", "--std", "0.25", "--method", "GradCAM", "--layer", "features.2"]
    assert certified(network, *normalised)["setup"]["layers"] == [None, "model.features.2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["GradCAM"], "for GradCAM, which explains a layer of the model: the last convolution is 'features.2'."),
        (
            ["GradCAM", "--layer", "feature.2"],
            "close to it are 'features.2', 'features.1', 'features.0'; the last convolution is 'features.2'.",
        ),
        (["LayerConductance", "--layer", "xyz"], "got 'xyz'; the model has 'features', 'features.0', 'features.1' and"),
        (["Saliency", "--layer", "features.2"], "Expected `--layer` only for a method that takes it, one of GradCAM"),
        (["Saliency", "--window", "4"], "Expected `--window` only for a method that takes it, one of Occlusion, got"),
        (["Saliency", "--baselines", "two.jpg"], "got it for Saliency."),
        (["GradientShap"], "Expected `--baselines` for GradientShap, which compares the image with other images"),
        (["GradientShap", "--baselines", "three.jpg"], "got three.jpg, which does not exist."),
        (["Occlusion", "--window", "2,4"], "expected SIDE, or SIDE,STRIDE with a stride of at most SIDE, got 2,4"),
        (["Saliency", "--method-arg", "n_steps=4"], "with NAME one of ['abs'] for Saliency, got 'n_steps'."),
        (["IntegratedGradients", "--method-arg", "4"], "for IntegratedGradients, got '4'."),
        (["Guess"], "invalid choice: 'Guess'"),
    ],
)
def test_bad_options_are_refused_with_a_way_out(network, capsys, words, message):
    assert call(network, "--method", *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["GradCAM", "--layer", "head"], "Expected a layer map of 2 spatial dimensions"),
        (["Occlusion", "--window", "13"], "Expected `--window` to fit into the image of 12 × 12 pixels, got a side"),
        (["IntegratedGradients", "--baselines", "others"], "to be one picture for IntegratedGradients, got 2 in"),
        (
            ["GradientShap", "--baselines", "small.npy"],
            "of the image, 20 × 30 pixels, got 3 × 3; see `--size`",
        ),
        (["GradientShap", "--baselines", "mixed"], "Expected `--baselines` of one size, got (3, 3) and (20, 30)"),
    ],
)
def test_options_that_do_not_fit_the_image_are_reported(network, capsys, words, message):
    Path("mixed").mkdir()
    Path("mixed/a.png").write_bytes(Path("one.png").read_bytes())
    for path in ("small.npy", "mixed/small.npy"):
        np.save(path, np.zeros((3, 3, 3), dtype=np.uint8))
    size = ["--model-arg", "630"] if "Shap" in words[0] else ["--size", str(SIDE)]
    words = ["certify", "one.png", "--model", network, *size, "--method", *words, "--samples", "8", "-q"]
    assert main(words) == 1
    assert message in capsys.readouterr().out


# -- other settings, other results -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("default:Results in:UserWarning")
@pytest.mark.parametrize(
    ("first", "second", "changed"),
    [
        (["GradCAM", "--layer", "features.2"], ["GradCAM", "--layer", "features.0"], "layers"),
        (["GuidedGradCam", "--layer", "features.2"], ["GuidedGradCam", "--layer", "features.0"], "layers"),
        (["Occlusion", "--window", "4"], ["Occlusion", "--window", "4,2"], "arguments"),
        (["GradientShap", "--baselines", "two.jpg"], ["GradientShap", "--baselines", "one.png"], "arguments"),
        (["FeatureAblation"], ["FeatureAblation", "--baselines", "two.jpg"], "arguments"),
        (["GradCAM", "--layer", "features.2"], ["GradCAM", "--layer", "features.2", "--sign", "negative"], "sign"),
    ],
)
def test_another_option_is_another_explanation(network, capsys, first, second, changed):
    one = certified(network, "--method", *first, samples=16)
    capsys.readouterr()
    again = certified(network, "--method", *first, samples=16)
    assert capsys.readouterr().err == ""
    assert again == one
    two = certified(network, "--method", *second, samples=16)
    assert f"{changed} " in capsys.readouterr().err
    assert one["setup"][changed] != two["setup"][changed]
    assert one["settings_digest"] != two["settings_digest"]


@pytest.mark.filterwarnings("default:Results in:UserWarning")
def test_other_pictures_in_the_same_file_are_other_baselines(network, capsys):
    one = certified(network, "--method", "GradientShap", "--baselines", "two.jpg")
    Image.new("RGB", (30, 20), (255, 0, 0)).save("two.jpg")
    two = certified(network, "--method", "GradientShap", "--baselines", "two.jpg")
    assert one["setup"]["arguments"] != two["setup"]["arguments"]
    assert "arguments changed" in capsys.readouterr().err


# -- masks and regions -----------------------------------------------------------------------------------------


def test_masks_and_regions_fit_the_map_of_a_layer(network):
    Image.new("L", (30, 20), 255).save("mask.png")
    layer = ["--method", "GradCAM", "--layer", "features.2"]
    record = certified(network, *layer, "--region", "5,0,20,20", "--reference", "mask.png", groups="none")
    assert record["n_features"] == SIDE * SIDE
    assert 0 < record["region"]["observed_mass"][0] <= 1
    assert record["reference_size"] == [SIDE * SIDE]


# -- what a method is given ------------------------------------------------------------------------------------


def namespace_of(*words):
    parser = argparse.ArgumentParser()
    add_model(parser.add_argument_group())
    add_explanation(parser.add_argument_group())
    given = parser.parse_args(["--model", "layered_network:load", *words])
    given.exif = False
    return given


def arguments_for(network, *words, groups="patches:4"):
    arguments, loaded = namespace_of("--method", *words), loaded_network(network)
    image, _ = load_image("one.png", loaded.framing)
    return arguments_of(choice_of(arguments.method), image, loaded, arguments, groups)


def test_occlusion_moves_a_window(network):
    assert arguments_for(network, "Occlusion") == {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4)}
    assert arguments_for(network, "Occlusion", "--window", "6,3") == {
        "sliding_window_shapes": (3, 6, 6),
        "strides": (3, 3, 3),
    }


def test_features_are_switched_off_whole(network):
    [(name, mask)] = arguments_for(network, "FeatureAblation").items()
    assert name == "feature_mask"
    assert mask.tensor.shape == (1, 3, SIDE, SIDE)
    assert mask.tensor[0, 2, ::4, ::4].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    [(_, mask)] = arguments_for(network, "FeatureAblation", groups="channels").items()
    assert int(mask.tensor.max()) == SIDE * SIDE - 1
    assert arguments_for(network, "FeatureAblation", groups=None) == {}


def test_baselines_are_framed_as_the_images(network):
    baselines = arguments_for(network, "GradientShap", "--baselines", "others")["baselines"]
    expected = [load_image(name, Framing(resize=SIDE, crop=SIDE))[0] for name in ("one.png", "two.jpg")]
    torch.testing.assert_close(baselines, torch.cat(expected))


def test_lrp_is_refused_behind_normalisation(network, capsys):
    assert call(network, "--method", "LRP", "--mean", "0.5", "--std", "0.25") == 2
    assert "for LRP, which has no rule for them" in capsys.readouterr().err


def test_a_layer_of_an_unknown_kind_of_network_is_refused(network):
    loaded = replace(loaded_network(network), network=torch.nn.Identity())
    with pytest.raises(InvalidInputError, match=r"got 'features'; the model has  and more\."):
        method_of(choice_of("GradCAM"), loaded, namespace_of("--method", "GradCAM", "--layer", "features"))


# -- attack and pilot ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins:UserWarning")
def test_an_attack_gives_the_method_its_arguments(network):
    words = ["--method", "IntegratedGradients", "--baselines", "two.jpg", "--method-arg", "n_steps=3"]
    quick = ["--steps", "2", "--restarts", "1", "--attack-draws", "2"]
    assert call(network, *words, *quick, "--json", "all.json", "--out", "attacks", command="attack") == 0
    [record] = json.loads(Path("all.json").read_text())
    assert record["method_options"] == {"baselines": "two.jpg", "n_steps": 3}
    assert record["setup"]["arguments"] == certified(network, *words)["setup"]["arguments"]
    assert record["overlap_fraction"][0] <= record["attack"]["overlap_fraction"][0]


def test_a_pilot_gives_each_method_its_own_options(network, capsys):
    words = ["--methods", "Saliency,GradCAM,Occlusion,FeatureAblation", "--layer", "features.2", "--window", "4"]
    settings = ["--sigmas", "0.2", "--taus", "0.3", "--pilot-samples", "256", "--radius", "0.05"]
    assert call(network, *words, *settings, "--json", "table.json", command="pilot", groups="patches:4,patches:6") == 0
    rows = json.loads(Path("table.json").read_text())["rows"]
    assert [(row["method"], row["groups"]) for row in rows] == [
        (method, groups)
        for method in ("Saliency", "Upsampled of LayerGradCam", "Occlusion", "FeatureAblation")
        for groups in ("patches:4", "patches:6")
    ]
    commands = [line for line in capsys.readouterr().out.splitlines() if "captum-certified certify" in line]
    assert ["--layer features.2" in line for line in commands] == [False, True, False, False]
    assert ["--window 4,4" in line for line in commands] == [False, False, True, False]
    assert "--method GradCAM" in commands[1]
    assert not any("--sign" in line for line in commands)


def test_a_pilot_refuses_options_that_no_method_takes(network, capsys):
    assert call(network, "--methods", "Saliency", "--layer", "head", "--radius", "0.1", command="pilot") == 2
    assert "Expected `--layer` only for a method that takes it" in capsys.readouterr().err
    words = ["--methods", "Saliency,InputXGradient", "--method-arg", "n_steps=2", "--radius", "0.1"]
    assert call(network, *words, command="pilot") == 2
    assert "for Saliency and InputXGradient, got 'n_steps'." in capsys.readouterr().err
