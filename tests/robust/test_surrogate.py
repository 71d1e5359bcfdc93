"""The softplus surrogate: every spelling of a rectifier inside the block, none outside, and what it cannot see."""

import copy
import math
import warnings

import pytest
import torch
from captum.attr import Saliency
from networks import cnn, images
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from captum_certified import InterpretationAttack, InvalidInputError
from captum_certified.robust import softplus_surrogate

BETA = 3.0
X = torch.linspace(-2.5, 7.5, 41, dtype=torch.float64)


def softplus(x: Tensor) -> Tensor:
    return torch.log1p(torch.exp(-BETA * x.abs())) / BETA + x.clamp(min=0)


def relu6(x: Tensor) -> Tensor:
    return softplus(x) - softplus(x - 6)


def hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    return low + softplus(x - low) - softplus(x - high)


def leaky(x: Tensor, slope: float = 0.01) -> Tensor:
    return slope * x + (1 - slope) * softplus(x)


# Every spelling beside the formula that it becomes.
SPELLINGS = {
    "ReLU": (nn.ReLU(), softplus),
    "functional.relu": (functional.relu, softplus),
    "functional.relu by keyword": (lambda x: functional.relu(input=x), softplus),
    "torch.relu": (torch.relu, softplus),
    "torch.relu by keyword": (lambda x: torch.relu(input=x), softplus),
    "Tensor.relu": (lambda x: x.relu(), softplus),
    "ReLU6": (nn.ReLU6(), relu6),
    "functional.relu6": (functional.relu6, relu6),
    "LeakyReLU": (nn.LeakyReLU(), leaky),
    "LeakyReLU of .3": (nn.LeakyReLU(0.3), lambda x: leaky(x, 0.3)),
    "functional.leaky_relu": (functional.leaky_relu, leaky),
    "functional.leaky_relu by position": (lambda x: functional.leaky_relu(x, 0.2), lambda x: leaky(x, 0.2)),
    "functional.leaky_relu by name": (
        lambda x: functional.leaky_relu(x, negative_slope=0.2),
        lambda x: leaky(x, 0.2),
    ),
    "Hardtanh": (nn.Hardtanh(), hardtanh),
    "Hardtanh of -2, .5": (nn.Hardtanh(-2.0, 0.5), lambda x: hardtanh(x, -2.0, 0.5)),
    "functional.hardtanh": (functional.hardtanh, hardtanh),
    "functional.hardtanh by name": (
        lambda x: functional.hardtanh(x, min_val=-3.0, max_val=2.0),
        lambda x: hardtanh(x, -3.0, 2.0),
    ),
}
IN_PLACE = {
    "ReLU": (nn.ReLU(inplace=True), softplus),
    "functional.relu": (lambda x: functional.relu(x, inplace=True), softplus),
    "functional.relu_": (functional.relu_, softplus),
    "torch.relu_": (torch.relu_, softplus),
    "Tensor.relu_": (lambda x: x.relu_(), softplus),
    "ReLU6": (nn.ReLU6(inplace=True), relu6),
    "functional.relu6": (lambda x: functional.relu6(x, inplace=True), relu6),
    "LeakyReLU": (nn.LeakyReLU(0.3, inplace=True), lambda x: leaky(x, 0.3)),
    "functional.leaky_relu_": (lambda x: functional.leaky_relu_(x, 0.2), lambda x: leaky(x, 0.2)),
    "Hardtanh": (nn.Hardtanh(inplace=True), hardtanh),
    "functional.hardtanh_": (lambda x: functional.hardtanh_(x, -3.0, 2.0), lambda x: hardtanh(x, -3.0, 2.0)),
}


@pytest.mark.parametrize("name", list(SPELLINGS))
def test_a_rectifier_is_its_softplus_formula_inside_the_block_and_itself_after_it(name):
    rectifier, formula = SPELLINGS[name]
    before = rectifier(X)
    with softplus_surrogate(BETA):
        inside = rectifier(X)
    assert_close(inside, formula(X))
    assert not torch.equal(inside, before)
    assert torch.equal(rectifier(X), before)


@pytest.mark.parametrize("name", list(IN_PLACE))
def test_in_place_it_writes_the_formula_where_the_input_was(name):
    rectifier, formula = IN_PLACE[name]
    x = X.clone()
    with softplus_surrogate(BETA):
        returned = rectifier(x)
    assert_close(x, formula(X))
    assert returned is x
    outside = X.clone()
    rectifier(outside)
    assert not torch.equal(outside, x)


