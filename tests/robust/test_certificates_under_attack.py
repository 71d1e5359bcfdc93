"""No attack on a trained network refutes a certificate: attacked overlaps are at least the certified ones."""

import sys

import numpy as np
import pytest
import torch
from captum.attr import Saliency

from captum_certified import Certifier, InterpretationAttack, SparsifiedSmoothGrad
from captum_certified.theory import clopper_pearson_interval, top_k_mask

pytestmark = pytest.mark.slow

BOUNDS = ("theorem2", "clopper_pearson", "spectral", "best")
K, TAU = 0.2, 0.1
BETA = 20.0


def loaded(shared_data, name):
    sys.path.insert(0, str(shared_data))
    from models import load

    sys.path.remove(str(shared_data))
    return load(name)


def overlaps(members, attacked):
    """Return the overlap of a top set with the top set of an attacked map, measured and at most.

    The draws at the attacked input have Clopper-Pearson intervals, which all hold together except with probability one
    in a million. The second overlap is the largest of all maps within these intervals.
    """
    members, counts = members.numpy(), attacked.counts.reshape(1, -1).numpy()
    k = int(members.sum())
    low, high = clopper_pearson_interval(counts, int(attacked.n_samples), tail=1e-6 / (2 * counts.size))
    measured, _ = top_k_mask(counts / int(attacked.n_samples), k)
    kindest, _ = top_k_mask(np.where(members, high, low) + 1e-15 * members, k)
    return int((members & measured).sum()), int((members & kindest).sum())


def attacked_overlaps(network, explainer, image, target, members, radius, *, sigma, steps, draws, batch):
    """Attack the explanation without keeping the class, and measure it with draws of another seed."""
    attack = InterpretationAttack(network, explainer, surrogate_beta=BETA)
    perturbed = attack.perturb(
        image, radius, k=K, step_num=steps, n_restarts=1, target=target, keep_class=False, seed=1,
        attribution_kwargs={"nt_samples": 16, "stdevs": sigma},
    )  # fmt: skip
    assert float((perturbed - image).double().norm()) <= radius
    at_attack = explainer.sample(
        perturbed, nt_samples=draws, nt_samples_batch_size=batch, stdevs=sigma, target=target, seed=2, covariance=False
    )
    return overlaps(members, at_attack)


@pytest.fixture(scope="module")
def resnet(shared_data):
    images = torch.from_numpy(np.load(shared_data / "cifar10_test.npz")["images"][:10]).permute(0, 3, 1, 2) / 255
    network, rows = loaded(shared_data, "resnet20_cifar10"), []
    yield network, images, rows
    for radius in sorted({row[0] for row in rows}):
        certified, measured, afar = np.mean([row[1:] for row in rows if row[0] == radius], axis=0)
        print(
            f"\n  mean at ρ = {radius}: certified {certified:.3f}, attacked {measured:.3f}, attacked at 4ρ {afar:.3f}, "
            f"which is {afar / certified:.2f} of what is certified at ρ"
        )


@pytest.mark.parametrize("number", range(10))
def test_resnet_is_never_below_its_certificates(resnet, number):
    """The certificate has 8192 draws, the attacked input 20,000, and an input at four times the radius 1024."""
    network, images, rows = resnet
    sigma, image = 0.1, images[number : number + 1]
    explainer = SparsifiedSmoothGrad(Saliency(network), tau=TAU)
    target = int(network(image).argmax())
    sampled = explainer.sample(image, nt_samples=8192, stdevs=sigma, target=target, seed=0)
    for radius in (0.01, 0.03, 0.06):
        certificates = [Certifier(bound=bound).top_k(sampled, k=K, radius=radius) for bound in BOUNDS]
        members, k = certificates[0].top_k, certificates[0].k
        measured, possible = attacked_overlaps(
            network, explainer, image, target, members, radius, sigma=sigma, steps=20, draws=20_000, batch=64
        )
        afar, _ = attacked_overlaps(
            network, explainer, image, target, members, 4 * radius, sigma=sigma, steps=20, draws=1024, batch=64
        )
        certified = [int(certificate.overlap) for certificate in certificates]
        print(
            f"\n  image {number}, σ = {sigma}, ρ = {radius}: "
            + ", ".join(f"{bound} {c / k:.3f}" for bound, c in zip(BOUNDS, certified, strict=True))
            + f", attacked {measured / k:.3f}, headroom {certified[-1] / measured:.3f}, at 4ρ {afar / k:.3f}",
            flush=True,
        )
        assert possible >= max(certified)
        rows.append((radius, max(certified) / k, measured / k, afar / k))


def test_mobilenet_is_never_below_its_certificates(shared_data):
    pil = pytest.importorskip("PIL.Image")
    from torchvision import transforms

    network, sigma, radius = loaded(shared_data, "mobilenet_v1_075"), 0.2, 0.05
    prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    [path] = (shared_data / "imagenet64").glob("207_*.JPEG")
    image = prepare(pil.open(path).convert("RGB")).unsqueeze(0)
    target = int(network(image).argmax())
    explainer = SparsifiedSmoothGrad(Saliency(network), tau=TAU)
    sampled = explainer.sample(image, nt_samples=4096, nt_samples_batch_size=16, stdevs=sigma, target=target, seed=0)
    certificates = [Certifier(bound=bound).top_k(sampled, k=K, radius=radius) for bound in BOUNDS]
    certified, k = [int(certificate.overlap) for certificate in certificates], certificates[0].k
    measured, possible = attacked_overlaps(
        network, explainer, image, target, certificates[0].top_k, radius, sigma=sigma, steps=10, draws=4096, batch=16
    )
    print(f"\nMobileNet, image 207, ρ = {radius}: certified {[round(c / k, 3) for c in certified]}, attacked "
          f"{measured / k:.3f}, at most {possible / k:.3f} by its draws")  # fmt: skip
    assert possible >= max(certified)
