"""Reprs stay short, whatever the number of examples and features."""

import pytest
import torch

from captum_certified import Certifier, CovarianceSummary, SmoothedMap
from captum_certified.certify.bounds.registry import BOUNDS
from captum_certified.certify.bounds.spectral import BestBound, displacement_of
from captum_certified.certify.goal import Goal
from captum_certified.certify.prover import Prover
from captum_certified.certify.stopping_rule import StoppingRule
from captum_certified.maps import select_rows
from captum_certified.robust import AttackResult
from captum_certified.robust.challenge import Challenge
from captum_certified.robust.surrogate import Surrogate
from captum_certified.visualization.report_data import top_sets

ROWS, N = 60, 400
COUNTS = torch.randint(0, 100, (ROWS, N), generator=torch.Generator().manual_seed(0))
VALUES = torch.rand(ROWS)
MAP = SmoothedMap.from_counts(
    COUNTS, n_samples=100, stdevs=0.1, max_squared_norm=50.0,
    covariance=CovarianceSummary(torch.full((ROWS,), 50.0), VALUES, VALUES, VALUES),
)  # fmt: skip


def challenge():
    certificate = Certifier().top_k(MAP, k=9, radius=0.01)
    return Challenge(
        certificate=certificate,
        perturbed=torch.rand(ROWS, N),
        map=MAP,
        overlap=certificate.overlap + 1,
        surrogate=Surrogate(None, "no ReLU was seen"),
    )


PRINTED = {
    "map": lambda: MAP,
    "layout": lambda: SmoothedMap.stack([MAP]).layout,
    "covariance": lambda: MAP.covariance,
    "displacement": lambda: displacement_of(MAP, 0.05),
    "certifier": lambda: Certifier(confidence=0.9),
    "stopping rule": lambda: StoppingRule(Prover(), Goal(k=9, radius=0.1, overlap=3), [64, 128]),
    "best bound": lambda: BestBound(BOUNDS["clopper_pearson"]),
    "challenge": challenge,
    "attack": lambda: AttackResult(
        perturbed=torch.rand(ROWS, N), overlap=torch.full((ROWS,), 3), k=9,
        succeeded=torch.ones(ROWS, dtype=torch.bool), class_kept=torch.ones(ROWS, dtype=torch.bool),
        surrogate=Surrogate(30.0),
    ),
    "top set": lambda: top_sets(challenge().certificate, select_rows(MAP, torch.tensor([0])), [0.2])[0],
    **{f"bound {name}": lambda bound=bound: bound for name, bound in BOUNDS.items()},
}  # fmt: skip


@pytest.mark.parametrize("kind", list(PRINTED))
def test_reprs_of_many_examples_are_one_short_line(kind):
    text = repr(PRINTED[kind]())
    assert len(text) < 250
    assert "\n" not in text
    assert "tensor(" not in text
    assert "array(" not in text
    assert " at 0x" not in text


def test_reprs_contain_the_most_important_numbers():
    assert repr(PRINTED["covariance"]()) == "CovarianceSummary(full form of 60 rows, 50 pairs)"
    assert repr(PRINTED["certifier"]()) == "Certifier(confidence=0.9, bound='best', violations='auto')"
    assert repr(PRINTED["attack"]()).startswith("AttackResult(mean of 60 examples: 33.3% of the top 9 left, succeeded")
    assert repr(PRINTED["challenge"]()).startswith("Challenge(mean of 60 examples: ")
