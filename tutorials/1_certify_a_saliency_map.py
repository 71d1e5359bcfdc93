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
# # 1. Certify a saliency map
#
# A saliency map says which pixels a classifier looks at. How much of that answer would survive a small change of the
# image that nobody sees? In this tutorial you compute a map that can be certified, certify it, and read the result:
# the number, the pixels, the radius, and what none of them says.

# %%
# %matplotlib inline
import os

import pandas as pd
import torch
from captum.attr import Attribution, Saliency
from torch.nn import functional

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.demo import load_digits, train_classifier
from captum_certified.visualization import certificate_figure, curve_figure

SMOKE = os.environ.get("CAPTUM_CERTIFIED_SMOKE") == "1"  # fewer draws, to test that everything runs
DRAWS = 1024 if SMOKE else 8192
SIGMA, RADIUS = 0.25, 0.2

# %% [markdown]
# ## A model that knows its images under noise
#
# A certificate is about the *smoothed* explanation: the average over noisy copies of the image. So the model should
# still recognise the noisy copies. This one was trained on them. The images are scikit-learn's digits, 8 × 8 pixels
# from 0 to 1, and nothing is downloaded.

# %%
digits = load_digits()
model = train_classifier(digits, sigma=SIGMA, seed=0)
images, labels = digits.test_images[:3], digits.test_labels[:3]

generator = torch.Generator().manual_seed(0)
noisy = digits.test_images + SIGMA * torch.randn(digits.test_images.shape, generator=generator)
with torch.no_grad():
    for name, batch in (("clean", digits.test_images), ("noisy", noisy)):
        accuracy = (model(batch).argmax(1) == digits.test_labels).double().mean()
        print(f"{name}: {accuracy:.1%} of the test images are classified correctly")

# %% [markdown]
# ## The explanation
#
# `SparsifiedSmoothGrad` wraps any Captum attribution. In every noisy copy it marks the most salient fraction `tau` of
# the pixels, and it averages the marks. The score of a pixel is then the share of the noisy copies in which it is
# among the most salient: a probability, and that is what makes it certifiable.

# %% mystnb={"image": {"alt": "Three digits, each with its plain saliency map and its smoothed map"}}
explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.2)
smoothed = explainer.attribute(images, target=labels, nt_samples=256, stdevs=SIGMA, seed=0)
smoothed[0, 0]

# %% [markdown]
# ## The certificate
#
# Fix everything before you look: σ, τ, the size of the top set `k`, the radius, and the number of draws. Adding draws
# until the number pleases would void it.

# %%
certifier = Certifier(explainer, confidence=0.95)
certificate = certifier.certify(images, target=labels, k=0.2, radius=RADIUS, nt_samples=DRAWS, stdevs=SIGMA, seed=0)
certificate

# %% [markdown]
# Each line is one sentence about one image: of its `k` most salient pixels at least so many are among the `k` most
# salient at *every* image within an L2 distance of 0.2. The sentence is wrong with probability at most 5 %, over the
# noise that was drawn. The number after it is of another kind: it compares the smoothed map with the plain one, and
# nothing about it is certified. The end of the line is a second certificate, of the pixels that the *plain* map marks.

# %% mystnb={"image": {"alt": "Three digits, each with its plain map, its smoothed map, and the top set on the faded digit; pixels that are certified individually are vermilion, the others of the top set pale orange"}}
figure, _ = certificate_figure(certificate, images)
figure

# %% [markdown]
# Vermilion pixels are certified *individually*. Together with some of the pale orange ones they make up the certified
# share: often it is certain that many stay, and not which.
#
# ## How far, and how sharply
#
# Drawing is the only expensive step. The certificate keeps what was measured in `certificate.map`, and any other
# radius, `k` or bound is computed from it. All radii of a curve hold together.

# %% mystnb={"image": {"alt": "The certified share of the top set falls in steps over the radius, for the bounds best, clopper_pearson and theorem2; theorem2 is the lowest"}}
radii = torch.linspace(0, 0.5, 51)
figure, _ = curve_figure(certificate.map, k=0.2, radii=radii, bounds=("best", "clopper_pearson", "theorem2"))
figure

