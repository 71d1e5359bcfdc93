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
# # 5. Choose σ, τ, K and the number of draws
#
# Four numbers decide what a certificate can say. None of them may be chosen by looking at the certificates that will
# be reported. So choose on *pilot* images, with few draws, then fix the numbers and certify other images. The pilot
# costs little, because one map answers for every K and radius, several τ share their draws, and a forecast says what
# more draws would bring.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
from captum.attr import Saliency

from captum_certified import Certifier, SparsifiedSmoothGrad, pilot, radius_in_units
from captum_certified.demo import load_digits, train_classifier
from captum_certified.visualization import pilot_figure
from captum_certified.visualization.colours import ordered

SMOKE = os.environ.get("CAPTUM_CERTIFIED_SMOKE") == "1"  # fewer draws, to test that everything runs
PILOT_DRAWS, DRAWS, IMAGES = (256, 512, 4) if SMOKE else (512, 8192, 12)
RADIUS = 0.15

digits = load_digits()
model = train_classifier(digits, sigma=0.25, seed=0)
images, labels = digits.train_images[:IMAGES], digits.train_labels[:IMAGES]  # of the pilot
saliency = Saliency(model)

# %% [markdown]
# ## The radius: what you want to say
#
# The radius is the claim. Compare it with changes that you know before you choose anything else.

# %%
print(radius_in_units(RADIUS, images))

# %% [markdown]
# ## σ and τ: a table
#
# A certificate depends on the radius only through ρ/σ, so at equal scores more noise reaches farther. But the smoothed
# map explains noisy copies. When the model no longer recognises them, the certificate is about something nobody asked
# for. τ and K need not be equal, but far apart they rarely do well: with a small τ the features at the edge of the top
# set are hardly ever marked, with a large one all of them nearly always are, and either way their scores leave no gap.
#
# `pilot` samples each setting and forecasts what it would certify. Several τ around one method share every draw.

# %% tags=["letters"]
table = pilot(
    [SparsifiedSmoothGrad(saliency, tau=tau) for tau in (0.05, 0.1, 0.2, 0.4)],
    images,
    target=labels,
    k=0.2,
    radius=RADIUS,
    nt_samples=DRAWS,
    pilot_samples=PILOT_DRAWS,
    stdevs=[0.1, 0.25, 0.5, 1.0],
    seed=0,
)
table

# %% mystnb={"image": {"alt": "A line for each setting with the forecast overlaps of the plain and of the own top set; a grey bar ends at what chance, brightness and random weights reach"}}
figure, _ = pilot_figure(table)
figure

# %% [markdown]
# The filled marks are what counts: how much of the *plain* map's top set is certified. The grey bar is what sets reach
# that know nothing of the trained model, so only what lies beyond it is worth a certificate. With much noise the open
# marks, of the smoothed map's own top set, stay high although the model recognises fewer copies: a map can be stable
# because it says nothing.
#
# Rows that differ by less than their standard errors are equal. Among them take a σ that keeps the class. If no setting
# has a margin, no choice of the other numbers will help much: train the model on noisy images, as this one was.

# %%
best = table.best["Saliency"]
print(f"σ = {best.sigma:g}, τ = {best.tau:g}: margin {100 * best.margin:+.0f} ± {100 * best.margin_error:.0f} points")
SIGMA, TAU = 0.25, 0.2  # equal to the best row within the errors, and nearly all copies keep the class: fixed now

# %% [markdown]
# ## K and draws: what is left to gain
#
# K is a question of meaning first: how many features would you show to a reader? A large K certifies more easily,
# because two sets of half of all features always share something: at least 2K − n. The same share of a larger K says
# less.
#
# `forecast` takes the means of a map for exact and asks what so many draws would certify. It is no guarantee, and from
# few draws it is optimistic or pessimistic by chance. Where the curve flattens, more draws are wasted.

# %% mystnb={"image": {"alt": "The forecast overlap rises with the number of draws and flattens, for two sizes of the top set"}}
explainer, certifier = SparsifiedSmoothGrad(saliency, tau=TAU), Certifier()
few = explainer.sample(images, target=labels, nt_samples=PILOT_DRAWS, stdevs=SIGMA, seed=1)
counts = [256, 512, 1024, 2048, 4096, 8192, 16384, 65536]

figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
for fraction, color in zip((0.1, 0.2), ordered(2), strict=True):
    k = certifier.top_k(few, k=fraction, radius=RADIUS).k
    forecasts = [certifier.forecast(few, k=k, radius=RADIUS, nt_samples=q, reference="plain") for q in counts]
    shares = [100 * float(overlap.double().mean()) / k for overlap in forecasts]
    axes.semilogx(counts, shares, base=2, color=color, marker="o", label=f"K = {fraction:g} n")
axes.set(xlabel="draws", ylabel=f"forecast for the plain map's top set at ρ = {RADIUS:g}, %", ylim=(0, 102))
axes.set_xticks(counts, [str(q) for q in counts])
axes.spines[["top", "right"]].set_visible(False)
_ = axes.legend(frameon=False)

# %% [markdown]
# ## Fix them, and certify other images
#
# The numbers were chosen on training images. Now they are fixed, and the certificates that count are those of the
# test images, from draws that nobody has seen:

# %%
certificate = Certifier(explainer).certify(
    digits.test_images[:IMAGES],
    target=digits.test_labels[:IMAGES],
    k=0.2,
    radius=RADIUS,
    nt_samples=DRAWS,
    stdevs=SIGMA,
    seed=2,
)
[row] = [row for row in table.rows if (row.sigma, row.tau) == (SIGMA, TAU)]
plain = certificate.of_plain
print(f"of the plain map's top set: {row.forecast_plain:.1%} forecast on the pilot, margin {100 * row.margin:+.0f}")
print(f"certified on the test: {plain.overlap_fraction.mean():.1%}, margin {100 * plain.margin.mean():+.0f}")

# %% [markdown]
# If you know beforehand which overlap would satisfy you, leave the number of draws to the certifier:
# {doc}`/howto/sequential`. The same advice in words: {doc}`/guide/choosing`.
