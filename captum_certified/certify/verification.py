"""Recomputes a stored certificate from its map."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from captum_certified.certify.bounds.registry import BEST
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.certifier import Certifier
from captum_certified.certify.distance import DistanceCertificate
from captum_certified.certify.rank import THEOREM3, RankCertificate
from captum_certified.certify.region import RegionCertificate
from captum_certified.certify.selection import SelectionCertificate
from captum_certified.certify.top_k import TopKCertificate

__all__ = ["agrees", "certifier_of", "recompute"]

# Names of bounds that are no choice of the certifier's, but the only one of their kind of certificate.
_OWN = frozenset({THEOREM3, "region"})


def recompute(certificate: Certificate) -> Certificate:
    """The certificate that its map and settings give now.

    Args:
        certificate: A certificate, usually one that was loaded.

    Returns:
        A certificate of the same kind.
    """
    return _RECOMPUTE[type(certificate)](certifier_of(certificate), certificate)


def certifier_of(certificate: Certificate) -> Certifier:
    """A certifier that states of a map what a certificate states.

    Args:
        certificate: A certificate, usually one that was loaded.
    """
    bound = BEST if certificate.bound in _OWN else certificate.bound
    return Certifier(confidence=certificate.confidence, bound=bound, violations=certificate.violations)


def agrees(certificate: Certificate) -> bool:
    """Whether a certificate says exactly what its map and settings give.

    Args:
        certificate: A certificate, usually one that was loaded.

    Returns:
        Whether all numbers are equal.
    """
    stored, fresh = certificate._tensors(), recompute(certificate)._tensors()
    return stored.keys() == fresh.keys() and all(torch.equal(value, fresh[name]) for name, value in stored.items())


def _top_k(certifier: Certifier, certificate: TopKCertificate) -> TopKCertificate:
    fresh = certifier.top_k(
        certificate.map, k=certificate.k, radius=certificate.at_radius, fresh_draws=certificate.fresh_draws
    )
    # The map knows at which looks it was ended; what was asked for is no result.
    return replace(fresh, asked_overlap=certificate.asked_overlap, most_draws=certificate.most_draws)


def _ranks(certifier: Certifier, certificate: RankCertificate) -> RankCertificate:
    if certificate.bound == THEOREM3:
        return certifier.median_rank(certificate.map, radius=certificate.at_radius)
    return certifier.rank(certificate.map, radius=certificate.at_radius, fresh_draws=certificate.fresh_draws)


_RECOMPUTE: dict[type[Certificate], Callable[[Certifier, Any], Certificate]] = {
    TopKCertificate: _top_k,
    RankCertificate: _ranks,
    SelectionCertificate: lambda certifier, c: certifier.selection(c.map, radius=c.at_radius),
    DistanceCertificate: lambda certifier, c: certifier.distance(c.map, radius=c.at_radius),
    RegionCertificate: lambda certifier, c: certifier.region(c.map, name=c.name, radius=c.at_radius),
}
