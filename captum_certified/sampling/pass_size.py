"""The default number of draws in a pass, which depends on the size of the inputs and on the free memory."""

from dataclasses import dataclass, replace

from torch import Tensor

from captum_certified.sampling.free_memory import free_memory

__all__ = ["PassSize"]

_MOST_ROWS = 64
# Estimate of the bytes that one draw of one example takes for each byte of its input: noise, activations, gradients,
# maps. Measured for Saliency at 224 × 224: 72 for ResNet-18, 96 for MobileNet v1 (0.75), 152 for MobileNet v2.
_BYTES_PER_INPUT_BYTE = 160
# Other networks may take twice the estimate, and statistics and other programs need memory too.
_SHARE_OF_FREE = 0.5


@dataclass(frozen=True, kw_only=True)
class PassSize:
    """The default number of draws in a pass, and the memory estimate from which it was computed.

    Attributes:
        draws: Number of draws computed together.
        draw_bytes: Estimated bytes of one draw of all examples.
        free_bytes: Free memory; ``None`` if it is unknown.
        by_memory: Whether the free memory decided the size, and not the limit of 64 rows.
    """

    draws: int
    draw_bytes: int
    free_bytes: int | None = None
    by_memory: bool = False

    @classmethod
    def fitting(cls, inputs: tuple[Tensor, ...], *, copies: int = 1) -> "PassSize":
        """Return the default size for inputs of shape (N, …), with the memory that is free on their device now.

        Args:
            inputs: Clean inputs.
            copies: Number of copies of a row that the method computes together, such as the steps of a path.
        """
        input_bytes = sum(tensor.numel() * tensor.element_size() for tensor in inputs)
        draw_bytes = _BYTES_PER_INPUT_BYTE * copies * input_bytes
        return cls.of(len(inputs[0]), draw_bytes=draw_bytes, free_bytes=free_memory(inputs[0].device))

    @classmethod
    def of(cls, rows: int, *, draw_bytes: int, free_bytes: int | None) -> "PassSize":
        """Return the most draws with at most 64 rows that fit into half of the free memory, but at least 1 draw.

        If the free memory decides the size, the size is a power of 2. Small changes of the free memory then seldom
        change it.

        Example:
            >>> PassSize.of(1, draw_bytes=100, free_bytes=2_600)
            PassSize(draws=8, draw_bytes=100, free_bytes=2600, by_memory=True)
        """
        most = max(1, _MOST_ROWS // max(rows, 1))
        fit = most if free_bytes is None else int(_SHARE_OF_FREE * free_bytes) // max(draw_bytes, 1)
        if fit >= most:
            return cls(draws=most, draw_bytes=draw_bytes, free_bytes=free_bytes)
        draws = 1 << (max(fit, 1).bit_length() - 1)
        return cls(draws=draws, draw_bytes=draw_bytes, free_bytes=free_bytes, by_memory=most > 1)

    def at_most(self, draws: int) -> "PassSize":
        """Return a size of no more than the given number of draws."""
        return self if draws >= self.draws else replace(self, draws=draws)

    def __str__(self) -> str:
        draws = "1 draw" if self.draws == 1 else f"{self.draws} draws"
        free = "" if self.free_bytes is None else f", with {_gigabytes(self.free_bytes)} free"
        return f"passes of {draws}, estimated at {_gigabytes(self.draws * self.draw_bytes)} each{free}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2g} GB"
