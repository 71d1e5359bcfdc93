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
# # 2. Attack it
#
# A certificate is a promise about every perturbation. An attack is one perturbation, chosen with malice. If the
# promise is sound, the attack never gets below it; if the two meet, the promise is sharp. This tutorial attacks a
# plain saliency map, and then one that is certified.

# %%
# %matplotlib inline
import os

import torch
from captum.attr import Saliency

from captum_certified import Certifier, InterpretationAttack, SparsifiedSmoothGrad
from captum_certified.demo import load_digits, train_classifier
from captum_certified.robust import challenge_certificate
from captum_certified.visualization import attack_figure, curve_figure

SMOKE = os.environ.get("CAPTUM_CERTIFIED_SMOKE") == "1"  # fewer draws, to test that everything runs
DRAWS, IMAGES, STEPS = (512, 2, 2) if SMOKE else (4096, 6, 10)
SIGMA = 0.25
RADII = [0.1, 0.2, 0.3, 0.4]

digits = load_digits()
model = train_classifier(digits, sigma=SIGMA, seed=0)
images = digits.test_images[:IMAGES]
with torch.no_grad():
    classes = model(images).argmax(1)

# %% [markdown]
# ## The plain map
#
# `InterpretationAttack` is Algorithm 1 of the paper. It searches within an L2 ball for the image that moves the most
# saliency out of the top K while the predicted class stays. It is a Captum perturbation, so it also works inside
# `captum.robust` and `captum.metrics`.

# %%
saliency = Saliency(model)
attack = InterpretationAttack(model, saliency, lower_bound=0.0, upper_bound=1.0)
result = attack.attack(images, 1.0, k=0.2, target=classes, step_num=STEPS, n_restarts=2, seed=0)
print("left of the top K:", [f"{share:.0%}" for share in result.overlap_fraction.tolist()])
print("class kept:       ", result.class_kept.tolist())

# %% mystnb={"image": {"alt": "Two digits and their plain maps before and after an attack; pixels that stay in the top set are blue, those that leave purple, those that enter yellow"}}
before, after = (
    saliency.attribute(x[:2].clone().requires_grad_(), target=classes[:2]) for x in (images, result.perturbed)
)
figure, _ = attack_figure(images[:2], result.perturbed[:2], before, after, k=0.2)
figure

# %% [markdown]
# Nothing can be certified about this map: it was not smoothed.
#
# ## The certified map
#
# `challenge_certificate` attacks the smoothed explanation within the radius of its certificate, and measures the
# result with draws that neither the certificate nor the attack has seen. A certificate holds whatever becomes of the
# class and whether or not the pixels stay between 0 and 1, so the hardest test is `keep_class=False`, without bounds.

# %%
explainer = SparsifiedSmoothGrad(saliency, tau=0.2)
certifier = Certifier(explainer)
certified = certifier.certify(images, target=classes, k=0.2, radius=0.2, nt_samples=DRAWS, stdevs=SIGMA, seed=1)

attacked = {}
for radius in RADII:
    certificate = certifier.top_k(certified.map, k=0.2, radius=radius)
    challenge = challenge_certificate(
        certificate, explainer, images, target=classes, step_num=STEPS, keep_class=False, seed=2
    )
    attacked[radius] = challenge.overlap_fraction

# %% mystnb={"image": {"alt": "The certified share of the top set falls in steps over the radius; crosses for what attacks left lie above the curves"}}
radii = torch.linspace(0, max(RADII), 41)
figure, _ = curve_figure(certified.map, k=0.2, radii=radii, attacked=attacked)
figure

# %% [markdown]
# The truth, the worst that any perturbation can do, lies between the curve and the crosses. What narrows the gap from
# below are more draws and sharper bounds, from above stronger attacks.
#
# For comparison, what does a random perturbation of the same size leave?

# %%
for radius in RADII:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(3))
    moved = images + radius * noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    there = explainer.sample(moved, target=classes, nt_samples=DRAWS, stdevs=SIGMA, seed=4, covariance=False)
    top = certifier.top_k(there, k=0.2, radius=0.0).top_k
    by_chance = float((certified.top_k & top).sum(1).double().mean()) / certified.k
    by_attack = float(attacked[radius].double().mean())
    print(f"ρ = {radius:g}: {by_chance:.0%} left by a random perturbation, {by_attack:.0%} by the attack")

# %% [markdown]
# Two remarks on fairness. A random perturbation is no test of robustness, as the numbers show. And an attack that is
# compared with a certificate must attack the *same* explanation: the smoothed one, with its σ and τ.
#
# Two of the images at the largest radius, side by side:

# %% mystnb={"image": {"alt": "Two digits and their smoothed maps before and after an attack; most pixels of the top set are blue, because they stay"}}
figure, _ = attack_figure(
    images[:2],
    challenge.perturbed[:2],
    certified.map.mean[:2],
    challenge.map.mean[:2],
    k=0.2,
    certified=certificate.overlap_fraction[:2],
)
figure

# %% [markdown]
# {doc}`/howto/attack` has the rest: networks with ReLUs, `captum.robust`, `captum.metrics`; and
# {doc}`/howto/own_objective` shows how to search with an objective of your own.
