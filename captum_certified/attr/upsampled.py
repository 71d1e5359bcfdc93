"""A layer attribution at the resolution of the input."""

from typing import Any

from captum.attr import Attribution, LayerAttribution
from torch import Tensor

from captum_certified._captum import as_tuple, log_usage
from captum_certified.exceptions import InvalidInputError

__all__ = ["Upsampled"]


class Upsampled(Attribution):
    """Layer attribution whose maps are interpolated to the spatial size of the input.

    A certificate of an upsampled map is about pixels of the input. A certificate of the layer's own map is about cells
    of the layer. With ``mode="nearest"`` each cell becomes many pixels of equal value, and their order in a ranking is
    arbitrary. Prefer ``mode="bilinear"``, or certify the layer's own map.

    Args:
        layer_attribution: A Captum layer attribution, such as :class:`captum.attr.LayerGradCam`.
        size: Spatial size (height, width, …) of the result; ``None`` takes the size of the first input tensor.
        mode: Interpolation mode, as in :func:`torch.nn.functional.interpolate`.
        sum_channels: Whether to add the attributions of all channels at a position of the layer. The map then has one
            channel. Attributions of different signs cancel, as they do in Grad-CAM.

    Raises:
        InvalidInputError: ``layer_attribution`` is not a layer attribution.

    Example:
        >>> import torch
        >>> from captum.attr import LayerGradCam
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
        >>> method = Upsampled(LayerGradCam(model, model[0]))
        >>> method.attribute(torch.ones(1, 1, 8, 8), target=0).shape
        torch.Size([1, 1, 8, 8])
    """

    def __init__(
        self,
        layer_attribution: LayerAttribution,
        size: tuple[int, ...] | None = None,
        mode: str = "bilinear",
        *,
        sum_channels: bool = False,
    ) -> None:
        if not isinstance(layer_attribution, LayerAttribution):
            raise InvalidInputError(
                "Expected `layer_attribution` to be a Captum layer attribution, got "
                f"{type(layer_attribution).__name__}."
            )
        super().__init__(layer_attribution.forward_func)
        self.layer_attribution = layer_attribution
        self.size = size
        self.mode = mode
        self.sum_channels = sum_channels

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the layer method multiplies by the inputs."""
        return bool(self.layer_attribution.multiplies_by_inputs)

    @log_usage
    def attribute(self, inputs: Tensor | tuple[Tensor, ...], **kwargs: Any) -> Tensor | tuple[Tensor, ...]:
        """Return the layer's map at the size of the input.

        Args:
            inputs: Tensor of shape (N, C, …), or a tuple of them.
            **kwargs: Arguments of the layer method.

        Returns:
            Map of shape (N, C′, *size), where C′ is 1 if channels are added. If the layer has several outputs, a tuple
            of maps.

        Raises:
            InvalidInputError: The layer's map has no spatial dimensions, or not as many as ``size``.
        """
        size = self.size or tuple(as_tuple(inputs)[0].shape[2:])
        maps = self.layer_attribution.attribute(inputs, **kwargs)
        upsampled = tuple(self._interpolate(m, size) for m in as_tuple(maps))
        return upsampled if isinstance(maps, tuple) else upsampled[0]

    def _interpolate(self, layer_map: Tensor, size: tuple[int, ...]) -> Tensor:
        if layer_map.dim() < 3 or len(size) != layer_map.dim() - 2:
            raise InvalidInputError(
                f"Expected a layer map of {len(size)} spatial dimensions for `size`={size}, got shape "
                f"{tuple(layer_map.shape)}."
            )
        if self.sum_channels:
            layer_map = layer_map.sum(dim=1, keepdim=True)
        resized: Tensor = LayerAttribution.interpolate(layer_map, size, self.mode)
        return resized
