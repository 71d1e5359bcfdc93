"""The selection of the largest entries is the same on every device, ties included."""

import pytest
import torch

from captum_certified.sampling.top_k_mask import _selected_on_device, top_k_rows
from captum_certified.theory import top_k_mask


@pytest.mark.parametrize("k", [1, 3, 7, 12])
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_an_accelerator_selects_the_same_entries_as_numpy(k, levels):
    values = torch.randint(levels, (40, 12), generator=torch.Generator().manual_seed(levels)).double()
    mask, placed_by_index = top_k_mask(values.numpy(), k)
    for selected, placed in (_selected_on_device(values, k), top_k_rows(values, k)):
        torch.testing.assert_close(selected, torch.from_numpy(mask))
        torch.testing.assert_close(placed, torch.from_numpy(placed_by_index))
