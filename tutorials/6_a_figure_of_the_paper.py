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
# # 6. A figure of the paper
#
# Figure 6 of Levine, Singla and Feizi compares three ways to perturb an image so that its explanation changes: their
# Algorithm 1, the attack of Ghorbani, Abid and Zou made to stay in an L2 ball, and random noise. This tutorial
# repeats the experiment in miniature, on digits and a small network, without a download. The numbers are those of
# this network, not the paper's; the question is the same.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import torch
from captum.attr import Saliency

from captum_certified import GhorbaniAttack, InterpretationAttack
from captum_certified.demo import load_digits, train_classifier
from captum_certified.visualization.colours import ATTACKED, BESIDE

SMOKE = os.environ.get("CAPTUM_CERTIFIED_SMOKE") == "1"  # fewer images and steps, to test that everything runs
IMAGES, STEPS, RESTARTS, SIGN_STEPS = (4, 3, 1, 5) if SMOKE else (32, 20, 3, 100)
RADII = [0.25, 0.5, 0.75, 1.0]

digits = load_digits()
model = train_classifier(digits, sigma=0.1, seed=0)
images = digits.test_images[:IMAGES]
with torch.no_grad():
    classes = model(images).argmax(1)

# %% [markdown]
# ## Three attacks under one roof
#
# All of them drive saliency out of the top K of the plain gradient map, stay in the ball, keep pixels in [0, 1], and
# keep the predicted class. Whatever they return is measured in the same way, on the model itself.

# %%
saliency = Saliency(model)
box = {"lower_bound": 0.0, "upper_bound": 1.0}
attacks = {
    "random": (InterpretationAttack(model, saliency, objective="random", **box), {}),
    "Ghorbani et al., in L2": (GhorbaniAttack(model, saliency, norm="L2", **box), {"step_num": SIGN_STEPS}),
    "Algorithm 1": (
        InterpretationAttack(model, saliency, **box),
        {"step_num": STEPS, "n_restarts": RESTARTS},
    ),
}
results = {
    name: [attack.attack(images, radius, k=0.2, target=classes, seed=0, **settings) for radius in RADII]
    for name, (attack, settings) in attacks.items()
}

# %% mystnb={"image": {"alt": "What is left of the top set over the radius, after random perturbations, the attack of Ghorbani et al., and Algorithm 1"}}
styles = dict(zip(attacks, ((BESIDE, "^:"), (ATTACKED, "s--"), (ATTACKED, "o-")), strict=True))
figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
for name, outcomes in results.items():
    shares = [100 * outcome.mean_overlap_fraction for outcome in outcomes]
    color, style = styles[name]
    axes.plot(RADII, shares, style, color=color, label=name)
axes.set(xlabel="radius ρ", ylabel="left of the top K, % (mean over images)", ylim=(0, 102), xticks=RADII)
axes.spines[["top", "right"]].set_visible(False)
_ = axes.legend(frameon=False, loc="lower left")

# %% [markdown]
# Lower is a stronger attack. An image on which an attack finds no point that keeps the class counts as 100 %:
# otherwise an attack would look stronger by failing.

# %%
for name, outcomes in results.items():
    print(f"{name:24}", [f"{outcome.succeeded.double().mean():.0%} found" for outcome in outcomes])

# %% [markdown]
# ## Is the difference more than chance?
#
# A mean over a few images is a shaky number. Image by image, on the same images, the comparison is firmer: how often
# does each attack leave less than the other?

# %%
ours = torch.stack([outcome.overlap for outcome in results["Algorithm 1"]])
theirs = torch.stack([outcome.overlap for outcome in results["Ghorbani et al., in L2"]])
for radius, a, b in zip(RADII, ours, theirs, strict=True):
    print(
        f"ρ = {radius:g}: Algorithm 1 leaves less on {int((a < b).sum())} images, more on {int((a > b).sum())}, "
        f"the same on {int((a == b).sum())}"
    )

# %% [markdown]
# ## What an attack cannot show
#
# The lowest curve is an upper bound on what the worst perturbation leaves, never a lower one: a cleverer search may
# leave less. Lower bounds are certificates, and this map has none, because it is not smoothed.
# {doc}`/tutorials/2_attack_it` puts both into one picture. Which object of the package belongs to which result of the
# paper: {doc}`/paper`.
