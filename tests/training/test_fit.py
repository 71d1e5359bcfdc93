"""The training loop: its losses, its arguments, and the state that it restores."""

import random

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from trainings import Augmented, assert_same, network, trained

from captum_certified import CaptumCertifiedError
from captum_certified.training import AdversarialLoss, FitResult, GaussianAugmentationLoss, fit, mnist_network


def test_training_lowers_the_loss_and_reports_every_epoch(capsys):
    images = torch.cat([torch.full((20, 6), level) for level in (0.0, 1.0, 2.0)])
    dataset, seen = TensorDataset(images, torch.arange(3).repeat_interleave(20)), []
    _, result = trained(
        dataset=dataset,
        scheduler=None,
        epochs=8,
        on_epoch=lambda epoch, loss: seen.append((epoch, loss)),
        show_progress=True,
    )
    assert result.losses[-1] < result.losses[0] / 2
    assert seen == list(enumerate(result.losses, start=1))
    assert "training, epoch 8: mean loss" in capsys.readouterr().err


def test_the_mean_loss_of_an_epoch_is_over_examples():
    """At learning rate 0 it equals the loss of the whole data set, although the last batch is smaller."""
    dataset = TensorDataset(torch.rand(10, 6), torch.arange(10) % 3)
    model = nn.Linear(6, 3)
    expected = nn.functional.cross_entropy(model(dataset.tensors[0]), dataset.tensors[1])
    loss = GaussianAugmentationLoss(stdev=0.0)
    result = fit(model, dataset, loss, optimizer=torch.optim.SGD(model.parameters(), lr=0.0), epochs=1, batch_size=4)
    assert result.losses[0] == pytest.approx(expected.item(), rel=1e-6)


def test_a_result_prints_as_one_line():
    result = FitResult(losses=tuple(1 / (n + 1) for n in range(100)), steps=1000, seed=7)
    assert repr(result) == "FitResult(100 epochs, 1000 steps, last mean loss 0.01, seed=7)"
    assert repr(FitResult(losses=(), steps=0, seed=7)) == "FitResult(0 epochs, 0 steps, seed=7)"


def test_any_function_of_model_inputs_and_targets_is_a_loss(tmp_path):
    def plain(model, inputs, targets):
        return nn.functional.cross_entropy(model(inputs), targets)

    one, _ = trained(tmp_path / "state.pt", loss=plain, epochs=1)
    one, _ = trained(tmp_path / "state.pt", loss=plain, epochs=2)
    assert_same(one, trained(loss=plain, epochs=2)[0])


def test_modes_and_generators_are_restored():
    model = network()
    model.eval()
    model[3].train()
    torch.manual_seed(11)
    random.seed(11)
    before = torch.get_rng_state(), random.getstate()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fit(model, Augmented(), AdversarialLoss(radius=0.1, step_num=2), optimizer=optimizer, epochs=1)
    torch.testing.assert_close(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert [module.training for module in model] == [False, False, False, True, False]
    with pytest.raises(CaptumCertifiedError, match="Expected a finite loss, got nan at step 0"):
        fit(model, Augmented(), lambda *_: torch.tensor(torch.nan), optimizer=optimizer, epochs=1)
    assert [module.training for module in model] == [False, False, False, True, False]


def test_the_default_device_has_no_effect_on_the_order():
    """The device "meta" stands for "cuda" here; its tensors have no values."""
    model, data = network(), TensorDataset(torch.rand(10, 6), torch.arange(10) % 3)
    settings = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "epochs": 1, "seed": 0}
    torch.set_default_device("meta")
    try:
        fit(model, data, GaussianAugmentationLoss(stdev=0.1, seed=0), **settings)
        assert mnist_network(seed=0)[0].weight.device.type == "cpu"
    finally:
        torch.set_default_device(None)


def test_networks_are_seeded_without_touching_accelerators(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    mnist_network(seed=3)
    assert not seeds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "`epochs` to be an integer >= 1, got 0"),
        ({"batch_size": 0}, "`batch_size` to be an integer >= 1, got 0"),
        ({"checkpoint_every": 0}, "`checkpoint_every` to be an integer >= 1"),
        ({"seed": -1}, "`seed` to be an integer >= 0"),
        ({"loss": 3}, "`loss` to be a function of model, inputs and targets, got 3"),
        ({"dataset": iter([1])}, "`dataset` with a length and items, got list_iterator"),
        ({"dataset": TensorDataset(torch.rand(0, 6))}, "`dataset` to have at least one example"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        trained(**changes)


def test_a_network_without_parameters_is_refused():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="`model` to have parameters, got Flatten without"):
        fit(nn.Flatten(), Augmented(), AdversarialLoss(radius=0.1), optimizer=optimizer, epochs=1)


def test_reduce_lr_on_plateau_is_given_the_loss():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1e9)
    loss = GaussianAugmentationLoss(stdev=0.1, seed=0)
    fit(model, Augmented(), loss, optimizer=optimizer, scheduler=scheduler, epochs=3, seed=0)
    assert optimizer.param_groups[0]["lr"] < 0.1


def test_no_gradients_are_left():
    model = network()
    head = torch.optim.SGD(model[4].parameters(), lr=0.1)
    fit(model, Augmented(), GaussianAugmentationLoss(stdev=0.1, seed=0), optimizer=head, epochs=1, seed=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_callback_may_leave_the_network_in_evaluation_mode():
    """A validation often does that. The next epoch still runs in training mode."""
    modes, model = [], network()
    model[1].register_forward_hook(lambda module, *_: modes.append(module.training))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fit(
        model,
        Augmented(),
        GaussianAugmentationLoss(stdev=0.1, seed=0),
        optimizer=optimizer,
        epochs=3,
        seed=0,
        on_epoch=lambda *_: model.eval(),
    )
    assert all(modes)
