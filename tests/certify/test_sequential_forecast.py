"""The forecast after the first look of a sequential run."""

import re

import pytest
import torch
from captum.attr import Saliency
from sequential_runs import X, certified, explainer

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.certify.forecast import Forecast, forecast_of_looks
from captum_certified.certify.goal import Goal
from captum_certified.certify.stopping_rule import StoppingRule, at_look
from captum_certified.theory import look_sizes


def test_the_forecast_after_the_first_look_is_written_once(capsys):
    certified(show_progress=True)
    said = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "forecast" in line]
    assert len(said) == 1
    pattern = (
        r"forecast after 64 draws: ~0\.\d\d to \d\.\d\d of the top set at 1024 draws \(asked 0\.75\); about \d+ s left"
    )
    assert re.fullmatch(pattern, said[0])
    certified()
    certified(radius=0.01, overlap=1, show_progress=True)
    assert "forecast" not in capsys.readouterr().err


def test_the_forecast_counts_the_draws_to_the_first_promising_look():
    smoothed_map = explainer().sample(X, nt_samples=64, stdevs=0.1, seed=1, covariance=64, target=1)
    certifier = Certifier()
    rule = StoppingRule(certifier.prover, Goal(k=12, radius=0.03, overlap=10), look_sizes(64, 1000))
    seen = forecast_of_looks(smoothed_map, rule, seconds=6.0, rows=12)
    promised = {
        look: certifier.forecast(at_look(smoothed_map, look), k=12, radius=0.03, nt_samples=size).tolist()
        for look, size in enumerate(rule.sizes, start=1)
    }
    needed = [
        next((rule.sizes[look - 1] for look in (2, 3, 4) if promised[look][row] >= 10), 1000) for row in range(len(X))
    ]
    assert len(set(needed)) > 1
    assert seen.draws_left == sum(needed) - 64 * 6
    assert seen.seconds_left == pytest.approx(6.0 * seen.draws_left / (64 * 12))
    assert (seen.least, seen.most) == (min(promised[5]) / 12, max(promised[5]) / 12)
    assert (seen.draws, seen.most_draws, seen.asked) == (64, 1000, 10 / 12)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89.0, "89 s"), (100.0, "2 min"), (5000.0, "83 min"), (9000.0, "2.5 h")]
)
def test_the_forecast_reads_as_documented(seconds, words):
    seen = Forecast(
        draws=2048, most_draws=8192, asked=0.5, least=0.62, most=0.62, draws_left=6144, seconds_left=seconds
    )
    assert str(seen) == (
        f"forecast after 2048 draws: ~0.62 of the top set at 8192 draws (asked 0.50); about {words} left"
    )


def test_rounded_counts_of_a_forecast_keep_the_bound_on_the_norm():
    """Each of 999 draws has three ones. Counts that are rounded one by one would add up to one more."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).eval()
    certifier = Certifier(SparsifiedSmoothGrad(Saliency(model), tau=0.25), bound="spectral")
    settings = {"target": 0, "k": 4, "radius": 0.1, "stdevs": 0.25, "seed": 3, "covariance": 64, "nt_samples": 999}
    certificate = certifier.certify(torch.rand(1, 12), overlap=4, **settings)
    assert certificate.stopped[0] in ("certified", "hopeless", "cap")
    for draws in range(2, 200):
        certifier.forecast(certificate.map, k=4, radius=0.1, nt_samples=draws)
