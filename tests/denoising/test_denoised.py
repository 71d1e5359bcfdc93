"""``denoising``: a denoiser and a model as one module, and the small denoiser."""

import pytest
import torch
from captum.attr import DeepLift, IntegratedGradients, Saliency
from torch import nn

from captum_certified import Certifier, InterpretationAttack, SparsifiedSmoothGrad
from captum_certified.denoising import Denoised, small_denoiser
from captum_certified.exceptions import InvalidInputError


class Halving(nn.Module):
    """A denoiser whose effect on gradients is known."""

    def forward(self, images):
        return images / 2


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 3, bias=False)

    def forward(self, images, factor=1.0):
        return factor * self.linear(images.flatten(1))


@pytest.fixture
def image():
    return torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def trained(channels=1, **sizes):
    """Return a small denoiser whose last layer is not zero, as after training."""
    denoiser = small_denoiser(channels, seed=0, **sizes)
    nn.init.normal_(denoiser.tail.weight, std=0.02, generator=torch.Generator().manual_seed(1))
    return denoiser.eval()


def test_gradients_and_attributions_go_through_the_denoiser(image):
    model = Scorer().eval()
    denoised = Denoised(Halving(), model).eval()
    torch.testing.assert_close(denoised(image), model(image / 2))
    gradient = Saliency(denoised).attribute(image.clone().requires_grad_(), target=1, abs=False)
    torch.testing.assert_close(gradient.flatten(), model.linear.weight[1] / 2)


def test_more_arguments_reach_the_model_undenoised(image):
    denoised = Denoised(Halving(), Scorer())
    torch.testing.assert_close(denoised(image, 3.0), 3 * denoised(image))
    torch.testing.assert_close(denoised(image, factor=3.0), 3 * denoised(image))


@pytest.mark.parametrize("denoiser", [nn.Flatten(), nn.MaxPool2d(2)])
def test_a_denoiser_that_changes_the_shape_is_refused(denoiser, image):
    with pytest.raises(InvalidInputError, match=r"Expected `denoiser` to return .* \(1, 1, 4, 4\), got shape"):
        Denoised(denoiser, Scorer())(image)


def test_certificates_are_about_both_and_not_about_the_model_alone(image):
    model, certifier = Scorer().eval(), Certifier()
    both = SparsifiedSmoothGrad(Saliency(Denoised(trained(), model).eval()), tau=0.25)
    alone = SparsifiedSmoothGrad(Saliency(model), tau=0.25)
    settings = {"nt_samples": 64, "stdevs": 0.2, "seed": 0, "target": 0}
    first, second = both.sample(image, **settings), alone.sample(image, **settings)
    assert first.setup["model"] != second.setup["model"]
    with pytest.raises(InvalidInputError):
        first.merge(alone.sample(image, **settings | {"first_draw": 64}))
    assert certifier.top_k(first, k=4, radius=0.01).k == 4


def test_attacks_go_through_the_denoiser(image):
    denoised = Denoised(trained(), nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))).eval()
    attack = InterpretationAttack(denoised, Saliency(denoised), lower_bound=0.0, upper_bound=1.0)
    result = attack.attack(image, 0.5, k=0.25, step_num=5, target=0, seed=0)
    moved = result.perturbed - image
    assert 0 < float(moved.norm()) <= 0.5 * (1 + 1e-6)
    assert not torch.equal(denoised.denoiser(result.perturbed), denoised.denoiser(image))


@pytest.mark.parametrize("size", [(1, 1), (4, 5), (8, 8), (28, 28), (33, 17)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_small_denoiser_takes_images_of_any_size(size, channels):
    images = torch.rand(2, channels, *size)
    denoiser = small_denoiser(channels, width=8, depth=1, seed=0)
    assert torch.equal(denoiser(images), images)  # untrained
    nn.init.normal_(denoiser.tail.weight)
    assert denoiser(images).shape == images.shape


def test_examples_do_not_reach_each_other_and_modes_agree():
    denoiser = trained(3, width=8, depth=1)
    images = torch.rand(3, 3, 16, 16)
    together, single = denoiser(images), torch.cat([denoiser(one[None]) for one in images])
    torch.testing.assert_close(together, single)
    torch.testing.assert_close(denoiser.train()(images), together, rtol=0, atol=0)


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two = small_denoiser(seed=3), small_denoiser(seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("name", ["channels", "width", "depth"])
def test_sizes_are_checked(name):
    with pytest.raises(InvalidInputError, match=f"`{name}`"):
        small_denoiser(**{name: 0})


@pytest.mark.parametrize("method", [DeepLift, IntegratedGradients])
def test_methods_with_hooks_work_through_the_small_denoiser(method):
    denoised = Denoised(trained(width=8, depth=1), nn.Sequential(nn.Flatten(), nn.Linear(64, 3))).eval()
    image = torch.rand(1, 1, 8, 8)
    assert torch.isfinite(method(denoised).attribute(image.requires_grad_(), target=0)).all()
