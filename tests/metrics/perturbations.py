"""Inputs, measures and perturbations for the tests of ``attribution_robustness``."""

from functools import partial

import torch
from networks import images

from captum_certified import cosine_similarity, kendall_tau, mass_center_distance, spearman_rank, top_k_intersection

X = images(3)
TARGET = torch.tensor([0, 2, 1])
MEASURES = {
    "top_k": (partial(top_k_intersection, k=0.2), torch.amin),
    "kendall": (kendall_tau, torch.amin),
    "spearman": (spearman_rank, torch.amin),
    "cosine": (cosine_similarity, torch.amin),
    "mass_center": (mass_center_distance, torch.amax),
}


class Steps:
    """A perturbation by a fixed sequence of steps, one for each copy of an example, that records its inputs."""

    def __init__(self, samples):
        generator = torch.Generator().manual_seed(7)
        self.steps = torch.randn((samples, *X.shape), generator=generator, dtype=torch.float64)
        self.given = []
        self.done = 0

    def __call__(self, inputs, radius):
        self.given.append(inputs.clone())
        copies = len(inputs) // len(X)
        chosen = self.steps[self.done : self.done + copies].transpose(0, 1).reshape(inputs.shape)
        self.done += copies
        return inputs + radius * chosen


def noise(inputs, radius):
    return inputs + radius * torch.randn_like(inputs)


def tuple_noise(inputs, radius):
    return tuple(noise(x, radius) for x in inputs)


def gradient(method, x, target=TARGET):
    return method.attribute(x.clone().requires_grad_(), target=target)
