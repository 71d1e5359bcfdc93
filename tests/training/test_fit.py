"""The training loop: what is interrupted ends at the weights it would have ended at."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from captum_certified import CaptumCertifiedError, FileFormatError
from captum_certified.training import (
    AdversarialLoss,
    FitResult,
    GaussianAugmentationLoss,
    IGNormLoss,
    SaliencyAdversarialLoss,
    fit,
    mnist_network,
)

HERE = Path(__file__).parent


class Augmented(Dataset):
    """Shifts its images by chance, from the global generators."""

    def __init__(self, n=30, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.rand(n, 6, generator=generator)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index] + 0.1 * torch.randn(6) + 0.01 * random.random(), index % 3  # noqa: S311


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Softplus(), nn.Dropout(0.3), nn.Linear(8, 3))


def trained(path=None, *, dataset=None, loss=None, epochs=3, make_loss=GaussianAugmentationLoss, **changes):
    """The weights after a training, and what it returned."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    settings = {
        "batch_size": 7,
        "seed": 5,
        "checkpoint": path,
        "checkpoint_every": 2,
        "scheduler": scheduler,
        **changes,
    }
    loss = make_loss(stdev=0.2, seed=4) if loss is None else loss
    result = fit(
        model, Augmented() if dataset is None else dataset, loss, optimizer=optimizer, epochs=epochs, **settings
    )
    return model.state_dict(), result


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=0, atol=0)


class Interrupted(GaussianAugmentationLoss):
    """Ctrl-C in the middle of one step."""

    at = 0

    def mean(self, *arguments):
        if self.calls == self.at:
            raise KeyboardInterrupt
        return super().mean(*arguments)


@pytest.mark.parametrize("step", [1, 2, 5, 6, 8, 13])
def test_an_interrupted_training_ends_where_it_would_have(tmp_path, step):
    """Five steps an epoch: in the first step, before a checkpoint and after it, and at the ends of epochs."""
    expected, whole = trained()
    path = tmp_path / "state.pt"
    loss = Interrupted(stdev=0.2, seed=4)
    loss.at = step
    with pytest.raises(KeyboardInterrupt):
        trained(path, loss=loss)
    assert path.exists() == (step > 2)
    loss = Interrupted(stdev=0.2, seed=99)  # the checkpoint knows its seed
    weights, result = trained(path, loss=loss, seed=None)
    assert_same(weights, expected) if step > 2 else None
    assert (result.steps, len(result.losses)) == (whole.steps, len(whole.losses)) == (15, 3)
    if step > 2:
        assert result == whole


@pytest.mark.parametrize("seconds", [0.02, 0.2])
def test_a_training_killed_in_the_middle_of_an_epoch_ends_at_the_same_weights(tmp_path, seconds):
    expected, _ = trained(
        dataset=TensorDataset(torch.rand(60, 6, generator=torch.Generator().manual_seed(2)), torch.arange(60) % 3),
        loss=SaliencyAdversarialLoss(radius=0.3, step_num=2, seed=1),
        epochs=8,
    )
    program = [sys.executable, str(HERE / "killed_training.py"), str(tmp_path)]
    running = subprocess.Popen(program, cwd=HERE)  # noqa: S603  this program
    while not (tmp_path / "state.pt").exists() and running.poll() is None:
        time.sleep(0.005)
    time.sleep(seconds)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (tmp_path / "weights.pt").exists()
    subprocess.run(program, check=True, cwd=HERE)  # noqa: S603  this program
    assert_same(torch.load(tmp_path / "weights.pt", weights_only=True), expected)


def test_more_epochs_go_on_where_fewer_ended(tmp_path):
    trained(tmp_path / "state.pt", epochs=1)
    weights, result = trained(tmp_path / "state.pt", epochs=3)
    expected, whole = trained()
    assert_same(weights, expected)
    assert result == whole
    again, result = trained(tmp_path / "state.pt", epochs=3)  # nothing is left to do
    assert_same(again, expected)
    assert result == whole


def test_resume_false_begins_anew(tmp_path):
    path = tmp_path / "state.pt"
    trained(path, epochs=1)
    _, result = trained(path, epochs=1, seed=6, resume=False)
    assert (result.seed, result.steps) == (6, 5)


def test_it_learns_and_reports(capsys):
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
    """Without learning it is the loss of the whole set, although the last batch is smaller."""
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


