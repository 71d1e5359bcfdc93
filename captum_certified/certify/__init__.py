"""The certifier, its certificates, and their verification."""

from captum_certified.certify.certificate import Certificate
from captum_certified.certify.certifier import Certifier
from captum_certified.certify.distance import DistanceCertificate
from captum_certified.certify.rank import RankCertificate
from captum_certified.certify.region import RegionCertificate
from captum_certified.certify.selection import SelectionCertificate
from captum_certified.certify.top_k import TopKCertificate
from captum_certified.certify.verification import agrees, recompute

__all__ = [
    "Certificate",
    "Certifier",
    "DistanceCertificate",
    "RankCertificate",
    "RegionCertificate",
    "SelectionCertificate",
    "TopKCertificate",
    "agrees",
    "recompute",
]
