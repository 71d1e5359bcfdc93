"""Attacks on the certified smoothed maps of the demo, and on the plain saliency maps."""

from dataclasses import dataclass

from captum.attr import Saliency
from torch import Tensor, nn

from captum_certified.attr import SmoothedAttribution
from captum_certified.certify import TopKCertificate
from captum_certified.robust import Challenge, InterpretationAttack, challenge_certificate

__all__ = ["AttackedDigit", "attack_digit"]

_DRAWS = 32  # noise draws for each gradient. With this number, an attack takes about as long as a certificate.
_BLACK, _WHITE = 0.0, 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackedDigit:
    """The explanations of a digit after attacks within the certified radius.

    Attributes:
        plain: How many of the top K features of the plain saliency map stay in its top K when the plain map is
            attacked.
        challenge: The attack on the smoothed map, with the certificate of the map.
    """

    plain: int
    challenge: Challenge

    @property
    def smoothed(self) -> int:
        """How many of the top K features of the smoothed map stay in its top K when the smoothed map is attacked."""
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
    """Attack the plain and the smoothed map of one digit within the radius of the certificate."""
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
