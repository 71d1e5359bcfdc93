"""Checkpoints: a resumed training ends at the same weights, and checkpoints of other trainings are refused."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from trainings import Augmented, assert_same, network, trained

from captum_certified import FileFormatError
from captum_certified.training import (
    AdversarialLoss,
    GaussianAugmentationLoss,
    IGNormLoss,
    SaliencyAdversarialLoss,
    fit,
)

HERE = Path(__file__).parent


class Interrupted(GaussianAugmentationLoss):
    """A loss that raises KeyboardInterrupt in one step."""

    at = 0

    def mean(self, *arguments):
        if self.calls == self.at:
            raise KeyboardInterrupt
        return super().mean(*arguments)


@pytest.mark.parametrize("step", [1, 2, 5, 6, 8, 13])
def test_an_interrupted_training_ends_at_the_same_weights(tmp_path, step):
    """An epoch has five steps. Interrupt in the first step, around checkpoints, and at the ends of epochs."""
    expected, whole = trained()
    path = tmp_path / "state.pt"
    loss = Interrupted(stdev=0.2, seed=4)
    loss.at = step
    with pytest.raises(KeyboardInterrupt):
        trained(path, loss=loss)
    assert path.exists() == (step > 2)
    loss = Interrupted(stdev=0.2, seed=99)  # the seed of the checkpoint replaces this one
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
    running.kill()
    assert running.wait() != 0
    assert not (tmp_path / "weights.pt").exists()
    subprocess.run(program, check=True, cwd=HERE)  # noqa: S603  this program
    assert_same(torch.load(tmp_path / "weights.pt", weights_only=True), expected)


def test_more_epochs_continue_from_the_last_epoch(tmp_path):
    trained(tmp_path / "state.pt", epochs=1)
    weights, result = trained(tmp_path / "state.pt", epochs=3)
    expected, whole = trained()
    assert_same(weights, expected)
    assert result == whole
    again, result = trained(tmp_path / "state.pt", epochs=3)  # no epochs are left
    assert_same(again, expected)
    assert result == whole


def test_resume_false_begins_anew(tmp_path):
    path = tmp_path / "state.pt"
    trained(path, epochs=1)
    _, result = trained(path, epochs=1, seed=6, resume=False)
    assert (result.seed, result.steps) == (6, 5)


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
    with pytest.raises(ValueError, match=r"`epochs` >= 3, the number in the checkpoint .*state.pt, got 2"):
        trained(tmp_path / "state.pt", epochs=2)


def test_a_training_continues_with_the_same_objects(tmp_path):
    """In a notebook, the scheduler has changed the learning rate since the first call."""
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


@pytest.mark.parametrize("change", [{"lr": 0.01}, {"lr": 0.05, "weight_decay": 0.1}])
def test_the_checkpoint_of_another_learning_rate_is_refused(tmp_path, change):
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


def test_a_state_that_cannot_be_read_is_not_written(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=np.float64(0.1))
    with pytest.raises(ValueError, match="only tensors and plain numbers, but a checkpoint of them could not be read"):
        fit(
            model,
            Augmented(),
            AdversarialLoss(radius=0.1),
            optimizer=optimizer,
            epochs=1,
            checkpoint=tmp_path / "state.pt",
        )
    assert not (tmp_path / "state.pt").exists()