def test_modes_and_generators_are_as_before():
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 8}, "its batch_size is 7, not 8; resume=False begins anew"),
        ({"seed": 6}, "its seed is 5, not 6"),
        ({"dataset": Augmented(31)}, "its examples is 30, not 31"),
        ({"loss": GaussianAugmentationLoss(stdev=0.3)}, r"its loss is 'GaussianAugmentationLoss\(stdev=0.2"),
        ({"dataset": Augmented(seed=1)}, "its data is"),
        ({"scheduler": None}, r"its scheduler is .StepLR .*, not .NoneType"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(tmp_path, changes, message):
    trained(tmp_path / "state.pt", epochs=1)
    with pytest.raises(ValueError, match=message):
        trained(tmp_path / "state.pt", epochs=2, **changes)


def test_the_checkpoint_of_a_loss_at_another_layer_is_refused(tmp_path):
    def once(place):
        model = nn.Sequential(nn.Linear(6, 4), nn.Softplus(), nn.Linear(4, 3))
        layer = None if place is None else model[place]
        loss = IGNormLoss(radius=0.1, step_num=1, n_steps=2, search_n_steps=2, layer=layer)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return fit(model, Augmented(7), loss, optimizer=optimizer, epochs=1, seed=0, checkpoint=tmp_path / "state.pt")

    assert once(0).losses == once(0).losses
    for other in (None, 2):
        with pytest.raises(ValueError, match="its layer is '0', not"):
            once(other)


def test_a_checkpoint_of_more_epochs_is_refused(tmp_path):
    trained(tmp_path / "state.pt", epochs=3)
    with pytest.raises(ValueError, match=r"`epochs` of at least the 3 that the checkpoint .*state.pt has, got 2"):
        trained(tmp_path / "state.pt", epochs=2)


def test_the_same_objects_go_on(tmp_path):
    """As in a notebook: the scheduler has changed the rate since the first call."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    settings = {
        "optimizer": optimizer,
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5),
        "seed": 0,
        "checkpoint": tmp_path / "state.pt",
    }
    loss = GaussianAugmentationLoss(stdev=0.1, seed=0)
    assert len(fit(model, Augmented(), loss, epochs=1, **settings).losses) == 1
    assert len(fit(model, Augmented(), loss, epochs=2, **settings).losses) == 2


def test_a_default_device_is_not_that_of_the_order():
    """The device "meta" has no numbers at all; people set "cuda"."""
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


def test_the_checkpoint_of_another_network_is_refused(tmp_path):
    trained(tmp_path / "state.pt", epochs=1)
    model = nn.Sequential(nn.Linear(6, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    with pytest.raises(ValueError, match=r"`checkpoint` .*state.pt to fit the model, got: "):
        fit(
            model,
            Augmented(),
            GaussianAugmentationLoss(stdev=0.2),
            optimizer=optimizer,
            scheduler=scheduler,
            epochs=1,
            batch_size=7,
            checkpoint=tmp_path / "state.pt",
        )


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "state.pt"
    trained(path, epochs=1)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text", b"PK\x03\x04" + whole[4:100]):
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError, match=r"Expected .*state.pt to hold a training's state"):
            trained(path)
    for contents in ([1, 2], {"version": 1}, {"version": 2, "step": 3}):
        torch.save(contents, path)
        with pytest.raises(FileFormatError, match=r"to hold a training's state of version 1, got"):
            trained(path)


def test_a_checkpoint_executes_nothing(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"version": 1, "model": Harmful()}, tmp_path / "state.pt")
    with pytest.raises(FileFormatError, match="it is corrupt or truncated"):
        trained(tmp_path / "state.pt")
    assert not (tmp_path / "harm").exists()


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


def test_whoever_looks_on_may_leave_the_network_in_evaluation_mode(tmp_path):
    """As validation does: training goes on in training mode, and resumes to the same weights."""
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


@pytest.mark.parametrize("change", [{"lr": 0.01}, {"lr": 0.05, "weight_decay": 0.1}])
def test_other_rates_are_another_training(tmp_path, change):
    def once(**rates):
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), **rates)
        loss = GaussianAugmentationLoss(stdev=0.1, seed=0)
        fit(model, Augmented(), loss, optimizer=optimizer, epochs=1, seed=0, checkpoint=tmp_path / "state.pt")
        return model.state_dict()

    before = once(lr=0.05)
    with pytest.raises(ValueError, match=r"its optimizer is .Adam"):
        once(**change)
    assert_same(once(lr=0.05), before)


def test_a_refused_checkpoint_changes_nothing(tmp_path):
    trained(tmp_path / "state.pt", epochs=1)
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(list(model.parameters())[:2], lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    with pytest.raises(ValueError, match="to fit the model, got"):
        fit(
            model,
            Augmented(),
            GaussianAugmentationLoss(stdev=0.2, seed=4),
            optimizer=optimizer,
            scheduler=scheduler,
            epochs=2,
            batch_size=7,
            seed=5,
            checkpoint=tmp_path / "state.pt",
        )
    assert_same(model.state_dict(), before)


def test_a_state_that_could_not_be_read_again_is_not_written(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=np.float64(0.1))
    with pytest.raises(ValueError, match="with states of tensors and plain numbers, which a checkpoint can hold"):
        fit(
            model,
            Augmented(),
            AdversarialLoss(radius=0.1),
            optimizer=optimizer,
            epochs=1,
            checkpoint=tmp_path / "state.pt",
        )
    assert not (tmp_path / "state.pt").exists()


def test_a_scheduler_that_waits_for_a_plateau_is_told_the_loss():
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
