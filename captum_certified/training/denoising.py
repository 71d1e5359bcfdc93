"""The loss of a denoiser, which must restore images and the classes that a classifier predicts for them."""

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from captum_certified.checks import checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.storage import digest
from captum_certified.training.loss import TrainingLoss, evaluation_mode, with_noise

__all__ = ["DenoisingLoss"]

_SMALLEST = 1e-12  # the change of scores is divided by their squared norm, but by no less than this number


@dataclass(kw_only=True, eq=False)
class DenoisingLoss(TrainingLoss):
    """Loss of a denoiser D at noisy copies x + σε of images: square error, and the change of a classifier's scores.

    MSE(D(x + σε), x) / σ² + ``stability`` · ‖F(D(x + σε)) − F(x)‖² / ‖F(x)‖².

    F is the classifier. The mean of the scores of an image is subtracted from them, because adding a number to all
    scores changes no probability. The first term is 1 for a denoiser that returns its input. The second term is small
    if the output of the classifier stays the same. Without the second term a denoiser also removes texture that the
    classifier needs. Call the loss, or :func:`~captum_certified.training.fit`, with the denoiser in place of the model.
    The loss does not use the classes of the examples, which may all be 0.

    Args:
        stdev: σ > 0, in the units of the inputs.
        classifier: F, which returns scores of shape (N, classes). It is used in evaluation mode, and its weights are
            not trained. ``None`` leaves the second term out.
        stability: Weight of the second term, at least 0.
        seed: Seed of the noise; ``None`` draws a fresh one.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Salman, Sun, Yang, Kapoor, and Kolter (2020), section 3. Their stability loss is the cross-entropy with the
        predicted class of the clean image. The change of all scores, used here, has gradients that vary less from batch
        to batch, so training is faster.

    Example:
        >>> import torch
        >>> from captum_certified.denoising import small_denoiser
        >>> from captum_certified.training import DenoisingLoss
        >>> denoiser, images = small_denoiser(seed=0), torch.rand(4, 3, 16, 16)
        >>> loss = DenoisingLoss(stdev=0.2, seed=0)(denoiser, images, torch.zeros(4, dtype=torch.int64))
        >>> 0.9 < loss.item() < 1.1  # the untrained denoiser returns its input
        True
    """

    stdev: float
    classifier: nn.Module | None = field(default=None, repr=False)
    stability: float = 10.0
    classifier_weights: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("stdev", self.stdev, above=0)
        checked_number("stability", self.stability, at_least=0)
        if self.classifier is not None:
            # A checkpoint identifies its training by the printed settings of the loss. This digest is one of these
            # settings.
            self.classifier_weights = digest(list(self.classifier.state_dict().values()))[:32]

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:  # noqa: ARG002
        """Return the mean loss of a batch. Each example has its own noise."""
        restored = model(with_noise(inputs, self.stdev, seed))
        if not isinstance(restored, Tensor) or restored.shape != inputs.shape:
            got = f"shape {tuple(restored.shape)}" if isinstance(restored, Tensor) else type(restored).__name__
            raise InvalidInputError(
                f"Expected `model` to be a denoiser that returns the shape of its input, {tuple(inputs.shape)}, got "
                f"{got}."
            )
        error = functional.mse_loss(restored, inputs) / self.stdev**2
        if self.classifier is None:
            return error
        return error + self.stability * _change_of_scores(self.classifier, inputs, restored)


def _change_of_scores(classifier: nn.Module, inputs: Tensor, restored: Tensor) -> Tensor:
    """Return the mean relative change of the classifier's centred scores."""
    frozen = {name: tensor.detach() for name, tensor in classifier.state_dict().items()}
    with evaluation_mode(classifier):
        before, after = (functional_call(classifier, frozen, (images,)) for images in (inputs, restored))
    before, after = (scores - scores.mean(dim=1, keepdim=True) for scores in (before, after))
    changes: Tensor = (after - before).square().sum(dim=1) / before.square().sum(dim=1).clamp_min(_SMALLEST)
    return changes.mean()
