"""Runs over data sets: sampling can be resumed and split over processes, and results are stored and verified.

Draws are made in *blocks*. After each block, a *checkpoint* stores the map of all draws made so far. The *goal* of a
run is the statement to certify: the size of the top set, the radius and the overlap.
"""

from captum_certified.images.framing import Framing
from captum_certified.images.labelled_images import labelled_images
from captum_certified.runs.dataset import certify_dataset
from captum_certified.runs.model_card import model_card
from captum_certified.runs.results import input_digest, write_result
from captum_certified.runs.summary import DatasetSummary, ExampleResult
from captum_certified.runs.verification import Verification, verify

__all__ = [
    "DatasetSummary",
    "ExampleResult",
    "Framing",
    "Verification",
    "certify_dataset",
    "input_digest",
    "labelled_images",
    "model_card",
    "verify",
    "write_result",
]
