"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

# One thread: sums are then formed in one order, and parallel test processes do not fight over the cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of trained networks and photographs; tests that need it are skipped where it does not exist."""
    given = os.environ.get("CAPTUM_CERTIFIED_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no trained networks in {folder}; set CAPTUM_CERTIFIED_DATA to their folder")
    return folder
