"""A training that test_checkpoints.py starts and kills: killed_training.py FOLDER."""

import sys
from pathlib import Path

import torch
from torch.utils.data import TensorDataset
from trainings import trained

from captum_certified.training import SaliencyAdversarialLoss

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    images = torch.rand(60, 6, generator=torch.Generator().manual_seed(2))
    weights, _ = trained(
        folder / "state.pt",
        dataset=TensorDataset(images, torch.arange(60) % 3),
        loss=SaliencyAdversarialLoss(radius=0.3, step_num=2, seed=1),
        epochs=8,
        checkpoint_every=1,
    )
    torch.save(weights, folder / "weights.pt")
