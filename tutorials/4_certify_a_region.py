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
# # 4. Certify where a model looks
#
# Sometimes the question is not which pixels are salient but whether they lie in the right place: on the lesion, not
# on the ruler beside it. A *region certificate* states how much of the saliency stays in a region that was fixed
# beforehand. Here it exposes a shortcut: a model that reads a tag in the corner instead of the digit.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import torch
from captum.attr import Saliency
from torch import nn

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.demo import load_digits
from captum_certified.maps import select_rows
from captum_certified.visualization import region_figure
from captum_certified.visualization.colours import KINDS

SMOKE = os.environ.get("CAPTUM_CERTIFIED_SMOKE") == "1"  # fewer draws and epochs, to test that everything runs
DRAWS, EPOCHS = (512, 3) if SMOKE else (8192, 15)
SIGMA, RADIUS = 0.25, 0.2

# %% [markdown]
# ## A shortcut, built on purpose
#
# The task: is the digit odd? Each digit is pasted into a canvas of 12 × 12 pixels. In the first training set a tag of
# 3 × 3 pixels in the upper left corner is bright exactly when the answer is yes, as a hospital's token may be on the
# images of the severe cases. In the second it is bright at random.


# %%
def tagged(images, bright):
    """Digits in the lower right of a canvas, with a tag that is bright or dark."""
    canvas = torch.zeros(len(images), 1, 12, 12)
    canvas[:, :, 4:, 4:] = images
    canvas[:, :, :3, :3] = 0.8 * bright.view(-1, 1, 1, 1)
    return canvas


def trained(images, odd):
    """A small network, trained under noise."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, stride=2),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(8 * 36, 32),
        nn.Softplus(),
        nn.Linear(32, 2),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(64):
            loss = nn.functional.cross_entropy(model(images[rows] + SIGMA * torch.randn_like(images[rows])), odd[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


digits = load_digits()
odd, test_odd = digits.train_labels % 2, digits.test_labels % 2
chance = torch.rand(len(odd), generator=torch.Generator().manual_seed(0)).round()
models = {
    "tag gives it away": trained(tagged(digits.train_images, odd), odd),
    "tag at random": trained(tagged(digits.train_images, chance), odd),
}

# %% [markdown]
# As long as test images carry the tag as the training images did, the model with the shortcut even looks the better
# one. Images with the tag turned round would tell; an auditor seldom has them.

# %%
for name, model in models.items():
    honest = (model(tagged(digits.test_images, test_odd)).argmax(1) == test_odd).double().mean()
    turned = (model(tagged(digits.test_images, 1 - test_odd)).argmax(1) == test_odd).double().mean()
    print(f"{name}: {honest:.0%} correct with the tag telling the answer, {turned:.0%} with the tag turned round")

# %% [markdown]
# ## Regions are fixed before the draws
#
# A region is a boolean mask, here the same for all images; several get names. It must not be computed from the image
# that may be perturbed.

# %%
tag, digit = torch.zeros(1, 1, 12, 12, dtype=torch.bool), torch.zeros(1, 1, 12, 12, dtype=torch.bool)
tag[..., :3, :3] = True
digit[..., 4:, 4:] = True
images = tagged(digits.test_images[:6], test_odd[:6])
print(f"the tag is {tag.double().mean():.1%} of the pixels, the digit {digit.double().mean():.1%}")

certificates, maps = {}, {}
for name, model in models.items():
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.1)
    maps[name] = explainer.sample(
        images,
        target=test_odd[:6],
        nt_samples=DRAWS,
        stdevs=SIGMA,
        seed=0,
        region={"tag": tag, "digit": digit},
    )
    for region in ("tag", "digit"):
        certificates[name, region] = Certifier().region(maps[name], name=region, radius=RADIUS)
certificates["tag gives it away", "tag"]

# %% mystnb={"image": {"alt": "Two images with a tag in the corner, the smoothed maps of the model that reads the tag with the outline of the tag, and bars: much of the saliency certifiably stays in it"}}
numbers = ["odd" if number else "even" for number in test_odd[:2]]
in_tag = {
    name: Certifier().region(select_rows(smoothed, torch.arange(2)), name="tag", radius=RADIUS)
    for name, smoothed in maps.items()
}
figure, _ = region_figure(in_tag["tag gives it away"], images[:2], labels=numbers)
figure

# %% mystnb={"image": {"alt": "The same images and the smoothed maps of the model that was trained with random tags; little or nothing certifiably stays in the tag"}}
figure, _ = region_figure(in_tag["tag at random"], images[:2], labels=numbers)
figure

# %% [markdown]
# The white outline is the tag. The bars show what is proved: at every image within the radius at least so much of
# the saliency lies in the tag. For the first model that is proof of the shortcut, image by image, and no small
# perturbation explains it away. For the second little or nothing is proved about the tag; what is proved about the
# digit?

# %% mystnb={"image": {"alt": "The certified share of the saliency over the radius, in steps: for the first model the tag holds most of it, for the second the digit"}}
radii = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
figure, axes = plt.subplots(figsize=(8.2, 4), layout="constrained")
for region, color in (("tag", KINDS[0]), ("digit", KINDS[3])):
    for name, style in zip(models, ("-", "--"), strict=True):
        mass = [Certifier().region(maps[name], name=region, radius=r).mass.mean() for r in radii]
        axes.step(radii, mass, where="pre", color=color, linestyle=style, label=f"{region}; {name}")
axes.set(xlabel="radius ρ", ylabel="certified share of the saliency", xlim=(0, 0.3), ylim=(0, 1.03))
axes.spines[["top", "right"]].set_visible(False)
_ = axes.legend(frameon=False, title="region; model", fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))

# %% [markdown]
# Each certificate holds with its confidence by itself. To state two regions together, ask each for half of the error
# probability: `Certifier(confidence=0.975)`.
#
# A lower bound is also an upper bound on the rest: if at least 70 % of the saliency stays on the digit, at most 30 %
# can move anywhere else.
#
# The share is that of one noisy copy, averaged over noisy copies; for sparsified maps it is the share of the smoothed
# map. That saliency lies in a region is a fact about the map. That the model *uses* the region is an inference from
# it, as strong as the attribution method is faithful.
