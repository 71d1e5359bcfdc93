"""A benchmark of explanations: what can be certified of each, what attacks leave, and what empirical metrics say."""

from captum_certified.benchmark.benchmarking import benchmark
from captum_certified.benchmark.cells import Entry
from captum_certified.benchmark.columns import Column, Mean
from captum_certified.benchmark.leaderboard import Leaderboard, Row
from captum_certified.benchmark.shams import ConstantMap, EdgeDetector, random_map
from captum_certified.benchmark.submission import write_submission
from captum_certified.benchmark.verification import PartVerification, is_benchmark, verify_benchmark

__all__ = [
    "Column",
    "ConstantMap",
    "EdgeDetector",
    "Entry",
    "Leaderboard",
    "Mean",
    "PartVerification",
    "Row",
    "benchmark",
    "is_benchmark",
    "random_map",
    "verify_benchmark",
    "write_submission",
]
