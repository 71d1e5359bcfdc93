"""Recomputes a stored certificate from its map."""

from dataclasses import replace

import torch

from captum_certified.certify.bounds import BEST
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.certifier import Certifier
from captum_certified.certify.rank import THEOREM3, RankCertificate
from captum_certified.certify.region import RegionCertificate
from captum_certified.certify.selection import SelectionCertificate
from captum_certified.certify.top_k import TopKCertificate

__all__ = ["agrees", "certifier_of", "recompute"]

# Names of bounds that are no choice of the certifier's, but the only one of their kind of certificate.
_OWN = frozenset({THEOREM3, "region"})


def recompute(certificate: Certificate) -> Certificate:
    """Return the certificate that the map and the settings of a certificate give now.

    Args:
        certificate: A certificate, usually one that was loaded.

    Returns:
        A certificate of the same kind.
    """
    certifier, smoothed_map, radius = certifier_of(certificate), certificate.map, certificate.at_radius
    if isinstance(certificate, TopKCertificate):
        fresh = certifier.top_k(smoothed_map, k=certificate.k, radius=radius, fresh_draws=certificate.fresh_draws)
        # What a sequential run was asked for is no result; its looks are in the map.
        return replace(fresh, asked_overlap=certificate.asked_overlap, most_draws=certificate.most_draws)
    if isinstance(certificate, RankCertificate):
        if certificate.bound == THEOREM3:
            return certifier.median_rank(smoothed_map, radius=radius)
        return certifier.rank(smoothed_map, radius=radius, fresh_draws=certificate.fresh_draws)
    if isinstance(certificate, RegionCertificate):
        return certifier.region(smoothed_map, name=certificate.name, radius=radius)
    if isinstance(certificate, SelectionCertificate):
        return certifier.selection(smoothed_map, radius=radius)
    return certifier.distance(smoothed_map, radius=radius)


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
