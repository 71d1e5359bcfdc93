# ---
# jupytext:
#   text_representation:
#     extension: .py
#     format_name: percent
# kernelspec:
#   display_name: Python 3
#   language: python
#   name: python3
# ---

# %% [markdown]
# # 7. Train for robust explanations
#
# A certificate tells how much of an explanation holds; it does not make it hold. The network does, and it can be
# trained to. This tutorial trains the network that the paper uses for MNIST, on scikit-learn's digits enlarged to its
# size, once plainly and once against the attack on its own saliency maps (Appendix D.1), and compares the two: how well
# they classify, what an attack leaves of their explanations, and what can be certified.

# %%
# %matplotlib inline
import copy
import os
import warnings

import torch
from captum.attr import Saliency
from torch.utils.data import TensorDataset

from captum_certified import Certifier, InterpretationAttack, SparsifiedSmoothGrad
from captum_certified.demo import load_digits
from captum_certified.training import GaussianAugmentationLoss, SaliencyAdversarialLoss, fit, mnist_network
from captum_certified.visualization import attack_figure

SMOKE = (
    os.environ.get("CAPTUM_CERTIFIED_SMOKE") == "1"
)  # fewer epochs, images and draws: everything runs, little is learnt
FIRST_EPOCHS, EPOCHS, TRAINED, IMAGES, DRAWS = (1, 1, 128, 3, 64) if SMOKE else (20, 6, 1500, 24, 2048)
RADIUS = 2.0

digits = load_digits()


def enlarged(images):
    """8 × 8 pixels as 28 × 28, the size the network takes."""
    return torch.nn.functional.interpolate(images, size=28, mode="bilinear").clamp(0, 1)


train = TensorDataset(enlarged(digits.train_images)[:TRAINED], digits.train_labels[:TRAINED])
test_images, test_labels = enlarged(digits.test_images), digits.test_labels

# %% [markdown]
# ## Two networks from one
#
# Both begin with the same plainly trained network, and are trained for some epochs more: one with the cross-entropy
# alone (noise of standard deviation 0), one with cross-entropy plus the squared distance between the saliency map of an
# image and that of its attacked copy. `fit` is a plain training loop; any other will do.


# %%
def trained(model, loss, epochs):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    result = fit(model, train, loss, optimizer=optimizer, epochs=epochs, batch_size=64, seed=0)
    print(f"{type(loss).__name__}: mean loss of the last epoch {result.losses[-1]:.3f}")
    return model.eval()


first = trained(mnist_network(seed=0), GaussianAugmentationLoss(stdev=0.0), FIRST_EPOCHS)
plain = trained(copy.deepcopy(first), GaussianAugmentationLoss(stdev=0.0), EPOCHS)
robust = trained(
    copy.deepcopy(first),
    SaliencyAdversarialLoss(radius=RADIUS, weight=2.0, step_num=5, lower_bound=0.0, upper_bound=1.0, seed=0),
    EPOCHS,
)

# %% [markdown]
# ## What the attack leaves
#
# Training used five steps from one start; here the attack has twenty from each of five. An attack that is no stronger
# than that of the training says little.

# %%
networks = {"plain": plain, "robust": robust}
attacks, accuracies = {}, {}
for name, model in networks.items():
    with torch.no_grad():
        accuracies[name] = (model(test_images).argmax(1) == test_labels).double().mean().item()
    attack = InterpretationAttack(model, Saliency(model), lower_bound=0.0, upper_bound=1.0)
    attacks[name] = attack.attack(test_images[:IMAGES], RADIUS, k=0.25, seed=1)
    left = attacks[name].mean_overlap_fraction
    print(f"{name}: {accuracies[name]:.1%} right; the attack leaves {left:.1%} of the top quarter of the map")

# %% [markdown]
# The maps of one digit show what happened: in the first row those of the plain network, in the second those of the
# trained one, each before and after the attack on it.

# %% mystnb={"image": {"alt": "A digit and its maps before and after an attack, for the plain network and for the trained one; pixels of the top set that stay are blue"}}
K = 196
clean = test_images[:1].repeat(len(networks), 1, 1, 1)
perturbed = torch.cat([attacks[name].perturbed[:1] for name in networks])
before, after = (
    torch.cat(
        [
            Saliency(model).attribute(x.clone().requires_grad_(), target=model(test_images[:1]).argmax(1))
            for model, x in zip(networks.values(), batch.split(1), strict=True)
        ]
    )
    for batch in (clean, perturbed)
)
figure, _ = attack_figure(clean, perturbed, before, after, k=K, names=list(networks))
figure

# %% [markdown]
# ## What can be certified
#
# Training against an attack proves nothing. The certificate does, for both networks alike, however they were trained.
# Its noise is new to both: neither was trained for it. `certify` warns about this, because most noisy copies lose the
# class. The warning is silenced here, and the numbers behind it are printed: the fraction of noisy copies that keep the
# class, and how much of the *plain* map's top set is certified, beside chance.

# %%
for name, model in networks.items():
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.25)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The certificate of example")
        certificate = Certifier(explainer).certify(
            test_images[:3],
            target=model(test_images[:3]).argmax(1),
            k=0.25,
            radius=0.1,
            nt_samples=DRAWS,
            stdevs=0.3,
            seed=0,
        )
    plain = certificate.of_plain
    print(
        f"{name}: certified at radius 0.1: {certificate.overlap_fraction.mean():.1%}, of the plain map "
        f"{plain.overlap_fraction.mean():.1%} (chance {plain.chance.mean():.1%}); class kept in "
        f"{certificate.class_kept.mean():.1%} of noisy copies"
    )

# %% [markdown]
# An attack that finds little is a hope; the certified number is what holds. Use both: the attack to compare trainings
# quickly, the certificate for what you publish. And train under the noise that you certify with: otherwise the network
# hardly sees the noisy copies.
