"""The certifier, its certificates, and their verification.

The *score* of a feature is its value in the exact smoothed map, the mean over all noise. A confidence interval *misses*
if it does not contain its score, and then counts as a violation. The *level* is the probability that a statement about
an example may fail. The *plain map* is the attribution of the clean input. A *reference set* is a set of features whose
overlap with the top K is certified. A sequential run certifies the draws made so far at interim *looks*.
"""

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
