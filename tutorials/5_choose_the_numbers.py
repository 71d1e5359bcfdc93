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
# costs little, because one map answers for every K and radius, several τ share their draws, and `forecast` says what
# more draws would bring.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import torch
from captum.attr import Saliency

from captum_certified import Certifier, SparsifiedSmoothGrad, sample_many
from captum_certified.demo import load_digits, train_classifier

SMOKE = os.environ.get("CAPTUM_CERTIFIED_SMOKE") == "1"  # fewer draws, to test that everything runs
PILOT_DRAWS, DRAWS, IMAGES = (128, 512, 4) if SMOKE else (512, 8192, 12)
RADIUS = 0.15
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"

digits = load_digits()
model = train_classifier(digits, sigma=0.25, seed=0)
pilot, pilot_labels = digits.train_images[:IMAGES], digits.train_labels[:IMAGES]
saliency = Saliency(model)

# %% [markdown]
# ## σ: the noise that the model bears
#
# A certificate depends on the radius only through ρ/σ, so at equal scores more noise reaches farther. But the smoothed
# map explains noisy copies. When the model no longer recognises them, or when the smoothed map no longer resembles the
# plain one, the certificate is about something nobody asked for.

# %%
sigmas = [0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.7]
certifier = Certifier()
recognised, certified, resembles = [], [], []
for sigma in sigmas:
    generator = torch.Generator().manual_seed(0)
    noisy = digits.train_images[:500] + sigma * torch.randn(500, 1, 8, 8, generator=generator)
    with torch.no_grad():
        recognised.append(100 * float((model(noisy).argmax(1) == digits.train_labels[:500]).double().mean()))
    pilot_map = SparsifiedSmoothGrad(saliency, tau=0.2).sample(
        pilot, target=pilot_labels, nt_samples=PILOT_DRAWS, stdevs=sigma, seed=0
    )
    expected = certifier.forecast(pilot_map, k=0.2, radius=RADIUS, nt_samples=DRAWS)
    certificate = certifier.top_k(pilot_map, k=0.2, radius=RADIUS)
    certified.append(100 * float(expected.double().mean()) / certificate.k)
    resembles.append(100 * float(certificate.plain_overlap.double().mean()) / certificate.k)

figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
axes.plot(sigmas, recognised, color=GREEN, marker="^", label="noisy copies classified correctly")
axes.plot(sigmas, resembles, color=ORANGE, marker="s", label="top K shared with the plain map")
axes.plot(sigmas, certified, color=BLUE, marker="o", label=f"forecast overlap at ρ = {RADIUS:g}")
axes.set(xlabel="σ", ylabel="%", ylim=(0, 102))
axes.spines[["top", "right"]].set_visible(False)
_ = axes.legend(frameon=False)

# %% [markdown]
# Here the forecast hardly rises beyond σ = 0.1: noise also blurs the scores, and pays only while they keep their gaps.
# Take the largest σ that still gains, and at which the other two curves are where you need them. If that is too small
# for the radius you care about, no choice of the other numbers will help much: train the model on noisy images, as
# this one was.
#
# ## τ: how much is salient in each copy
#
# `sample_many` computes the gradients once and smooths several maps from them. τ and K need not be equal, but far
# apart they rarely do well: with a small τ the features at the edge of the top set are hardly ever marked, with a
# large one all of them nearly always are, and either way their scores leave no gap.

# %%
SIGMA = 0.25
taus = [0.05, 0.1, 0.2, 0.3, 0.5]
maps = sample_many(
    [SparsifiedSmoothGrad(saliency, tau=tau) for tau in taus],
    pilot,
    target=pilot_labels,
    nt_samples=PILOT_DRAWS,
    stdevs=SIGMA,
    seed=0,
)
fractions = [0.05, 0.1, 0.2, 0.3, 0.4]
table = torch.stack(
    [
        torch.stack(
            [
                certifier.forecast(one, k=k, radius=RADIUS, nt_samples=DRAWS).double().mean()
                / certifier.top_k(one, k=k, radius=RADIUS).k
                for k in fractions
            ]
        )
        for one in maps
    ]
)

figure, axes = plt.subplots(figsize=(5.2, 4), layout="constrained")
axes.imshow(table, cmap="cividis", vmin=0, vmax=1)
for row in range(len(taus)):
    for column in range(len(fractions)):
        share = float(table[row, column])
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", color="black" if share > 0.5 else "white")
axes.set_xticks(range(len(fractions)), [f"{k:g}" for k in fractions])
axes.set_yticks(range(len(taus)), [f"{tau:g}" for tau in taus])
axes.set(xlabel="K, as a fraction of the features", ylabel="τ")
_ = axes.set_title(f"forecast overlap at ρ = {RADIUS:g}", fontsize=10)

# %% [markdown]
# ## K: what you want to say
#
# K is a question of meaning first: how many features would you show to a reader? A large K certifies more easily,
# because two sets of half of all features always share something: at least 2K − n. The same share of a larger K says
# less.
#
# ## Draws: what is left to gain
#
# `forecast` takes the present means for exact and asks what so many draws would certify. It is no guarantee, and from
# few draws it is optimistic or pessimistic by chance. Where the curve flattens, more draws are wasted.

# %%
pilot_map = maps[taus.index(0.2)]
counts = [256, 512, 1024, 2048, 4096, 8192, 16384, 65536]
k = certifier.top_k(pilot_map, k=0.2, radius=RADIUS).k
forecasts = [
    100 * float(certifier.forecast(pilot_map, k=0.2, radius=RADIUS, nt_samples=q).double().mean()) / k for q in counts
]

figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
axes.semilogx(counts, forecasts, base=2, color=BLUE, marker="o")
axes.set(xlabel="draws", ylabel=f"forecast overlap at ρ = {RADIUS:g}, %", ylim=(0, 102))
axes.set_xticks(counts, [str(q) for q in counts])
axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## Fix them, and certify other images
#
# The numbers were chosen on training images. Now they are fixed, and the certificates that count are those of the
# test images, from draws that nobody has seen:

# %%
certificate = Certifier(SparsifiedSmoothGrad(saliency, tau=0.2)).certify(
    digits.test_images[:IMAGES],
    target=digits.test_labels[:IMAGES],
    k=0.2,
    radius=RADIUS,
    nt_samples=DRAWS,
    stdevs=SIGMA,
    seed=1,
)
print(f"forecast on the pilot: {table[taus.index(0.2), fractions.index(0.2)]:.1%}")
print(f"certified on the test: {certificate.overlap_fraction.mean():.1%}")

# %% [markdown]
# If you know beforehand which overlap would satisfy you, leave the number of draws to the certifier:
# {doc}`/howto/sequential`. The same advice in words: {doc}`/guide/choosing`.
