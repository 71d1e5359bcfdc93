"""Certificates, the command line and the documentation state under which conditions a certificate holds."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from captum.attr import Saliency

import captum_certified
from captum_certified import Certifier, CovarianceSummary, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.certify.few_draws import too_few_draws
from captum_certified.cli.program import main
from captum_certified.theory import fewest_draws, fewest_draws_spectral, look_level
from captum_certified.visualization import report

ROOT = Path(__file__).parents[2]
PACKAGE = Path(captum_certified.__file__).parent
FIXED = re.compile(r"held\s+fixed at\s+(every|those)[\w\s]*, also\s+where the\s+(prediction|model predicts)")
ARGMAX = re.compile(r"about\s+the\s+class\s+predicted\s+at\s+each\s+noisy\s+copy")


class TwoHills(torch.nn.Module):
    """A model whose two classes depend on different features."""

    def forward(self, images):
        z = images.flatten(1)
        return torch.stack([z[:, :8].sinh().sum(1), z[:, 8:].sinh().sum(1)], dim=1)


def certified(target, **settings):
    explainer = SparsifiedSmoothGrad(Saliency(TwoHills()), tau=0.25)
    return Certifier(explainer).certify(
        torch.full((2, 1, 4, 4), 0.5), target=target, k=4, radius=0.01, nt_samples=64, stdevs=0.1, seed=0, **settings
    )


def statements(certificate):
    certifier, smoothed_map = Certifier(), certificate.map
    yield certificate
    yield certifier.rank(smoothed_map, radius=0.01)
    yield certifier.median_rank(smoothed_map, radius=0.01)
    yield certifier.selection(smoothed_map, radius=0.01)
    yield certifier.distance(smoothed_map, radius=0.01)
    yield certifier.region(smoothed_map, radius=0.01)


# -- what is held fixed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0, torch.tensor([0, 1])])
def test_every_certificate_states_that_the_class_is_held_fixed(target):
    region = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    region[..., :2] = True
    for statement in statements(certified(target, region=region)):
        assert FIXED.search(statement.held_fixed)
        assert repr(statement).splitlines()[-1] == f"  {statement.held_fixed}"
        assert statement.held_fixed in statement._repr_html_()


def test_a_certificate_of_the_predicted_class_states_that_the_class_may_change():
    region = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    for statement in statements(certified("argmax", region=region)):
        assert ARGMAX.search(statement.held_fixed)
        assert "arguments are held fixed" in statement.held_fixed
        assert statement.held_fixed in repr(statement)


def test_a_certificate_of_a_map_from_numbers_states_that_the_class_is_held_fixed():
    smoothed_map = SmoothedMap.from_counts(torch.tensor([[90, 50, 10]]), n_samples=100, stdevs=0.2)
    assert FIXED.search(repr(Certifier().top_k(smoothed_map, k=1, radius=0.0)))


@pytest.mark.parametrize(("target", "pattern"), [(0, FIXED), ("argmax", ARGMAX)])
def test_the_report_states_it(target, pattern, tmp_path):
    report(certified(target), tmp_path / "page.html", image=torch.rand(2, 1, 4, 4))
    assert pattern.search((tmp_path / "page.html").read_text())


def test_the_command_line_states_it(capsys):
    main(["certify", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert FIXED.search(text)
    assert ARGMAX.search(text)


@pytest.mark.parametrize("page", ["README.md", "docs/guide/reading.md"])
def test_the_documentation_states_it(page):
    text = (ROOT / page).read_text()
    assert FIXED.search(text)
    assert ARGMAX.search(text)


# -- too few draws -------------------------------------------------------------------------------------------------


def easiest_map(q, n, k):
    """The map of q draws that is easiest to certify: every draw selects exactly the top K."""
    counts = torch.zeros(1, n, dtype=torch.int64)
    counts[:, :k] = q
    return SmoothedMap.from_counts(counts, n_samples=q, stdevs=1.0)


@pytest.mark.parametrize("bound", ["clopper_pearson", "kl", "hoeffding", "empirical_bernstein", "theorem2"])
@pytest.mark.parametrize(("n", "k", "violations"), [(7, 2, 0), (1000, 200, 0), (1000, 200, 3)])
@pytest.mark.parametrize("radius", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("confidence", [0.6, 0.95, 1 - 1e-6])
def test_the_fewest_draws_certify_the_easiest_map(bound, n, k, violations, radius, confidence):
    certifier = Certifier(bound=bound, violations=violations, confidence=confidence)
    allowed = 0 if bound == "theorem2" else violations
    interval = "hoeffding" if bound == "theorem2" else bound
    fewest = int(fewest_draws(interval, tail=(1 - confidence) * (allowed + 1) / (2 * n), ratio=radius))
    enough = certifier.top_k(easiest_map(fewest, n, k), k=k, radius=radius)
    assert int(enough.overlap) > 0
    assert "no map" not in repr(enough)
    if fewest > 2:
        short = certifier.top_k(easiest_map(fewest - 1, n, k), k=k, radius=radius)
        assert int(short.overlap) == 0
        said = f" and {allowed} violation{'s' * (allowed > 1)}" if allowed else ""
        no_map = f"; under bound {bound!r}{said} no map of {n} features can have a certified overlap above 2K − n at"
        assert no_map in repr(short)
        assert f"from fewer than {fewest} draws" in repr(short)


@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-4])
@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_every_spectral_certificate_needs_the_fewest_draws(alpha, ratio):
    zero, fewest = torch.zeros(1), fewest_draws_spectral(alpha=alpha, ratio=ratio)
    certifier = Certifier(bound="spectral", confidence=1 - alpha)
    for n, s in ((4, 1), (100, 10), (100, 100), (2000, 1)):
        for k in {1, n // 5, n // 2} - {0}:
            for q in range(2, int(fewest) + 40):
                ideal = dataclasses.replace(
                    easiest_map(q, n, min(k, s)),
                    max_squared_norm=float(s),
                    covariance=CovarianceSummary(torch.tensor([float(max(q // 2, 1))]), zero, zero, zero),
                )
                if int(certifier.top_k(ideal, k=k, radius=ratio).overlap) > 0:
                    assert q >= fewest
                    break


def test_statements_about_features_from_ten_draws_state_that_these_are_too_few():
    counts = torch.zeros(1, 150_528, dtype=torch.int64)
    counts[:, :15_000] = 10
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=10, stdevs=0.2)
    certifier = Certifier()
    for statement in (
        certifier.top_k(smoothed_map, k=0.1, radius=0.05),
        certifier.rank(smoothed_map, radius=0.05),
        certifier.selection(smoothed_map, radius=0.05),
    ):
        assert "no map of 150528 features can " in repr(statement)
        assert "at this radius and confidence from fewer than" in repr(statement)


def test_too_few_draws_are_judged_at_the_level_of_the_look():
    sentence = too_few_draws("kl", n_samples=12, n_features=20, ratio=0.0, level=look_level(0.05, 3))
    assert sentence.endswith("from fewer than 14 draws")
    assert too_few_draws("kl", n_samples=12, n_features=20, ratio=0.0, level=0.05) is None


def test_violations_need_fewer_draws():
    """Ten draws certify 20 of 30 features with ten violations. Without violations 12 draws are needed."""
    counts = torch.zeros(1, 60, dtype=torch.int64)
    counts[:, :30] = 10
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=10, stdevs=1.0)
    assert Certifier(violations=10).top_k(smoothed_map, k=30, radius=0.0).overlap.tolist() == [20]
    none = Certifier(violations=0).top_k(smoothed_map, k=30, radius=0.0)
    assert none.overlap.tolist() == [0]
    assert "; under bound 'clopper_pearson' no map of 60 features can have a certified overlap above" in repr(none)
    assert "from fewer than 12 draws" in repr(none)
    assert Certifier(violations=0).top_k(smoothed_map, k=31, radius=0.0).overlap.tolist() == [2]  # 2K − n


def test_radii_that_no_number_of_draws_can_certify():
    for bound in ("best", "spectral", "hoeffding"):
        sentence = too_few_draws(bound, n_samples=10**6, n_features=9, ratio=60.0, level=0.05)
        assert sentence == f"under bound {bound!r} no map of 9 features can be certified at this radius"
    assert "2.1e+07 draws" in too_few_draws("kl", n_samples=9, n_features=9, ratio=5.0, level=0.05)
    assert too_few_draws("region", n_samples=2, n_features=9, ratio=0.0, level=0.05) is None


def test_a_weak_map_of_many_draws_does_not_have_too_few_draws():
    weak = SmoothedMap.from_counts(torch.full((1, 6), 500), n_samples=1000, stdevs=0.2)
    assert "no map" not in repr(Certifier().top_k(weak, k=2, radius=0.0))


# -- advice --------------------------------------------------------------------------------------------------------


def test_no_text_advises_a_choice_that_voids_a_certificate():
    """Choosing more draws, another radius or other noise after looking at a result voids its certificate."""
    advice = re.compile(
        r"(try|take|use|raise|with)\s+(more\s+(draws|noise)|a\s+(smaller|shorter)\s+radius)", re.IGNORECASE
    )
    for folder in ("cli", "certify", "visualization"):
        for path in (PACKAGE / folder).iterdir():
            if path.suffix in (".py", ".html"):
                assert not advice.search(path.read_text()), path


@pytest.mark.parametrize("name", ["fresh_draws", "distance", "median_rank", "region"])
def test_texts_about_statements_that_hold_together_name_the_exceptions(name):
    for text in (
        (ROOT / "docs/guide/bounds.md").read_text().split("Other statements from the same map")[1],
        (ROOT / "docs/design.md").read_text().split("everything that one\nmap certifies under")[1][:400],
        Certifier.__doc__,
    ):
        assert re.search(rf"(hold|holds)\s+together.*{name}", text, re.DOTALL)
