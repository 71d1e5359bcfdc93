"""Small networks with known gradients, and wrappers of networks."""

import torch
from torch import Tensor, nn


class GateNet(nn.Module):
    """Output c is Σ_i W[c, i] · relu(x_i − b_i): its gradient W[c, i] · 1[x_i > b_i] is exact in floating point.

    The magnitudes |W[c, i]| are distinct integers within each row, so no two open gates tie.
    """

    def __init__(self, shape: tuple[int, ...], *, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        n = int(torch.Size(shape).numel())
        generator = torch.Generator().manual_seed(seed)
        magnitudes = torch.stack([torch.randperm(n, generator=generator) + 1.0 for _ in range(classes)])
        signs = torch.randint(0, 2, (classes, n), generator=generator) * 2.0 - 1.0
        self.register_buffer("weights", magnitudes * signs)
        self.register_buffer("thresholds", torch.rand(n, generator=generator))

    def forward(self, inputs: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        opened = torch.relu(inputs.flatten(1) - self.thresholds.to(inputs.dtype))
        return (opened @ self.weights.to(inputs.dtype).T) * scale


class ScalarOutput(nn.Module):
    """One number for each example, without a dimension of classes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.gates = GateNet(shape, classes=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.gates(inputs).squeeze(1)


class TwoDimensionalOutput(nn.Module):
    """Outputs of shape (N, 3, 2): targets are pairs."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.gates = GateNet(shape, classes=6)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.gates(inputs).reshape(-1, 3, 2)


class Watched(nn.Module):
    """Counts forward passes, and fails in the one numbered ``fails_at``."""

    def __init__(self, model: nn.Module, *, fails_at: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.calls = 0
        self.rows = 0
        self.fails_at = fails_at

    def forward(self, *arguments: Tensor) -> Tensor:
        self.calls += 1
        self.rows += len(arguments[0])
        if self.calls == self.fails_at:
            raise InterruptedError("the model failed on purpose")
        return self.model(*arguments)


def mlp(features: int = 6, *, classes: int = 3, seed: int = 0) -> nn.Module:
    """A smooth network of vectors, in evaluation mode, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(features, 8), nn.Softplus(), nn.Linear(8, classes))
    return net.double().eval()


class Cnn(nn.Sequential):
    """Layers, flattened before the last: Captum's LRP has no rule for a layer that flattens."""

    def forward(self, inputs: Tensor) -> Tensor:
        *body, head = self
        for layer in body:
            inputs = layer(inputs)
        return head(inputs.flatten(1))


def cnn(*, classes: int = 4, seed: int = 0) -> Cnn:
    """A network of images of shape (3, 8, 8) with batch-norm, in evaluation mode, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Cnn(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2),
            nn.ReLU(),
            nn.Linear(8 * 9, classes),
        )
    return net.double().eval()


def images(rows: int = 2, *, seed: int = 0, shape: tuple[int, ...] = (3, 8, 8)) -> Tensor:
    """Images in [0, 1], float64."""
    return torch.rand((rows, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
