"""The softplus surrogate: which ReLUs it replaces, and for which networks it is refused or left out."""

import copy
import math
import re
import warnings

import pytest
import torch
from captum.attr import Saliency
from networks import cnn, images
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from captum_certified import Certifier, InterpretationAttack, InvalidInputError, SparsifiedSmoothGrad
from captum_certified.robust import GhorbaniAttack, challenge_certificate, softplus_surrogate

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


# Every form of a ReLU, and the formula that it becomes.
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
def test_a_relu_is_the_softplus_formula_inside_the_block_and_itself_after_it(name):
    relu, formula = SPELLINGS[name]
    before = relu(X)
    with softplus_surrogate(BETA):
        inside = relu(X)
    assert_close(inside, formula(X))
    assert not torch.equal(inside, before)
    assert torch.equal(relu(X), before)


@pytest.mark.parametrize("name", list(IN_PLACE))
def test_in_place_relus_write_the_formula_into_their_input(name):
    relu, formula = IN_PLACE[name]
    x = X.clone()
    with softplus_surrogate(BETA):
        returned = relu(x)
    assert_close(x, formula(X))
    assert returned is x
    outside = X.clone()
    relu(outside)
    assert not torch.equal(outside, x)


@pytest.mark.parametrize("name", [*SPELLINGS, *(f"{name} in place" for name in IN_PLACE)])
def test_first_and_second_derivatives_match_the_formula(name):
    relu, formula = IN_PLACE[name[: -len(" in place")]] if name.endswith(" in place") else SPELLINGS[name]

    def derivatives(function):
        x = X.clone().requires_grad_()
        [first] = torch.autograd.grad(function(x * 1.0).sum(), x, create_graph=True)
        [second] = torch.autograd.grad(first.sum(), x)
        return first.detach(), second

    with softplus_surrogate(BETA):
        found = derivatives(relu)
    expected = derivatives(formula)
    # The formula has |x|, which has no derivative at 0, so 0 is left out.
    away = torch.stack([(X - kink).abs() > 1e-9 for kink in (-3, -2, -1, 0, 0.5, 1, 2, 6)]).all(dim=0)
    assert_close(found[0][away], expected[0][away])
    assert_close(found[1][away], expected[1][away])
    assert float(found[1].abs().max()) > 0.1


def test_the_surrogate_differs_by_at_most_ln_2_over_beta_at_the_kink():
    for beta in (0.5, 10.0, 100.0):
        with softplus_surrogate(beta):
            difference = functional.relu(X) - X.clamp(min=0)
        assert_close(float(difference.max()), math.log(2) / beta, rtol=1e-12, atol=0)
        assert float(difference.min()) >= 0


def test_relus_are_restored_after_an_exception():
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
def test_a_network_inside_the_block_equals_one_with_its_relus_replaced(training):
    net = cnn().train(training)
    replaced = copy.deepcopy(net)
    for position in (2, 4):
        replaced[position] = Softened()
    x = images(3)
    with softplus_surrogate(BETA):
        outputs = copy.deepcopy(net)(x)
    assert_close(outputs, replaced(x))


def test_the_saliency_of_a_relu_network_gets_a_gradient():
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
def test_an_attack_refuses_a_bad_surrogate_beta_by_name(beta):
    with pytest.raises(InvalidInputError, match="Expected `surrogate_beta`"):
        InterpretationAttack(cnn(), Saliency(cnn()), surrogate_beta=beta)


def traced():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of PyTorch warn that it is deprecated
        return torch.jit.trace(cnn(), images(1))


def wrapped():
    return nn.Sequential(traced())


@pytest.mark.parametrize("scripted", [traced, wrapped])
def test_scripted_networks_are_refused_with_a_surrogate_beta(scripted):
    network = scripted()
    with pytest.raises(InvalidInputError, match="Python modules for `surrogate_beta`, got a scripted Cnn"):
        InterpretationAttack(network, Saliency(network), surrogate_beta=10.0)
    InterpretationAttack(network, Saliency(network))


# -- "auto" ----------------------------------------------------------------------------------------------------


class Functional(nn.Module):
    """A network with the nonlinearity as a function."""

    def __init__(self, nonlinearity):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.nonlinearity = nn.Linear(16, 32), nn.Linear(32, 3), nonlinearity

    def forward(self, inputs):
        return self.last(self.nonlinearity(self.first(inputs)))


class CountsWithReLU(Functional):
    """A network whose second ReLU takes integers, for which PyTorch has no softplus."""

    def forward(self, inputs):
        return super().forward(inputs) + 0 * torch.relu((inputs > 0.5).long()).sum(1, keepdim=True)


POINTS = torch.rand((4, 16), generator=torch.Generator().manual_seed(0))


def named(nonlinearity):
    """Return a name that is the same in every process; functions print with their addresses."""
    return str(nonlinearity) if isinstance(nonlinearity, nn.Module) else nonlinearity.__qualname__


WITH_RELUS = [nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(), nn.ReLU6(), functional.relu, torch.relu, Tensor.relu]
WITHOUT = [nn.Softplus(), nn.GELU(), torch.tanh]
SETTINGS = {"k": 4, "step_num": 4, "seed": 0, "keep_class": False}


