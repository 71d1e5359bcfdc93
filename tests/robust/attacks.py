"""Networks, inputs, and the attacks with few steps."""

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from networks import mlp
from torch import nn

from captum_certified import InterpretationAttack
from captum_certified.robust import BlackBoxAttack, FastGradientAttack, GhorbaniAttack

RADIUS = 0.4
QUICK = {"step_num": 3, "n_restarts": 2}


def points(shape=(6,), rows=2, seed=0, dtype=torch.float64):
    return torch.rand((rows, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def smooth(shape, classes=3, seed=0):
    """Return a smooth network for inputs of any shape and precision."""

    class Smooth(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(math.prod(shape), classes=classes, seed=seed)

        def forward(self, inputs):
            return self.net.to(inputs.dtype)(inputs.flatten(1))

    return Smooth()


def l2_attack(model, method=None, **settings):
    return partial(InterpretationAttack(model, method or Saliency(model), **settings).attack, **QUICK)


def sign_attack(model, method=None, **settings):
    return partial(GhorbaniAttack(model, method or Saliency(model), **settings).attack, step_num=4, step_size=0.15)


def one_step_attack(model, method=None, **settings):
    return FastGradientAttack(model, method or Saliency(model), **settings).attack


def query_attack(model, method=None, *, surrogate_beta=None, **settings):
    """Return an attack without gradients, for which a surrogate would be of no use."""
    return partial(BlackBoxAttack(model, method or Saliency(model), **settings).attack, n_queries=12)


ATTACKS = pytest.mark.parametrize("attack_of", [l2_attack, sign_attack])
GRADIENT_ATTACKS = pytest.mark.parametrize("attack_of", [l2_attack, sign_attack, one_step_attack])
SEARCHES = pytest.mark.parametrize("attack_of", [l2_attack, sign_attack, query_attack])
ALL_ATTACKS = pytest.mark.parametrize("attack_of", [l2_attack, sign_attack, one_step_attack, query_attack])


def sizes(perturbed, x, norm):
    moved = (perturbed.double() - x.double()).flatten(1)
    return moved.norm(dim=1) if norm == "L2" else moved.abs().amax(dim=1)


def generators():
    """Return the states of the global random generators."""
    numpy = tuple(str(part.tolist() if isinstance(part, np.ndarray) else part) for part in np.random.get_state())  # noqa: NPY002
    return random.getstate(), numpy, tuple(torch.get_rng_state().tolist())


def saliency(model, x, target):
    return Saliency(model).attribute(x.detach().clone().requires_grad_(), target=target).detach()


def mixed(first, second, tokens):
    """Return the outputs of a model for two float tensors and one integer tensor."""
    table = torch.linspace(-1, 1, 15, dtype=first.dtype).reshape(5, 3)
    return mlp(10).to(first.dtype)(torch.cat([first, second.flatten(1) * 2, first[:, :1] * table[tokens]], dim=1))


class OfFloats(Saliency):
    """Saliency of the float tensors among the inputs; Captum's own Saliency takes gradients of all tensors."""

    def attribute(self, inputs, target=None, additional_forward_args=None):
        floats = [x for x in inputs if x.is_floating_point()]
        held = [x for x in inputs if not x.is_floating_point()]
        return super().attribute(tuple(floats), target=target, additional_forward_args=tuple(held))


class Divided(nn.Module):
    """Class 0 if the sum of the input is positive; the maps of both classes are smooth and depend on the input."""

    def forward(self, inputs):
        total = inputs.sum(dim=1, keepdim=True)
        return torch.cat([total, -total], dim=1) + 1e-3 * (inputs**3).sum(dim=1, keepdim=True)


NEAR = torch.tensor([[0.3, -0.1, 0.02, -0.12], [-0.3, 0.1, 0.0, 0.05]], dtype=torch.float64)


class Changed(nn.Module):
    """Class 1 at the given inputs, class 0 elsewhere."""

    def __init__(self, inputs):
        super().__init__()
        self.known = inputs

    def forward(self, inputs):
        same = (inputs[:, None] == self.known[None]).all(dim=2).any(dim=1, keepdim=True).to(inputs.dtype)
        return torch.cat([inputs.pow(3).sum(1, keepdim=True) * 0, 2 * same - 1], dim=1) + 1e-9 * inputs.pow(3)[:, :2]


class OnlyTheFirst(nn.Module):
    """Class 1 where the first entry exceeds .5, and elsewhere class 1 at the given inputs only; with smooth maps."""

    def __init__(self, inputs):
        super().__init__()
        self.changed = Changed(inputs)
        self.net = mlp(classes=2)

    def forward(self, inputs):
        far = (inputs[:, :1] > 0.5).to(inputs.dtype)
        return self.net(inputs) * 0.01 + far * 5 * torch.tensor([[0.0, 1.0]]) + (1 - far) * self.changed(inputs)
