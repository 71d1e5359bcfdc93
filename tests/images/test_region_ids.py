"""Regions from a file are framed exactly as the picture is, and what holds no regions is refused."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from captum_certified.exceptions import InvalidInputError
from captum_certified.images.framing import Framing, load_image
from captum_certified.images.region_ids import load_region_ids

HEIGHT, WIDTH = 40, 61
ROW, COLUMN = np.divmod(np.arange(HEIGHT * WIDTH), WIDTH)
BLOCKS = (4 * (ROW * 4 // HEIGHT) + COLUMN * 4 // WIDTH).reshape(HEIGHT, WIDTH)  # 16 blocks
FRAMINGS = [Framing(), Framing(resize=20), Framing(resize=97), Framing(resize=24, crop=17), Framing(crop=36)]


def save_picture(path, values, orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values.astype(np.uint8)).save(path, exif=exif)
    return path


def same_regions(one, two):
    """Whether two masks divide the pixels in the same way."""
    pairs = torch.stack([one.flatten(), two.flatten()]).unique(dim=1)
    return len(one.unique()) == len(two.unique()) == pairs.shape[1]


def saved(path, ids):
    if path.suffix == ".npy":
        np.save(path, ids)
    elif path.suffix == ".pt":
        torch.save(torch.from_numpy(ids), path)
    else:
        Image.fromarray(ids).save(path)
    return path


def in_palette(path):
    picture = Image.fromarray(BLOCKS.astype(np.uint8))
    picture.putpalette([9, 9, 9] * 256)  # the numbers count, not the colours
    picture.save(path)
    return path


@pytest.mark.parametrize(
    "save",
    [
        lambda folder: saved(folder / "ids.png", BLOCKS.astype(np.uint8)),
        lambda folder: saved(folder / "ids.tif", BLOCKS.astype(np.uint8)),
        lambda folder: saved(folder / "ids.png", (300 * BLOCKS).astype(np.uint16)),
        lambda folder: saved(folder / "ids.tif", (BLOCKS - 9).astype(np.int32)),
        lambda folder: in_palette(folder / "ids.png"),
        lambda folder: saved(folder / "ids.npy", BLOCKS - 5),
        lambda folder: saved(folder / "ids.npy", BLOCKS[None].astype(">u2")),
        lambda folder: saved(folder / "ids.npy", BLOCKS[..., None] + 2**40),
        lambda folder: saved(folder / "ids.pt", BLOCKS.astype(np.int16)),
    ],
)
def test_every_file_of_integers_is_read(tmp_path, save):
    picture = save_picture(tmp_path / "picture.png", BLOCKS)
    assert same_regions(load_region_ids(save(tmp_path), Framing(), picture), torch.from_numpy(BLOCKS))


@pytest.mark.parametrize("framing", FRAMINGS)
def test_regions_are_framed_as_torchvision_frames_to_the_nearest_pixel(tmp_path, framing):
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 50, (HEIGHT, WIDTH))
    picture = save_picture(tmp_path / "picture.png", ids)
    found = load_region_ids(saved(tmp_path / "ids.npy", ids), framing, picture)
    wanted = torch.from_numpy(ids)[None]
    if framing.resize is not None:
        wanted = transforms.resize(wanted, [framing.resize], InterpolationMode.NEAREST_EXACT)
    if framing.crop is not None:
        wanted = transforms.center_crop(wanted, [framing.crop])
    assert found.shape == load_image(picture, framing, channels=1)[0].shape
    assert same_regions(found, wanted)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_are_turned_resized_and_cropped_with_the_picture(tmp_path, framing, orientation):
    """A picture of the regions' own numbers stays constant in them, but for the pixels that resizing mixes."""
    picture = save_picture(tmp_path / "picture.png", 16 * BLOCKS, orientation)
    ids = load_region_ids(saved(tmp_path / "ids.npy", BLOCKS), framing, picture, exif=True)
    image, _ = load_image(picture, framing, channels=1, exif=True)
    shown = (image * 255 / 16).round().long()
    mixed = 0.0 if framing.resize is None else 0.2
    numbers = {int(i): shown[ids == i].mode().values for i in ids.unique()}
    wrong = sum(int((shown[ids == i] != number).sum()) for i, number in numbers.items()) / ids.numel()
    assert wrong <= mixed
    assert len({int(number) for number in numbers.values()}) == len(numbers)  # every block has its own number


@pytest.mark.filterwarnings("ignore:.* has EXIF orientation:UserWarning")
def test_without_exif_regions_stay_as_they_are_stored(tmp_path):
    picture = save_picture(tmp_path / "picture.png", BLOCKS, orientation=6)
    ids = load_region_ids(saved(tmp_path / "ids.npy", BLOCKS), Framing(), picture)
    assert same_regions(ids, torch.from_numpy(BLOCKS))


def test_the_border_around_a_small_picture_is_a_region_of_its_own(tmp_path):
    picture = save_picture(tmp_path / "picture.png", BLOCKS)
    ids = load_region_ids(saved(tmp_path / "ids.npy", BLOCKS), Framing(crop=70), picture)[0, 0]
    assert ids.shape == (70, 70)
    assert len(ids.unique()) == 17
    assert int((ids == ids[0, 0]).sum()) == 70 * 70 - HEIGHT * WIDTH
    assert same_regions(ids[15:55, 4:65], torch.from_numpy(BLOCKS))


@pytest.mark.parametrize(
    ("name", "save", "match"),
    [
        ("small.npy", lambda path: saved(path, BLOCKS[:-1]), "to have the 61 × 40 pixels of .* got 61 × 39"),
        ("turned.npy", lambda path: saved(path, BLOCKS.T.copy()), "to have the 61 × 40 pixels of .* got 40 × 61"),
        ("floats.npy", lambda path: saved(path, BLOCKS / 2), "one integer for each pixel.* got torch.float64"),
        ("marked.npy", lambda path: saved(path, BLOCKS > 3), "got torch.bool"),
        ("colours.npy", lambda path: saved(path, np.stack([BLOCKS] * 3)), re.escape("got shape (3, 40, 61)")),
        ("colours.png", lambda path: saved(path, np.stack([BLOCKS] * 3, 2).astype(np.uint8)), "got mode RGB"),
        ("marked.png", lambda path: saved(path, BLOCKS > 3), "got mode 1. Save the numbers as a grey PNG"),
        ("lossy.jpg", lambda path: saved(path, BLOCKS.astype(np.uint8)), "got JPEG, which may change them"),
        ("empty.npy", lambda path: saved(path, np.zeros((0, 5), int)), "to have pixels"),
        ("text.png", lambda path: path.write_text("1 2 3") and path, "to be an image"),
        ("many.npz", lambda path: path.write_text("1 2 3") and path, "archive of arrays"),
    ],
)
def test_what_holds_no_regions_is_refused(tmp_path, name, save, match):
    picture = save_picture(tmp_path / "picture.png", BLOCKS)
    with pytest.raises(InvalidInputError, match=match):
        load_region_ids(save(tmp_path / name), Framing(), picture)
