"""Covariance of the draws, block by block: largest eigenvalue, Frobenius norm and fourth moment."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.maps.covariance import CovarianceSummary

__all__ = ["BlockCovariance", "block_bytes"]

# Number of features (columns) that are unpacked and multiplied at a time. For a block of 2048 draws they take 64 MB.
_COLUMNS = 8192
# Results are rounded up by this relative amount, the largest error of a dense symmetric eigenvalue solver.
_ROUNDING = 1e-11


def block_bytes(rows: int, n_features: int, *, binary: bool, block: int) -> int:
    """Return the bytes of one block on the CPU: each feature takes one bit in a 0/1 draw, and four bytes otherwise."""
    return rows * block * (-(-n_features // 8) if binary else 4 * n_features)


class BlockCovariance:
    """Store for one block of draws, which adds each complete block to a :class:`CovarianceSummary`.

    Blocks end at multiples of their size and at the end of the run. The largest eigenvalue of the sample covariance has
    a smaller bias in a larger block. A block of b draws takes memory in proportion to b, and time in proportion to b².

    Args:
        rows: Number of examples.
        n_features: Number of features.
        binary: Whether the map consists of zeros and ones. The Gram matrix of such a map is computed exactly.
        block: Number of draws in a block.
        device: Device of the draws.
        most: Number of draws of the whole run. A run with fewer draws than a block takes less memory.
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
        """Store draws of shape (N, draws, n), which must not cross the end of a block."""
        place = self.store[:, self.filled : self.filled + len(draws)]
        if self.packed:
            place.copy_(torch.from_numpy(np.packbits(values.numpy(), axis=2)))
        else:
            place.copy_(values)
        self.filled += len(draws)
        if draws.stop % self.block == 0:
            self.finish_block()

    def finish_block(self) -> None:
        """Add the covariance of the stored draws to the summary, and empty the store.

        A single draw has no covariance and is dropped.
        """
        if self.filled >= 2:
            stored = self.store[:, : self.filled]
            rows = [_StoredDraws(row, self.n_features, packed=self.packed).covariance() for row in stored]
            pairs = torch.full((len(rows),), self.filled // 2, dtype=torch.float64, device="cpu")
            block = CovarianceSummary(pairs, *torch.tensor(rows, dtype=torch.float64, device="cpu").unbind(dim=1))
            self.summary = block if self.summary is None else self.summary.merge(block)
        self.filled = 0


class _StoredDraws:
    """The draws of one example in a block, shape (b, n), read in groups of columns."""

    def __init__(self, stored: Tensor, n_features: int, *, packed: bool) -> None:
        self.stored = stored
        self.n_features = n_features
        self.packed = packed

    def columns(self, start: int, stop: int) -> Tensor:
        """Return columns start … stop − 1 in a dtype in which products of zeros and ones are exact."""
        if not self.packed:
            part = self.stored[:, start:stop]
            return part.double() if part.dtype == torch.float32 else part.float()
        bits = np.unpackbits(self.stored[:, start // 8 : -(-stop // 8)].numpy(), axis=1)[:, : stop - start]
        return torch.from_numpy(bits.astype(np.float32))

    def gram(self) -> NDArray[np.float64]:
        """Compute the inner products of the draws, shape (b, b)."""
        b = len(self.stored)
        total = torch.zeros((b, b), dtype=torch.float64, device=self.stored.device)
        for start in range(0, self.n_features, _COLUMNS):
            total += _outer_product(self.columns(start, min(start + _COLUMNS, self.n_features)))
        return total.cpu().numpy()

    def covariance(self) -> tuple[float, float, float]:
        """Compute the largest eigenvalue λ and Frobenius norm of the unbiased sample covariance Σ, and R̂/2 + 3λ²/2.

        R̂ is the largest x·Σx over the centred draws x. G is the matrix of the inner products of the centred draws. G
        and the scatter matrix (b − 1)Σ have the same nonzero eigenvalues, so the smaller of the two is decomposed. If
        this is G, the values x·Σx are the row sums of G∘G / (b − 1).
        """
        b = len(self.stored)
        if self.n_features < b:
            draws = self.columns(0, self.n_features).double().cpu().numpy()
            centred = draws - draws.mean(axis=0)
            matrix = centred.T @ centred
            row_sums = np.einsum("kf,kf->k", centred @ matrix, centred)
        else:
            gram = self.gram()
            means = gram.mean(axis=0)
            matrix = gram - means - means[:, None] + means.mean()
            row_sums = np.square(matrix).sum(axis=1)
        top = max(float(np.linalg.eigvalsh(matrix)[-1]), 0.0) * (1 + _ROUNDING) / (b - 1)
        frobenius = float(np.linalg.norm(matrix)) * (1 + _ROUNDING) / (b - 1)
        largest_row = float(row_sums.max()) * (1 + _ROUNDING) / (b - 1)
        return top, frobenius, largest_row / 2 + 1.5 * top**2


def _outer_product(part: Tensor) -> Tensor:
    """Compute part · partᵀ."""
    if part.device.type == "cpu":
        # NumPy notices that both factors are the same matrix, and computes only half of the product.
        array = part.numpy()
        return torch.from_numpy(array @ array.T)
    with torch.autocast(part.device.type, enabled=False):  # half precision could make the eigenvalue too small
        return part @ part.T
