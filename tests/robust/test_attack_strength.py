"""Figure 6 for a trained ResNet-20: which attack is stronger, and which explanation is harder to attack."""

import itertools
import sys

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency

from captum_certified import GhorbaniAttack, InterpretationAttack, RelaxedSparsifiedSmoothGrad, top_k_intersection

pytestmark = pytest.mark.slow

K = 0.25
BETA = 20.0  # β of the softplus surrogate
SIGMA, DRAWS, MEASURED = 0.1, 16, 64
TAU, GAMMA = (
    0.3,
    0.1,
)  # τ exceeds the top quarter that is measured, because features that are never salient have no rank
BOX = {"lower_bound": 0.0, "upper_bound": 1.0}


@pytest.fixture(scope="module")
def network(shared_data):
    sys.path.insert(0, str(shared_data))
    from models import load

    sys.path.remove(str(shared_data))
    return load("resnet20_cifar10")


@pytest.fixture(scope="module")
def photographs(shared_data):
    stored = np.load(shared_data / "cifar10_test.npz")["images"][:64]
    return torch.from_numpy(stored).permute(0, 3, 1, 2).float() / 255


def difference(one, two):
    """Return the mean of the paired differences with its 95 % bootstrap interval."""
    paired = (one - two).double().numpy()
    resampled = np.random.default_rng(0).choice(paired, (10_000, len(paired))).mean(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(paired.mean()), float(low), float(high)


def assert_ordered(overlaps):
    """Check that every attack leaves no more overlap than the next, unless the interval of the difference holds 0."""
    for (stronger, a), (weaker, b) in itertools.pairwise(overlaps):
        mean, low, high = difference(a, b)
        print(f"    {stronger} − {weaker}: {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        assert mean <= 0 or low <= 0


def attacks(network, method, *, steps, restarts):
    """Return the three attacks of the figure; each takes images and a radius and returns its result."""
    ascent = InterpretationAttack(network, method, surrogate_beta=BETA, **BOX)
    signs = GhorbaniAttack(network, method, norm="L2", surrogate_beta=BETA, **BOX)
    chance = InterpretationAttack(network, method, objective="random", **BOX)
    return {
        "top_k": lambda x, radius, **more: ascent.attack(x, radius, step_num=steps, n_restarts=restarts, **more),
        "ghorbani": lambda x, radius, **more: signs.attack(x, radius, **more),
        "random": chance.attack,
    }


def test_the_order_of_the_attacks_on_plain_gradients_is_that_of_figure_6(network, photographs):
    print(f"\nSaliency, softplus β = {BETA:g}, 64 images, K = n/4, P = 20, Q = 100, T = 5")
    for radius in (0.05, 0.1, 0.25, 0.5):
        results = {
            name: attack(photographs, radius, k=K, n_draws=100, seed=0) if name != "ghorbani" else
            attack(photographs, radius, k=K, seed=0)
            for name, attack in attacks(network, Saliency(network), steps=20, restarts=5).items()
        }  # fmt: skip
        print(f"  ρ = {radius}: " + ", ".join(
            f"{name} {r.mean_overlap_fraction:.3f} ({int(r.succeeded.sum())} succeeded)" for name, r in results.items()
        ))  # fmt: skip
        assert_ordered([(name, r.overlap_fraction) for name, r in results.items()])


def smooth(method, images, targets, seed, **more):
    """Return the map over draws of another seed than the attack's."""
    arguments = {"target": targets, "nt_samples": MEASURED, "stdevs": SIGMA, **more}
    if isinstance(method, NoiseTunnel):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return method.attribute(images, nt_samples_batch_size=4, **arguments)
    return method.attribute(images, seed=seed, **arguments)


@pytest.mark.parametrize("radius", [0.5, 1.0])
def test_the_relaxed_map_is_harder_to_attack_than_smoothgrad(network, photographs, radius):
    """Return SmoothGrad as its authors and the paper define it: the magnitude of the mean gradient."""
    images = photographs[:16]
    targets = network(images).argmax(dim=1)
    methods = {
        "SmoothGrad": NoiseTunnel(Saliency(network)),
        "Relaxed": RelaxedSparsifiedSmoothGrad(Saliency(network), tau=TAU, gamma=GAMMA),
    }
    signed = {"SmoothGrad": {"abs": False}, "Relaxed": {}}
    print(f"\nσ = {SIGMA}, β = {BETA:g}, 16 images, {DRAWS} draws attacked, {MEASURED} measured, P = 10, T = 2")
    kept, points = {}, {}
    for kind, method in methods.items():
        clean, kept[kind] = smooth(method, images, targets, 1, **signed[kind]), {}
        for name, attack in attacks(network, method, steps=10, restarts=2).items():
            arguments = {"nt_samples": DRAWS, "stdevs": SIGMA, **signed[kind]}
            budget = {"step_num": 40} if name == "ghorbani" else {}  # twice the steps of Algorithm 1
            result = attack(images, radius, k=K, target=targets, attribution_kwargs=arguments, seed=0, **budget)
            points[kind, name] = result.perturbed
            attacked = smooth(method, result.perturbed, targets, 1, **signed[kind])
            kept[kind][name] = top_k_intersection(clean, attacked, k=K)
        print(f"  ρ = {radius}, {kind}: " + ", ".join(f"{n} {v.mean():.3f}" for n, v in kept[kind].items()))
        assert_ordered(list(kept[kind].items()))
    relaxed = methods["Relaxed"]
    transferred = top_k_intersection(
        smooth(relaxed, images, targets, 1), smooth(relaxed, points["SmoothGrad", "top_k"], targets, 1), k=K
    )
    hardest = torch.minimum(kept["Relaxed"]["top_k"], transferred)
    mean, low, high = difference(hardest, kept["SmoothGrad"]["top_k"])
    print(f"    transferred to Relaxed {transferred.mean():.3f}, the worse of both {hardest.mean():.3f}")
    print(f"    Relaxed − SmoothGrad: {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    assert mean > 0