@pytest.mark.parametrize("attack", [InterpretationAttack, GhorbaniAttack])
@pytest.mark.parametrize("nonlinearity", WITH_RELUS, ids=named)
def test_by_default_relus_are_found_and_replaced(attack, nonlinearity):
    network = Functional(nonlinearity)
    result = attack(network, Saliency(network)).attack(POINTS, 0.5, **SETTINGS)
    pinned = attack(network, Saliency(network), surrogate_beta=30.0).attack(POINTS, 0.5, **SETTINGS)
    assert result.surrogate == pinned.surrogate
    assert str(result.surrogate) == "softplus with β = 30 in place of ReLU"
    assert_close(result.perturbed, pinned.perturbed, rtol=0, atol=0)


@pytest.mark.parametrize("attack", [InterpretationAttack, GhorbaniAttack])
@pytest.mark.parametrize("nonlinearity", WITHOUT, ids=named)
def test_by_default_networks_without_relus_have_no_surrogate(attack, nonlinearity):
    network = Functional(nonlinearity)
    result = attack(network, Saliency(network)).attack(POINTS, 0.5, **SETTINGS)
    off = attack(network, Saliency(network), surrogate_beta=None).attack(POINTS, 0.5, **SETTINGS)
    assert str(result.surrogate) == "none: no ReLU was seen"
    assert str(off.surrogate) == "none: turned off"
    assert_close(result.perturbed, off.perturbed, rtol=0, atol=0)


def test_the_default_attack_on_relus_is_stronger_than_one_without_a_surrogate():
    network = Functional(functional.relu)
    with_surrogate = InterpretationAttack(network, Saliency(network)).attack(POINTS, 0.5, **SETTINGS)
    with pytest.warns(UserWarning, match="has no gradient where the search begins"):
        without = InterpretationAttack(network, Saliency(network), surrogate_beta=None).attack(POINTS, 0.5, **SETTINGS)
    assert with_surrogate.overlap.sum() < without.overlap.sum()


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins:UserWarning")
@pytest.mark.parametrize(
    ("network", "inputs", "why"),
    [
        (traced, images(2), "the ReLUs of a scripted Cnn cannot be replaced"),
        (wrapped, images(2), "the ReLUs of a scripted Cnn cannot be replaced"),
        (lambda: Functional(lambda x: x.clamp(min=0)), POINTS, "no ReLU was seen"),
        (lambda: CountsWithReLU(torch.relu), POINTS, "the network does not run with softplus in place of ReLU: .*Long"),
    ],
    ids=["traced", "with a traced part", "clamp", "integers"],
)
def test_networks_that_fail_with_softplus_are_attacked_without_a_surrogate(network, inputs, why):
    model = network()
    result = InterpretationAttack(model, Saliency(model)).attack(inputs, 0.5, **SETTINGS)
    assert result.surrogate.beta is None
    assert re.fullmatch(f"none: {why}.*", str(result.surrogate))
    assert f"surrogate {result.surrogate})" in repr(result)


def test_errors_with_a_given_beta_are_raised():
    model = CountsWithReLU(torch.relu)
    with pytest.raises(RuntimeError, match="Long"):
        InterpretationAttack(model, Saliency(model), surrogate_beta=30.0).attack(POINTS, 0.5, **SETTINGS)


def test_errors_of_the_network_itself_are_raised():
    class Fails(Functional):
        calls = 0

        def forward(self, inputs):
            self.calls += 1
            if self.calls > 4:
                raise RuntimeError("this network is broken")
            return super().forward(inputs)

    model = Fails(torch.relu)
    with pytest.raises(RuntimeError, match="this network is broken"):
        InterpretationAttack(model, Saliency(model)).attack(POINTS, 0.5, **SETTINGS)


def test_a_random_search_needs_no_surrogate():
    network = Functional(torch.relu)
    result = InterpretationAttack(network, Saliency(network), objective="random").attack(POINTS, 0.5, k=4, seed=0)
    assert str(result.surrogate) == "none: a random search takes no gradients"


@pytest.mark.parametrize("beta", ["large", "Auto", ""])
def test_words_other_than_auto_are_refused(beta):
    with pytest.raises(InvalidInputError, match="`surrogate_beta` to be a number > 0, 'auto' or None, got"):
        InterpretationAttack(cnn(), Saliency(cnn()), surrogate_beta=beta)


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins:UserWarning")
def test_smoothed_maps_and_challenges_use_the_surrogate():
    network = Functional(torch.relu)
    explainer = SparsifiedSmoothGrad(Saliency(network), tau=0.25)
    certificate = Certifier(explainer).certify(
        POINTS, target=0, k=4, radius=0.05, nt_samples=64, stdevs=0.2, seed=0
    )  # fmt: skip
    for beta, expected in (("auto", 30.0), (None, None), (5.0, 5.0)):
        challenge = challenge_certificate(
            certificate, explainer, POINTS, target=0, seed=1, step_num=1, surrogate_beta=beta
        )
        assert challenge.surrogate.beta == expected
        text = repr(challenge)
        assert f"surrogate {challenge.surrogate})" in text
        assert len(text) < 250
        assert "tensor" not in text


def test_results_print_without_tensors():
    network = Functional(torch.relu)
    result = InterpretationAttack(network, Saliency(network)).attack(POINTS, 0.5, **SETTINGS)
    assert re.fullmatch(
        r"AttackResult\(mean of 4 examples: \d+\.\d% of the top 4 left, succeeded on 4, class kept on \d, "
        r"surrogate softplus with β = 30 in place of ReLU\)",
        repr(result),
    )
    one = InterpretationAttack(network, Saliency(network)).attack(POINTS[:1], 0.5, **SETTINGS)
    assert "mean of 1 example:" in repr(one)
