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
# # 3. Into an existing Captum workflow
#
# You have code that explains models with Captum. This tutorial takes three such pieces, for images, for a table and
# for text, and changes as little as possible: the wrapped attribution, its arguments, and everything after the map
# stay what they are.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from sklearn.datasets import load_breast_cancer
from torch import nn

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.demo import load_digits, train_classifier
from captum_certified.visualization import bar_figure

SMOKE = os.environ.get("CAPTUM_CERTIFIED_SMOKE") == "1"  # fewer draws, to test that everything runs
DRAWS = 1024 if SMOKE else 8192

# %% [markdown]
# ## Images: in place of NoiseTunnel
#
# Before:

# %%
digits = load_digits()
model = train_classifier(digits, sigma=0.25, seed=0)
images, labels = digits.test_images[:4], digits.test_labels[:4]

tunnel = NoiseTunnel(Saliency(model))
torch.manual_seed(0)
heatmap = tunnel.attribute(images, nt_type="smoothgrad", nt_samples=64, stdevs=0.25, target=labels)

# %% [markdown]
# After: another class, no `nt_type`, because the class says how the copies are combined, and a `seed`, because the
# noise no longer comes from PyTorch's global generator.

# %%
explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.2)
certifiable = explainer.attribute(images, nt_samples=64, stdevs=0.25, target=labels, seed=0)
certifiable.shape, heatmap.shape

# %% [markdown]
# It is another map: the tunnel averages gradients, this class averages which pixels are the most salient. How alike
# are they? Whatever used the old map should be looked at again with the new one.

# %% mystnb={"image": {"alt": "Maps of four digits by NoiseTunnel in the first row and by SparsifiedSmoothGrad in the second; they mark similar pixels"}}
figure, axes = plt.subplots(2, 4, figsize=(8, 4.2), layout="constrained")
for column in range(4):
    axes[0, column].imshow(heatmap[column, 0], cmap="cividis")
    axes[1, column].imshow(certifiable[column, 0], cmap="cividis")
axes[0, 0].set_title("NoiseTunnel", loc="left")
axes[1, 0].set_title("SparsifiedSmoothGrad", loc="left")
for panel in axes.flat:
    panel.set_axis_off()

# %% [markdown]
# Then one call more, with the arguments that `attribute` had, and the map comes with a guarantee:

# %%
Certifier(explainer).certify(images, k=0.2, radius=0.2, nt_samples=DRAWS, stdevs=0.25, target=labels, seed=0)

# %% [markdown]
# ## A table
#
# A classifier of breast tumours on thirty measurements. One standard deviation of each column is the unit, so one σ
# suits all of them. With Captum the record is explained by integrated gradients:

# %%
data = load_breast_cancer()
table = torch.tensor(data.data, dtype=torch.float32)
standard = (table - table.mean(0)) / table.std(0)
outcomes = torch.tensor(data.target)

