"""What rounding of the noisy input does to sparsified maps, and what it could do."""

import sys

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torchvision import transforms

from captum_certified.smoothing import noise_pass, top_k_rows

SIGMA, TAU = 0.2, 0.1


def masks(model, inputs):
    """The sparsified maps of a network, computed in the precision of the inputs."""
    maps = Saliency(model).attribute(inputs.clone().requires_grad_(), target=model(inputs).argmax(dim=1)).flatten(1)
    return top_k_rows(maps.detach(), round(TAU * maps.shape[1]))[0]


def rounded(image, seed, draws):
    """Noisy inputs with exact sums, and as the package rounds them to float32; both in float64."""
    shape, device = tuple(image.shape[1:]), torch.device("cpu")
    noise = noise_pass(shape, seed=seed, draws=draws, tensor=0, dtype=torch.float64, device=device)
    as_made = image + noise.float().mul_(SIGMA)
    return image.double() + SIGMA * noise, as_made.double()


def test_the_error_of_a_noisy_input_is_below_the_bound_of_the_documentation():
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    exact, made = rounded(image, 0, range(200))
    size = image.double().abs() + 4 * (exact - image.double()).abs()
    assert bool(((made - exact).abs() <= 2.0**-24 * size).all())


def test_a_function_of_the_last_bits_can_tell_inputs_apart_through_any_noise():
    """The attack that the documentation warns of: sums with a number of few digits are different sums."""
    few, many = torch.zeros(1, 400), torch.full((1, 400), 1 / 3)
    _, of_few = rounded(few, 0, range(100))
    _, of_many = rounded(many, 0, range(100))

    def fine(values):  # whether a value needs digits that no sum with a third has
        return (values / 2.0**-27 % 1 != 0).double().mean()

    assert float(fine(of_few)) > 10 * float(fine(of_many))


@pytest.mark.slow
def test_rounding_moves_few_features_of_a_photograph(shared_data):
    pil = pytest.importorskip("PIL.Image")
    sys.path.insert(0, str(shared_data))
    from models import load

    sys.path.remove(str(shared_data))
    prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    [path] = (shared_data / "imagenet64").glob("207_*.JPEG")
    image = prepare(pil.open(path).convert("RGB")).unsqueeze(0)
    model = load("mobilenet_v1_075").double()
    moved = []
    for start in range(0, 64, 4):
        exact, made = rounded(image, 0, range(start, start + 4))
        assert float((exact != made).double().mean()) > 0.99
        moved += (masks(model, exact) != masks(model, made)).sum(dim=1).tolist()
    print(f"\nof {image.numel()} features {np.mean(moved):.2f} differ in a draw, at most {max(moved)}, 64 draws")
    assert np.mean(moved) < 1e-4 * image.numel()
