"""Covariance of the draws, block by block: largest eigenvalue, Frobenius norm and fourth moment."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.maps.covariance import CovarianceSummary

__all__ = ["BlockCovariance", "block_bytes"]

Floats = NDArray[np.float64]

# Columns unpacked and multiplied at a time; 64 MB of a block of 2048 draws.
_COLUMNS = 8192
# Eigenvalues are rounded up by what a dense symmetric solver may lose.
_ROUNDING = 1e-11


def block_bytes(rows: int, n_features: int, *, binary: bool, block: int) -> int:
    """Memory of one block of draws: a bit for every feature of a 0/1 map, four bytes otherwise."""
    return rows * block * (-(-n_features // 8) if binary else 4 * n_features)


class BlockCovariance:
    """Keeps one block of draws at a time and reduces it to a :class:`CovarianceSummary`.

    Blocks end at multiples of their size and at the end of the run. A larger block gives a smaller bias of the
    largest eigenvalue, and costs memory in proportion and time in the square of its size.

    Args:
        rows: Number of examples.
        n_features: Number of features.
        binary: Whether the map is of zeros and ones; its Gram matrix is then exact.
        block: Draws in a block.
        device: Where the draws are.
        most: The most draws that will be added in all, if fewer than a block: no more are kept room for.
    """

    def __init__(
        self, rows: int, n_features: int, *, binary: bool, block: int, device: torch.device, most: int | None = None
    ) -> None:
        self.n_features = n_features
        self.block = block
        self.packed = binary and device.type == "cpu"
        width = -(-n_features // 8) if self.packed else n_features
        dtype = torch.uint8 if binary else torch.float32
        self.store = torch.empty((rows, min(block, most or block), width), dtype=dtype, device=device)
        self.filled = 0
        self.summary: CovarianceSummary | None = None

    def add(self, values: Tensor, draws: range) -> None:
        """Add draws of shape (N, draws, n); they must not cross the end of a block."""
        place = self.store[:, self.filled : self.filled + len(draws)]
        if self.packed:
            place.copy_(torch.from_numpy(np.packbits(values.numpy(), axis=2)))
        else:
            place.copy_(values)
        self.filled += len(draws)
        if draws.stop % self.block == 0:
            self.finish_block()

    def finish_block(self) -> None:
        """Reduce the draws that are kept; a single one says nothing of a covariance."""
        if self.filled >= 2:
            rows = [_summary_of_block(self._matrix(row), self.n_features) for row in self.store[:, : self.filled]]
            pairs = torch.full((len(rows),), self.filled // 2, dtype=torch.float64, device="cpu")
            block = CovarianceSummary(pairs, *torch.tensor(rows, dtype=torch.float64, device="cpu").unbind(dim=1))
            self.summary = block if self.summary is None else self.summary.merge(block)
        self.filled = 0

    def _matrix(self, stored: Tensor) -> "_Columns":
        return _Columns(stored, self.n_features, packed=self.packed)


class _Columns:
    """A block of draws of one example, read in groups of columns."""

    def __init__(self, stored: Tensor, n_features: int, *, packed: bool) -> None:
        self.stored = stored
        self.n_features = n_features
        self.packed = packed

    def __len__(self) -> int:
        return len(self.stored)

    def read(self, start: int, stop: int) -> Tensor:
        """Columns start … stop − 1 in a dtype whose products are exact for zeros and ones."""
        if not self.packed:
            part = self.stored[:, start:stop]
            return part.double() if part.dtype == torch.float32 else part.float()
        bits = np.unpackbits(self.stored[:, start // 8 : -(-stop // 8)].numpy(), axis=1)[:, : stop - start]
        return torch.from_numpy(bits.astype(np.float32))

    def gram(self) -> Floats:
        """Inner products of the draws, shape (b, b)."""
        total = torch.zeros((len(self), len(self)), dtype=torch.float64, device=self.stored.device)
        for start in range(0, self.n_features, _COLUMNS):
            part = self.read(start, min(start + _COLUMNS, self.n_features))
            total += _outer(part)
        return total.cpu().numpy()


def _summary_of_block(columns: _Columns, n_features: int) -> tuple[float, float, float]:
    """λ_max and Frobenius norm of the unbiased sample covariance, and R̂/2 + 3λ²/2.

    The nonzero eigenvalues of the centred Gram matrix G are those of the scatter matrix C, whichever is smaller;
    the row sums of G∘G are x·Cx for the centred draws x.
    """
    b = len(columns)
    if n_features < b:
        draws = columns.read(0, n_features).double().cpu().numpy()
        centred = draws - draws.mean(axis=0)
        matrix = centred.T @ centred
        row_sums = np.einsum("kf,kf->k", centred @ matrix, centred)
    else:
        gram = columns.gram()
        means = gram.mean(axis=0)
        matrix = gram - means - means[:, None] + means.mean()
        row_sums = np.square(matrix).sum(axis=1)
    top = max(float(np.linalg.eigvalsh(matrix)[-1]), 0.0) * (1 + _ROUNDING) / (b - 1)
    frobenius = float(np.linalg.norm(matrix)) * (1 + _ROUNDING) / (b - 1)
    largest_row = float(row_sums.max()) * (1 + _ROUNDING) / (b - 1)
    return top, frobenius, largest_row / 2 + 1.5 * top**2


def _outer(part: Tensor) -> Tensor:
    """Part · partᵀ."""
    if part.device.type == "cpu":
        # NumPy notices that the factors are one matrix, and computes half of the product.
        array = part.numpy()
        return torch.from_numpy(array @ array.T)
    with torch.autocast(part.device.type, enabled=False):  # half precision could make the eigenvalue too small
        return part @ part.T
