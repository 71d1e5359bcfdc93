"""Attacks on the certified explanations of the demo, and on the plain ones."""

from dataclasses import dataclass

from captum.attr import Saliency
from torch import Tensor, nn

from captum_certified.attr import SmoothedAttribution
from captum_certified.certify import TopKCertificate
from captum_certified.robust import Challenge, InterpretationAttack, challenge_certificate

__all__ = ["AttackedDigit", "attack_digit"]

_DRAWS = 32  # in each gradient: the attack on the smoothed map then costs about as much as its certificate
_BLACK, _WHITE = 0.0, 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackedDigit:
    """The explanations of a digit after attacks within the certified radius.

    Attributes:
        plain: How many of the top K of the plain saliency map stay under the attack on that map.
        challenge: The attack on the smoothed map, beside its certificate.
    """

    plain: int
    challenge: Challenge

    @property
    def smoothed(self) -> int:
        """How many of the top K of the smoothed map stay under the attack on that map."""
        return int(self.challenge.overlap[0])


def attack_digit(
    model: nn.Module,
    explainer: SmoothedAttribution,
    image: Tensor,
    certificate: TopKCertificate,
    *,
    target: int,
    seed: int,
) -> AttackedDigit:
    """Attack the plain and the smoothed map of one digit within the radius of its certificate."""
    plain = InterpretationAttack(model, Saliency(model), lower_bound=_BLACK, upper_bound=_WHITE)
    overlap = plain.attack(image, certificate.radius, k=certificate.k, target=target, seed=seed).overlap
    challenge = challenge_certificate(
        certificate,
        explainer,
        image,
        attack_draws=_DRAWS,
        lower_bound=_BLACK,
        upper_bound=_WHITE,
        target=target,
        seed=seed,
    )
    return AttackedDigit(plain=int(overlap), challenge=challenge)