@pytest.mark.parametrize("name", [*SPELLINGS, *(f"{name} in place" for name in IN_PLACE)])
def test_first_and_second_derivatives_are_those_of_the_formula(name):
    rectifier, formula = IN_PLACE[name[: -len(" in place")]] if name.endswith(" in place") else SPELLINGS[name]

    def derivatives(function):
        x = X.clone().requires_grad_()
        [first] = torch.autograd.grad(function(x * 1.0).sum(), x, create_graph=True)
        [second] = torch.autograd.grad(first.sum(), x)
        return first.detach(), second

    with softplus_surrogate(BETA):
        found = derivatives(rectifier)
    expected = derivatives(formula)
    # |x| in the formula has no derivative at 0 and none of second order: left out there.
    away = torch.stack([(X - kink).abs() > 1e-9 for kink in (-3, -2, -1, 0, 0.5, 1, 2, 6)]).all(dim=0)
    assert_close(found[0][away], expected[0][away])
    assert_close(found[1][away], expected[1][away])
    assert float(found[1].abs().max()) > 0.1


def test_it_differs_by_at_most_ln_2_over_beta_at_the_kink():
    for beta in (0.5, 10.0, 100.0):
        with softplus_surrogate(beta):
            difference = functional.relu(X) - X.clamp(min=0)
        assert_close(float(difference.max()), math.log(2) / beta, rtol=1e-12, atol=0)
        assert float(difference.min()) >= 0


def test_rectifiers_are_themselves_after_an_exception():
    with pytest.raises(InterruptedError), softplus_surrogate(BETA):
        raise InterruptedError
    assert_close(functional.relu(X), X.clamp(min=0))


def test_blocks_may_be_nested():
    with softplus_surrogate(1.0):
        with softplus_surrogate(BETA):
            assert_close(functional.relu(X), softplus(X))
        assert_close(functional.relu(X), functional.softplus(X))
    assert_close(functional.relu(X), X.clamp(min=0))


class Softened(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return softplus(inputs)


@pytest.mark.parametrize("training", [False, True])
def test_a_whole_network_is_the_one_with_its_rectifiers_replaced(training):
    net = cnn().train(training)
    replaced = copy.deepcopy(net)
    for position in (2, 4):
        replaced[position] = Softened()
    x = images(3)
    with softplus_surrogate(BETA):
        outputs = copy.deepcopy(net)(x)
    assert_close(outputs, replaced(x))


def test_the_saliency_of_a_network_of_rectifiers_gets_a_gradient():
    net, x = cnn(), images(1).requires_grad_()

    def slope():
        [gradient] = torch.autograd.grad(net(x)[0, 1], x, create_graph=True)
        [second] = torch.autograd.grad(gradient.abs().sum(), x, allow_unused=True)
        return torch.zeros_like(x) if second is None else second

    assert not slope().any()
    with softplus_surrogate(BETA):
        assert float(slope().abs().max()) > 1e-4


def test_other_functions_are_left_alone():
    functions = (functional.gelu, functional.elu, torch.tanh, functional.softplus, lambda x: x.clamp(min=0))
    before = [function(X) for function in functions]
    with softplus_surrogate(BETA):
        inside = [function(X) for function in functions]
    assert all(torch.equal(one, two) for one, two in zip(before, inside, strict=True))


@pytest.mark.parametrize("beta", [0, -1.0, float("nan"), float("inf"), "large", None, True])
def test_beta_is_a_positive_number(beta):
    with pytest.raises(InvalidInputError, match="Expected `beta`"), softplus_surrogate(beta):
        pass


@pytest.mark.parametrize("beta", [0, -1.0, float("nan"), "large"])
def test_an_attack_names_its_own_argument(beta):
    with pytest.raises(InvalidInputError, match="Expected `surrogate_beta`"):
        InterpretationAttack(cnn(), Saliency(cnn()), surrogate_beta=beta)


def test_scripted_networks_are_refused_where_a_surrogate_is_asked_for():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of PyTorch discourage it
        scripted = torch.jit.trace(cnn(), images(1))
    with pytest.raises(InvalidInputError, match="Python modules for `surrogate_beta`, got a scripted Cnn"):
        InterpretationAttack(scripted, Saliency(scripted), surrogate_beta=10.0)
    InterpretationAttack(scripted, Saliency(scripted))
