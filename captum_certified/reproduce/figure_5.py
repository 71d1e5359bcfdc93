"""Figure 5: maps of digits by a plainly trained network and by one trained adversarially for classification."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from captum.attr import Saliency

from captum_certified._captum import as_tuple
from captum_certified.reproduce.compared_maps import Explanation
from captum_certified.reproduce.experiment import Part, Row, Scale, mean, where
from captum_certified.reproduce.mnist_networks import (
    attack_digits,
    ddn_loss,
    fixed_settings,
    plain_loss,
    trained_network,
)
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.reproduce.picture_gallery import Gallery, picture_rows, without_pictures
from captum_certified.storage import JsonObject
from captum_certified.training import TrainingLoss

__all__ = ["AdversarialTraining"]

_SEED = 0
_TRAININGS: Mapping[str, Callable[[int, Scale], TrainingLoss]] = {
    "baseline": lambda seed, _: plain_loss(seed),
    "DDN": ddn_loss,
}


class _Size(NamedTuple):
    """The numbers of test images, and the steps P of Algorithm 1."""

    shown: int
    attacked: int
    steps: int


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(shown=2, attacked=4, steps=1),
    "cpu": _Size(shown=4, attacked=200, steps=20),
    "dry": _Size(shown=2, attacked=4, steps=1),
    "paper": _Size(shown=8, attacked=10000, steps=20),
}


class AdversarialTraining(Gallery):
    """Figure 5. Maps of digits before and after an attack, by a baseline network and by one trained by DDN.

    DDN is adversarial training for classification. It does not make maps robust.
    """

    name = "ddn"
    uses = ("mnist",)
    title = "Figure 5: saliency maps of digits under attack, by a baseline network and by one trained by DDN"
    claim = "Adversarial training for classification hardly makes maps robust: 0.585 is left instead of 0.573."
    labels: Mapping[str, str] = {name: name for name in _TRAININGS}

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of both trainings."""
        losses = {name: repr(make(_SEED, scale)) for name, make in _TRAININGS.items()}
        return {**_SIZES[scale]._asdict(), "losses": losses, **fixed_settings(scale)}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each network."""
        return [Part(name, functools.partial(_rows, name, scale, material)) for name in _TRAININGS]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return, for each network, the mean overlap over the images on which the attack succeeded, and their number.

        Also return the fraction of the attacked images that the network classifies correctly.
        """
        summary: dict[str, JsonObject] = {}
        for name in self.labels:
            own = where(rows, explanation=name)
            attacked = where(own, succeeded=True)
            summary[name] = {
                "overlap": mean(attacked, "overlap") if attacked else None,
                "images": len(attacked),
                "accuracy": mean(own, "correct"),
            }
        return dict(summary)


def _rows(name: str, scale: Scale, material: Material) -> list[Row]:
    """Train a network, and attack its maps. Only the first rows have pictures."""
    size = _SIZES[scale]
    model = trained_network(_TRAININGS[name](_SEED, scale), _SEED, scale, material)
    images, classes = (some[: size.attacked] for some in material.mnist(train=False))
    result, predicted = attack_digits(model, images, steps=size.steps), model(images).argmax(dim=1)
    [perturbed] = as_tuple(result.perturbed)
    rows = picture_rows(name, Explanation(Saliency(model), {"target": predicted}), images, perturbed)
    return [
        {
            **(row if i < size.shown else without_pictures(row)),
            "succeeded": bool(result.succeeded[i]),
            "correct": bool(predicted[i] == classes[i]),
        }
        for i, row in enumerate(rows)
    ]
