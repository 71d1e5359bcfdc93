"""Center Smoothing and the mean map are compared on the same draws."""

import pytest
import torch
from captum.attr import Saliency
from networks import mlp
from torch import nn
from torch.testing import assert_close

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.reproduce.center import SEED, SIGMA, K, compared, mean_map, sets_of_draws

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
