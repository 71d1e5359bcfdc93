"""Superpixels: exactly as many connected regions as asked for, the same in every call, and features of a map."""

import sys

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from scipy import ndimage
from torch import nn

from captum_certified import Certifier, SparsifiedSmoothGrad, superpixels
from captum_certified.exceptions import CaptumCertifiedError, InvalidInputError
from captum_certified.images.superpixels import _joined

pytest.importorskip("skimage")


def pictures(rows=1, channels=3, side=24, seed=0):
    """Smooth random pictures, which have edges between light and dark areas."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(rows, channels, 6, 6, generator=generator)
    return nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


def noise(seed=0):
    return torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("images", [pictures(2), pictures(2, channels=1), noise(), torch.full((1, 3, 20, 30), 0.5)])
@pytest.mark.parametrize("segments", [1, 2, 7, 40])
def test_every_image_has_exactly_the_regions_asked_for_each_in_one_piece(images, segments):
    mask = superpixels(images, segments)
    assert mask.shape == (len(images), 1, *images.shape[2:])
    assert mask.dtype == torch.int64
    for one in mask[:, 0]:
        values, first = np.unique(one.numpy(), return_index=True)
        assert values.tolist() == list(range(segments))
        assert np.all(np.diff(first) > 0)  # numbered by their first pixels
        assert [ndimage.label(one.numpy() == region)[1] for region in values] == [1] * segments


def test_the_most_regions_are_the_pixels():
    assert superpixels(noise()[..., :5, :4], 20).flatten().tolist() == list(range(20))


def test_regions_are_the_same_in_every_call_and_in_every_batch():
    images = pictures(3)
    mask = superpixels(images, 15)
    assert torch.equal(superpixels(images, 15), mask)
    for row in range(3):
        assert torch.equal(superpixels(images[row : row + 1], 15), mask[row : row + 1])


def test_grey_images_are_divided_as_their_colours_say():
    grey = pictures(channels=1)
    assert torch.equal(superpixels(grey, 12), superpixels(grey.expand(-1, 3, -1, -1), 12))


def test_regions_follow_an_edge():
    image = torch.zeros(1, 1, 32, 32)
    image[..., 11:] = 1.0
    mask = superpixels(image, 20)
    # SLIC sees a blurred image, in which the edge may be a pixel off.
    assert not set(mask[..., :10].unique().tolist()) & set(mask[..., 12:].unique().tolist())


def test_the_smallest_piece_joins_its_most_similar_neighbour():
    pieces = np.array([[0, 0, 0, 1, 2, 2], [0, 0, 0, 1, 2, 2]])
    colours = np.array([0.0, 0.7, 1.0])[pieces][..., None].repeat(3, axis=2)
    assert _joined(pieces, colours, 2).tolist() == [[0, 0, 0, 1, 1, 1]] * 2
    assert _joined(pieces, colours, 1).tolist() == [[0] * 6] * 2


def test_scores_of_regions_are_the_sums_of_their_entries():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 22 * 22, 3))
    images, method = pictures(2), Saliency(model)
    mask = superpixels(images, 9)
    certificate = Certifier(SparsifiedSmoothGrad(method, tau=0.3)).certify(
        images, target=0, k=3, radius=0.01, nt_samples=32, stdevs=0.1, groups=mask, seed=0
    )
    entries = method.attribute(images.clone().requires_grad_(), target=0).abs().double()
    sums = torch.stack([(entries * (mask == region)).sum(dim=(1, 2, 3)) for region in range(9)], dim=1)
    torch.testing.assert_close(certificate.map.plain.double(), sums, rtol=1e-5, atol=0)
    half = torch.arange(9) % 2 == 0  # a union of regions has the sum of its entries
    inside = torch.isin(mask, half.nonzero().flatten())
    torch.testing.assert_close(
        certificate.map.plain[:, half].double().sum(dim=1), (entries * inside).sum(dim=(1, 2, 3)), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    ("images", "segments", "match"),
    [
        (torch.rand(3, 8, 8), 4, r"`images` of shape \(N, C, H, W\) with 1 or 3 channels, got \(3, 8, 8\)"),
        (torch.rand(1, 4, 8, 8), 4, r"with 1 or 3 channels, got \(1, 4, 8, 8\)"),
        (np.zeros((1, 1, 8, 8)), 4, "got ndarray"),
        (torch.full((1, 1, 8, 8), 255), 4, r"in \[0, 1\], got 255 to 255. Give the images before they are normalised"),
        (torch.full((1, 1, 8, 8), torch.nan), 4, r"in \[0, 1\], got nan to nan"),
        (torch.rand(1, 1, 8, 8), 0, "`segments`"),
        (torch.rand(1, 1, 8, 8), 65, "`segments`"),
        (torch.rand(1, 1, 8, 8), 4.0, "`segments`"),
    ],
)
def test_what_has_no_superpixels_is_refused(images, segments, match):
    with pytest.raises(InvalidInputError, match=match):
        superpixels(images, segments)


def test_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(CaptumCertifiedError, match=r'run: pip install "captum-certified\[superpixels\]"'):
        superpixels(pictures(), 4)


def test_a_name_in_python_is_refused_because_it_would_be_computed_anew():
    explainer = SparsifiedSmoothGrad(Saliency(nn.Flatten()))
    with pytest.raises(InvalidInputError, match=r"give `groups=captum_certified.superpixels\(images, S\)`"):
        explainer.attribute(pictures(), target=0, groups="superpixels:9")
