"""How rounding of noisy inputs changes sparsified maps, and how a hostile function could use this rounding."""

import sys

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torchvision import transforms

from captum_certified.sampling import make_noise, top_k_rows
from captum_certified.sampling.noise import _chunk_size, _finish, fill_with_normals

SIGMA, TAU = 0.2, 0.1


def masks(model, inputs):
    """Return the sparsified maps of a network, computed in the precision of the inputs."""
    maps = Saliency(model).attribute(inputs.clone().requires_grad_(), target=model(inputs).argmax(dim=1)).flatten(1)
    return top_k_rows(maps.detach(), round(TAU * maps.shape[1]))[0]


def ideal_normals(bits, n):
    """Return the exact normal numbers that the package rounds to float32, and the radius of the pair of each number.

    A word of random bits stands for an interval of uniform numbers, and Box and Muller's method turns two uniform
    numbers into a pair of normal numbers. This function takes a random point of each interval, in float64, whose own
    rounding is negligible here.
    """
    pairs, inside = (n + 1) // 2, np.random.default_rng(0)
    words = bits.random_raw(pairs).view(np.uint32)
    few = np.flatnonzero(words[:pairs] < 2**24)
    offsets = inside.random(pairs)
    offsets[few] = (bits.random_raw(len(few)) + offsets[few]) * 2.0**-64
    radius = np.sqrt(-2 * np.log((words[:pairs] + offsets) * 2.0**-32))
    angle = (words[pairs:].view(np.int32) + inside.random(pairs) - 0.5) * (np.pi * 2.0**-31)
    normals = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    return normals[:n], np.concatenate([radius, radius])[:n]


def ideal_pass(shape, seed, draws):
    """Return the exact normal numbers of ``make_noise``, in float64."""
    numbers, size = int(np.prod(shape)), _chunk_size(shape)
    chunks = {}
    for draw in draws:
        chunk = draw // size
        if chunk not in chunks:
            bits = np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(chunk, 0)))
            chunks[chunk] = ideal_normals(bits, size * numbers)[0].reshape(size, *shape)
    return torch.from_numpy(np.stack([chunks[draw // size][draw % size] for draw in draws]))


def rounded(image, seed, draws):
    """Return noisy inputs as in the theory and as the package rounds them to float32, both as float64."""
    shape = tuple(image.shape[1:])
    made = make_noise(
        shape, seed=seed, draws=draws, tensor=0, dtype=torch.float32, device=torch.device("cpu"), scale=SIGMA,
        offset=image[0],
    )  # fmt: skip
    return image.double() + SIGMA * ideal_pass(shape, seed, draws), made.double()


class Crafted:
    """Random bits that begin with the words at which logarithms and cosines are hard to compute."""

    def __init__(self):
        near = np.unique(
            np.concatenate([np.arange(300), 2 ** np.arange(32) - 1, 2 ** np.arange(32), 2**24 + np.arange(300)])
        )
        radius = np.concatenate([near, 2**32 - 1 - near])
        angle = np.concatenate([near + quarter for quarter in (0, 2**30, 2**31, 3 * 2**30)]) % 2**32
        pairs = np.array(np.meshgrid(radius, angle)).reshape(2, -1)
        self.size = pairs.shape[1]
        self.words = pairs.astype(np.uint32).reshape(-1).view(np.uint64)
        self.more = np.random.SFC64(0)

    def random_raw(self, count):
        words, self.words = self.words, None
        return self.more.random_raw(count) if words is None else words[:count]


def errors(x, sigma, make, n):
    """Return the errors |e| of n numbers x + σε in float32, with |ε| and the radius of its pair."""
    noise = torch.empty(1, n)
    fill_with_normals(noise.numpy().reshape(-1), make())
    normals, radius = ideal_normals(make(), n)
    value = torch.full((n,), x)
    _finish(noise, law="gaussian", scale=sigma, offset=value)
    noisy = noise.double().numpy().reshape(-1)
    return np.abs(noisy - (value.double().numpy() + sigma * normals)), np.abs(normals), radius


SETTINGS = [(0.0, 0.2), (0.5, 0.2), (1 / 3, 1e-3), (1.0, 0.01), (0.5, 1.0), (0.1, 0.3), (200.0, 25.0), (-3.0, 0.05)]


@pytest.mark.parametrize(("x", "sigma"), SETTINGS)
@pytest.mark.parametrize("source", ["random", "crafted"])
def test_the_error_of_a_noisy_input_is_below_the_documented_bound(x, sigma, source):
    crafted = Crafted().size
    makes = [Crafted] if source == "crafted" else [lambda seed=seed: np.random.SFC64(seed) for seed in range(3)]
    worst = 0.0
    for make in makes:
        error, size, radius = errors(x, sigma, make, 2 * crafted if source == "crafted" else 1_000_001)
        bound = 2.0**-24 * (abs(x) + sigma * (24 * size + 8 * radius + 6 / radius))
        assert (error <= bound).all()
        worst = max(worst, (error / bound).max())
    assert worst > 0.3, "the bound would be needlessly large"


def test_the_error_exceeds_a_bound_relative_to_the_noise_alone():
    """Angles and radii have rounding errors of their own, which do not shrink with the noise."""
    for x, sigma, share in ((0.0, 0.2, 0.1), (0.5, 0.2, 0.02)):
        error, size, _ = errors(x, sigma, lambda: np.random.SFC64(0), 1_000_000)
        assert (error > 2.0**-24 * (abs(x) + 4 * sigma * size)).mean() > share


def test_ideal_normals_round_to_the_normals_of_the_package():
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    exact, made = rounded(image, 0, range(3, 200))
    assert float((made - exact).abs().max()) < 1e-4
    assert float((made - exact).abs().mean()) < 1e-7
    assert float((made != exact).double().mean()) > 0.99


def test_a_function_of_the_last_bits_can_tell_inputs_apart_through_any_noise():
    """The documentation warns of this attack: sums with a short number have other last digits than sums with 1/3."""
    few, many = torch.zeros(1, 400), torch.full((1, 400), 1 / 3)
    _, of_few = rounded(few, 0, range(100))
    _, of_many = rounded(many, 0, range(100))

    def fine(values):  # share of values that need digits beyond those of any sum with 1/3
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
    draws = sum(count > 0 for count in moved)
    print(f"\nof {image.numel()} features {np.mean(moved):.2f} differ a draw, at most {max(moved)}, in {draws} of 64")
    assert np.mean(moved) < 1e-4 * image.numel()
