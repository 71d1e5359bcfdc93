"""Center Smoothing and the mean map are compared on the same draws."""

import json
import re
from pathlib import Path

import pytest
import torch
from captum.attr import Saliency
from networks import mlp
from torch import nn
from torch.testing import assert_close

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.reproduce.center import SEED, SIGMA, K, compared, mean_map, sets_of_draws

DOCS = Path(__file__).parents[2] / "docs"
RECORD = json.loads((DOCS / "results" / "center.json").read_text())
IMAGE = torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "groups", "features"), [("values", None, 768), ("pixels", "channels", 256), ("cells", "patches:8", 4)]
)
def test_the_mean_of_the_sets_is_the_smoothed_map_and_has_its_certificates(name, groups, features):
    model = nn.Sequential(nn.Flatten(), mlp(768).float()).eval()
    sets = sets_of_draws(model, IMAGE, 0, 256)[name]
    assert sets.shape == (256, features)
    mean = SparsifiedSmoothGrad(Saliency(model), tau=K).sample(
        IMAGE, nt_samples=256, nt_samples_batch_size=64, stdevs=SIGMA, target=0, groups=groups, seed=SEED
    )
    ours = mean_map(sets)
    assert_close(ours.features, mean.features)
    certificates = [Certifier().top_k(one, k=K, radius=0.02) for one in (ours, mean)]
    assert certificates[0].overlap.tolist() == certificates[1].overlap.tolist()


def test_center_smoothing_certifies_sets_that_agree_and_none_that_do_not():
    common = torch.zeros(10, dtype=torch.bool)
    common[:2] = True
    [same, *_] = compared(common.repeat(4096, 1))
    assert (same["center"], same["ours"], same["shared_by_two_draws"], same["distance_to_mean"]) == (1.0, 1.0, 1.0, 0.0)
    generator = torch.Generator().manual_seed(0)
    random = torch.rand((4096, 100), generator=generator).argsort(dim=1) < 20
    assert all(row["center"] == 0.0 for row in compared(random))
    assert compared(random)[0]["shared_by_two_draws"] == pytest.approx(0.2, abs=0.01)


def test_the_page_has_the_numbers_of_the_record():
    page, maps = (DOCS / "comparison.md").read_text(), RECORD["summary"]["maps"]
    rows = [line.split(" | ") for line in page.splitlines() if re.match(r"\| (3072|1024|16) ", line)]
    assert len(rows) == len(maps)
    for cells, found in zip(rows, maps.values(), strict=True):
        printed = [[float(number) for number in re.findall(r"\d*\.?\d+", cell)] for cell in cells]
        assert printed[0][0] == found["features"]
        assert printed[1] == [pytest.approx(found["shared_by_two_draws"], abs=0.005)]
        assert printed[2] == pytest.approx([found["distance_to_mean"], found["norm_of_mean"]], abs=0.05)
        for told, column in zip(printed[3:], ("center", "ours"), strict=True):
            assert told == pytest.approx(list(found[column].values()), abs=0.0051)


def test_the_code_of_the_page_prints_the_numbers_that_it_tells(capsys):
    page = (DOCS / "comparison.md").read_text()
    [block] = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    exec(compile(block, "comparison.md", "exec"), {"__name__": "page"})  # noqa: S102
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    near, far = lines[0::2], lines[1::2]
    assert [float(row[0]) for row in near] == pytest.approx([0.76, 0.84, 0.85], abs=0.011)
    for rows, told in ((near, ([0.31, 0.54, 0.54], [0.92, 1, 0.92])), (far, ([0.08, 0.54, 0.31], [0.62, 0.69, 0.77]))):
        # One feature of 13 is .077, and training differs a little between machines.
        assert [float(row[2]) for row in rows] == pytest.approx(told[0], abs=0.24)
        assert [float(row[3]) for row in rows] == pytest.approx(told[1], abs=0.08)
