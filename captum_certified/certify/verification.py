"""Verify a certificate: recompute its numbers from its map, and compare them with the stored numbers."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from captum_certified.certify.bounds import BEST
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.certifier import Certifier
from captum_certified.certify.rank import THEOREM3, RankCertificate
from captum_certified.certify.reference import recorded_reference
from captum_certified.certify.region import RegionCertificate
from captum_certified.certify.selection import SelectionCertificate
from captum_certified.certify.top_k import TopKCertificate
from captum_certified.storage import Json

__all__ = ["agrees", "certifier_of", "curve_of", "recompute"]

# Bounds that belong to a single kind of certificate. ``Certifier(bound=…)`` does not accept them.
_OF_ONE_KIND = frozenset({THEOREM3, "region"})


def recompute(certificate: Certificate) -> Certificate:
    """Compute a certificate again, from its map and its settings."""
    certifier, smoothed_map, radius = certifier_of(certificate), certificate.map, certificate.at_radius
    if isinstance(certificate, TopKCertificate):
        fresh = certifier.top_k(
            smoothed_map,
            k=certificate.k,
            radius=radius,
            fresh_draws=certificate.fresh_draws,
            reference=recorded_reference(certificate.reference),
        )
        # The goal of a sequential run cannot be recomputed, so it is copied. The looks are recorded in the map.
        return replace(
            fresh,
            asked_overlap=certificate.asked_overlap,
            most_draws=certificate.most_draws,
            reference=certificate.reference,
        )
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
    """Return the certifier with the confidence, the bound and the violations of a certificate."""
    bound = BEST if certificate.bound in _OF_ONE_KIND else certificate.bound
    return Certifier(confidence=certificate.confidence, bound=bound, violations=certificate.violations)


def curve_of(certificate: TopKCertificate, radii: Sequence[float]) -> list[Json]:
    """Certify the overlap of one example at several radii, with the settings of its certificate."""
    reference = recorded_reference(certificate.reference)
    overlaps = certifier_of(certificate).top_k_curve(certificate.map, k=certificate.k, radii=radii, reference=reference)
    return list(overlaps[0].tolist())


def agrees(certificate: Certificate) -> bool:
    """Return whether all numbers of a certificate equal the numbers recomputed from its map and settings."""
    stored, fresh = certificate._tensors(), recompute(certificate)._tensors()
    return stored.keys() == fresh.keys() and all(torch.equal(value, fresh[name]) for name, value in stored.items())
