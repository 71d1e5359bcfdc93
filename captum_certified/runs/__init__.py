"""Results on disk: written whole, and verified from the saved map."""

from captum_certified.runs.results import input_digest, write_result
from captum_certified.runs.verification import Verification, verify

__all__ = ["Verification", "input_digest", "verify", "write_result"]