torch.manual_seed(0)
tabular = nn.Sequential(nn.Linear(30, 16), nn.Softplus(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(tabular.parameters(), lr=0.02)
for _ in range(150):
    optimizer.zero_grad()
    nn.functional.cross_entropy(tabular(standard + 0.5 * torch.randn_like(standard)), outcomes).backward()
    optimizer.step()
_ = tabular.eval().requires_grad_(False)

record = standard[:1]
importance = IntegratedGradients(tabular).attribute(record, target=0, n_steps=16)

# %% [markdown]
# Arguments of the wrapped method, here `n_steps`, are passed on. `k` as an int is a number of columns. `bar_figure` and
# `certificate.to_frame` take their names:

# %% mystnb={"image": {"alt": "Bars for the ten most salient columns of a table with whiskers for the ranges of their exact scores; columns certified individually are vermilion"}}
explainer = SparsifiedSmoothGrad(IntegratedGradients(tabular), tau=0.2)
certificate = Certifier(explainer).certify(
    record, target=0, n_steps=16, k=5, radius=0.2, nt_samples=DRAWS, stdevs=0.5, seed=0
)
figure, _ = bar_figure(certificate, feature_names=list(data.feature_names), most=10)
figure

# %% [markdown]
# The whiskers bound each exact share at *every* record within the radius, all together with 95 % confidence.
#
# ## Text
#
# Noise cannot be added to words, but to their embeddings it can. The toy classifier averages the embeddings of a
# sentence.

# %%
POSITIVE, NEGATIVE = ["good", "lovely", "superb", "warm"], ["bad", "dull", "awful", "cold"]
NEUTRAL = ["the", "film", "was", "a", "plot", "with", "cast", "and"]
VOCABULARY = {word: number for number, word in enumerate(["", *POSITIVE, *NEGATIVE, *NEUTRAL])}


class Sentiment(nn.Module):
    """Embeds, averages the words that are there, classifies."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(VOCABULARY), 8, padding_idx=0)
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))

    def from_embeddings(self, embeddings, mask):
        kept = embeddings * mask.unsqueeze(-1)
        return self.layers(kept.sum(1) / mask.sum(1, keepdim=True))


def sentences(count, generator):
    """Six neutral words and two of one mood, in any order."""
    moods = torch.randint(0, 2, (count,), generator=generator)
    neutral = torch.randint(9, len(VOCABULARY), (count, 6), generator=generator)
    words = torch.randint(1, 5, (count, 2), generator=generator) + 4 * (1 - moods).unsqueeze(1)
    tokens = torch.cat([neutral, words], dim=1)
    order = torch.rand(tokens.shape, generator=generator).argsort(dim=1)
    return tokens.gather(1, order), moods


torch.manual_seed(0)
reader = Sentiment()
optimizer = torch.optim.Adam(reader.parameters(), lr=0.02, weight_decay=1e-3)
generator = torch.Generator().manual_seed(0)
for _ in range(150):
    tokens, moods = sentences(128, generator)
    embedded = reader.embedding(tokens)
    noisy = embedded + 0.3 * torch.randn(embedded.shape, generator=generator)
    optimizer.zero_grad()
    nn.functional.cross_entropy(reader.from_embeddings(noisy, tokens > 0), moods).backward()
    optimizer.step()
_ = reader.eval().requires_grad_(False)

# %% [markdown]
# The mask goes with the sentence, as `additional_forward_args` do in Captum. `groups` makes the eight coordinates of
# a word one feature, so that `k` counts words:

# %% mystnb={"image": {"alt": "A bar for each word of a sentence with a whisker for the range of its exact score; the two words of mood are at the top"}}
sentence = ["the", "cast", "was", "lovely", "and", "the", "plot", "superb"]
tokens = torch.tensor([[VOCABULARY[word] for word in sentence]])
embeddings = reader.embedding(tokens).detach()

explainer = SparsifiedSmoothGrad(InputXGradient(reader.from_embeddings), tau=0.25)
certificate = Certifier(explainer).certify(
    embeddings,
    additional_forward_args=tokens > 0,
    target=1,
    groups=torch.arange(len(sentence)).reshape(1, -1, 1),
    k=2,
    radius=0.2,
    nt_samples=DRAWS,
    stdevs=0.3,
    seed=0,
)
figure, _ = bar_figure(certificate, feature_names=sentence)
figure

# %% [markdown]
# The certificate speaks of the embeddings, in their units: it holds for every change of the eight vectors that is
# shorter than the radius. Whether another *word* lies within it is a question to the vocabulary:

# %%
vectors = reader.embedding.weight.detach()[1:]
distances = torch.cdist(vectors, vectors).fill_diagonal_(torch.inf)
print(f"the two nearest words of the vocabulary are {float(distances.min()):.2f} apart")

# %% [markdown]
# More on each: {doc}`/howto/units`, {doc}`/howto/tabular`, {doc}`/howto/text`, {doc}`/howto/hugging_face`; and
# {doc}`/howto/captum_classes` lists which of Captum's classes can be wrapped.
