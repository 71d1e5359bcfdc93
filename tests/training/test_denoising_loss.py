"""``DenoisingLoss``: its two terms, the classifier that it leaves unchanged, and a denoiser that it trains."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_certified.denoising import Denoised, small_denoiser
from captum_certified.exceptions import InvalidInputError
from captum_certified.training import DenoisingLoss, fit
from captum_certified.training.loss import with_noise


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()


CLASSES = torch.zeros(6, dtype=torch.int64)


class Seen(nn.Module):
    """A denoiser that keeps what it was given and returns a multiple of it."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, noisy):
        self.noisy = noisy.detach()
        return self.factor * noisy


def test_both_terms_by_hand(images, classifier):
    denoiser = Seen()
    loss = DenoisingLoss(stdev=0.3, classifier=classifier, stability=2.0, seed=0)
    value = float(loss(denoiser, images, CLASSES).detach())
    restored = 0.5 * denoiser.noisy
    classifier.requires_grad_(False)
    before, after = (scores - scores.mean(1, keepdim=True) for scores in (classifier(images), classifier(restored)))
    change = (((after - before) ** 2).sum(1) / (before**2).sum(1)).mean()
    assert value == pytest.approx(float(((restored - images) ** 2).mean() / 0.09 + 2 * change), rel=1e-5)
    alone = DenoisingLoss(stdev=0.3, seed=0)(denoiser, images, CLASSES)
    assert float(alone.detach()) == pytest.approx(float(((restored - images) ** 2).mean() / 0.09), rel=1e-5)


def test_every_example_has_its_own_noise_of_the_given_size():
    images = torch.zeros(4, 1, 64, 64)
    noisy = with_noise(images, 0.3, seed=1)
    assert float(noisy.std()) == pytest.approx(0.3, rel=0.03)
    assert not torch.equal(noisy[0], noisy[1])
    assert torch.equal(noisy, with_noise(images, 0.3, seed=1))


def test_the_classifier_is_left_alone(images, classifier):
    classifier.train()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    denoiser = Seen()
    DenoisingLoss(stdev=0.3, classifier=classifier, seed=0)(denoiser, images, CLASSES).backward()
    assert denoiser.factor.grad is not None
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert classifier.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())


def test_the_settings_name_the_classifier(classifier):
    loss = DenoisingLoss(stdev=0.3, classifier=classifier)
    assert repr(loss).startswith("DenoisingLoss(stdev=0.3, stability=10.0, classifier_weights='")
    with torch.no_grad():
        classifier[1].bias += 1
    assert repr(DenoisingLoss(stdev=0.3, classifier=classifier)) != repr(loss)


def test_a_trained_denoiser_removes_noise_and_keeps_the_class():
    generator = torch.Generator().manual_seed(0)
    halves = torch.randint(2, (256,), generator=generator)
    images = 0.2 * torch.rand(256, 1, 8, 8, generator=generator)
    for image, half in zip(images, halves.tolist(), strict=True):
        image[:, :, 4 * half : 4 * half + 4] += 0.5
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    with torch.no_grad():  # it decides by one pixel of each half, and so falls for noise
        model[1].weight.zero_()
        model[1].weight[0, 0] = model[1].weight[1, 7] = 20.0
    denoiser = small_denoiser(1, width=16, depth=1, seed=0)
    loss = DenoisingLoss(stdev=0.4, classifier=model, stability=1.0, seed=0)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    fit(denoiser, TensorDataset(images, halves), loss, optimizer=optimizer, epochs=30, batch_size=32, seed=0)
    noisy = with_noise(images, 0.4, seed=9)
    with torch.no_grad():
        assert float((denoiser(noisy) - images).square().mean()) < 0.35 * 0.16
        clean = model(images).argmax(1)
        bare = float((model(noisy).argmax(1) == clean).float().mean())
        denoised = float((Denoised(denoiser, model)(noisy).argmax(1) == clean).float().mean())
    assert bare < 0.9 < denoised


@pytest.mark.parametrize(
    ("settings", "name"), [({"stdev": 0.0}, "stdev"), ({"stdev": 0.1, "stability": -1.0}, "stability")]
)
def test_settings_are_checked(settings, name):
    with pytest.raises(InvalidInputError, match=f"`{name}`"):
        DenoisingLoss(**settings)


def test_a_model_that_is_no_denoiser_is_refused(images, classifier):
    with pytest.raises(InvalidInputError, match=r"a denoiser that returns the shape of its input, \(6, 1, 8, 8\)"):
        DenoisingLoss(stdev=0.1)(classifier, images, CLASSES)