# %% [markdown]
# `theorem2` is the bound of the paper as printed, `clopper_pearson` the exact interval for shares of draws. `best`
# splits its error probability between those intervals and a second bound, from the covariance of the draws. With
# features as few as here that hardly matters; on photographs it is what reaches far ({doc}`/theory/spectral`). Choose
# the bound, too, before you look.
#
# The question can be turned round: up to which radius is half of the top set certified? And how far does each pixel
# of the first image stay?

# %%
certifier.radius(certificate.map, k=0.2, overlap=0.5)

# %%
frame = certificate.to_frame()
frame[frame["example"] == 0].sort_values("mean", ascending=False).head(6).round(3)

# %% [markdown]
# ## Is it worth anything?
#
# A map that never moves has a perfect certificate and may say nothing. So look at the second certificate,
# `certificate.of_plain`: how much of the plain map's top set provably stays. Compare it with maps that know nothing of
# the trained model: a top set chosen by chance, the brightest pixels, and the same method on re-initialised weights.
# `margin` is the certified share minus the largest of these three.


# %%
def worth(certificate):
    numbers = {
        "certified": certificate.overlap_fraction,
        "chance": certificate.chance,
        "brightness": certificate.brightness,
        "random weights": certificate.randomised,
        "margin": certificate.margin,
    }
    return pd.DataFrame({name: shares.numpy() for name, shares in numbers.items()}).round(2)


worth(certificate.of_plain)

# %% [markdown]
# Now two shams: explainers that look at no model. One shows a bump in the middle, whatever the image. The other shows
# the edges of the image.

# %%
ticks = torch.linspace(-1, 1, 8)
BUMP = torch.exp(-2 * ((ticks - 0.01).square() + (ticks.unsqueeze(1) - 0.02).square()))
SOBEL = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]])


class ConstantMap(Attribution):
    def attribute(self, inputs, **_):
        return BUMP.expand_as(inputs)


class EdgeDetector(Attribution):
    def attribute(self, inputs, **_):
        padded = functional.pad(inputs, (1, 1, 1, 1), mode="replicate")
        return functional.conv2d(padded, torch.stack([SOBEL, SOBEL.T]).unsqueeze(1)).norm(dim=1, keepdim=True)


# %% [markdown]
# Certify each sham twice: its own top set, and the top set of Saliency's plain map, which is given as a mask. The
# edges of such small images move under noise, so the radius is smaller here.

# %%
reference, rows = certificate.of_plain.members, {}
for name, method in (("Saliency", Saliency), ("constant map", ConstantMap), ("edges", EdgeDetector)):
    explained = SparsifiedSmoothGrad(method(model), tau=0.2).sample(
        images, target=labels, nt_samples=DRAWS, stdevs=SIGMA, seed=0
    )
    own = certifier.top_k(explained, k=0.2, radius=0.01)
    shared = certifier.top_k(explained, k=0.2, radius=0.01, reference=reference)
    rows[name] = {"its own top set": float(own.overlap_fraction.mean()), **worth(shared).mean()}
pd.DataFrame(rows).T.rename(columns={"certified": "Saliency's top set"}).round(2)

# %% [markdown]
# The constant map's own top set is certified completely, and most of the edges' too. Neither has a margin. The
# constant map shares more with Saliency than chance and brightness do, because digits stand in the middle of their
# images. But new weights do not change it, so the column "random weights" shows the same share, and the margin is zero.
#
# The margin has limits. It shows that a map depends on the weights, not that the map is right. And where `randomised`
# is `None`, because the weights cannot be replaced or the explainer holds no model, the comparison that exposes a sham
# is missing.
#
# ## What it does not say
#
# A certificate is about stability, not about truth. A linear model makes the point: its gradient is the same at every
# image, so its saliency map cannot be moved at all. All of the top set is certified, with a large margin, for a model
# that was never trained.

# %%
torch.manual_seed(0)
linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
untrained = SparsifiedSmoothGrad(Saliency(linear), tau=0.2)
smoothed = untrained.sample(images, target=labels, nt_samples=512, stdevs=SIGMA, seed=0)
worth(certifier.top_k(smoothed, k=0.2, radius=RADIUS).of_plain)

# %% [markdown]
# Nor does it speak of larger changes, of other norms than L2, or of a model that is changed.
#
# ## Keep it
#
# `save` writes everything into one file without pickle. To give somebody a result to check, see {doc}`the quick start
# </quickstart>`. The {doc}`next tutorial </tutorials/2_attack_it>` attacks what was certified here.
