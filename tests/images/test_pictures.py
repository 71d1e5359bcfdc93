"""Image files of every kind have the values that Pillow or a calculation gives, or are refused in our own words."""

import re
import struct
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.testing import assert_close

from captum_certified.exceptions import InvalidInputError
from captum_certified.images.framing import Framing, load_image, load_image_and_region
from captum_certified.images.orientation import turned, turned_box
from captum_certified.runs import labelled_images

GREY = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
RGB = Image.fromarray(COLOURS)
WAY_OUT = "Divide the pixels by their largest possible value, such as 255, and save them as floats."
ORIENTATION = 0x0112


def tiff(samples, *, bits, sample_format=1, photometric=1, order="<"):
    """Return an uncompressed grey TIFF of 6 x 8 pixels, of a kind that Pillow does not write."""
    tags = [
        (256, 3, 8),
        (257, 3, 6),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8 + 2 + 12 * 10 + 4),
        (277, 3, 1),
        (278, 3, 6),
        (279, 4, len(samples)),
        (339, 3, sample_format),
    ]
    entries = [struct.pack(f"{order}HHI", tag, kind, 1) + value_of(kind, value, order) for tag, kind, value in tags]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + b"".join(entries) + struct.pack(f"{order}I", 0) + samples


def value_of(kind, value, order):
    return struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)


def twelve_bits(values):
    """Pack each pair of 12-bit values into three bytes."""
    pairs = values.reshape(-1, 2).astype(int)
    return b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)


def palette_with_transparency():
    picture = RGB.quantize(16)
    picture.info["transparency"] = bytes(range(0, 256, 16))
    return picture


# How each file is written, and its expected values: greys of shape (6, 8), or bytes of colours of shape (6, 8, 3).
PICTURES = {
    "float.tif": (lambda path: Image.fromarray(GREY).save(path), GREY),
    "float.pfm": (lambda path: Image.fromarray(GREY).save(path, format="PPM"), GREY),
    "deep.png": (lambda path: Image.fromarray((GREY * 65535).astype(np.uint16)).save(path), GREY),
    "deep.tif": (lambda path: Image.fromarray((GREY * 65535).astype(np.uint16)).save(path), GREY),
    "deep.pgm": (lambda path: Image.fromarray((GREY * 65535).astype(np.int32)).save(path), GREY),
    "big_endian.tif": (
        lambda path: path.write_bytes(tiff((GREY * 65535).astype(">u2").tobytes(), bits=16, order=">")),
        GREY,
    ),
    "white_is_zero.tif": (
        lambda path: path.write_bytes(tiff((GREY * 65535).astype("<u2").tobytes(), bits=16, photometric=0)),
        1 - GREY,
    ),
    "white_is_zero_float.tif": (
        lambda path: path.write_bytes(tiff(GREY.tobytes(), bits=32, sample_format=3, photometric=0)),
        1 - GREY,
    ),
    "twelve_bits.tif": (lambda path: path.write_bytes(tiff(twelve_bits(GREY * 4095), bits=12)), GREY),
    "one_bit.png": (lambda path: Image.fromarray(GREY > 0.5).save(path), GREY > 0.5),
    "one_bit.npy": (lambda path: np.save(path, GREY > 0.5), GREY > 0.5),
    "grey_and_alpha.png": (
        lambda path: Image.merge("LA", [Image.fromarray(COLOURS[..., 0]), Image.fromarray(COLOURS[..., 1])]).save(path),
        COLOURS[..., 0] / 255,
    ),
    "alpha.png": (lambda path: RGB.convert("RGBA").save(path), COLOURS),
    "palette.png": (lambda path: RGB.quantize(16).save(path), np.asarray(RGB.quantize(16).convert("RGB"))),
    "transparent_palette.png": (
        lambda path: palette_with_transparency().save(path),
        np.asarray(RGB.quantize(16).convert("RGB")),
    ),
    "cmyk.tif": (lambda path: RGB.convert("CMYK").save(path), COLOURS),
    "ycbcr.tif": (
        lambda path: RGB.convert("YCbCr").save(path),
        np.asarray(RGB.convert("YCbCr").convert("RGB")),
    ),
    "big_endian.npy": (lambda path: np.save(path, GREY.astype(">f4")), GREY),
    "big_endian_deep.npy": (lambda path: np.save(path, (GREY * 65535).astype(">u2")), GREY),
    "half.npy": (lambda path: np.save(path, GREY.astype(np.float16)), GREY),
    "bfloat.pt": (lambda path: torch.save(torch.from_numpy(GREY).bfloat16(), path), GREY),
    "parameter.pt": (lambda path: torch.save(torch.nn.Parameter(torch.from_numpy(GREY)), path), GREY),
}
REFUSED = {
    "float255.tif": (lambda path: Image.fromarray(GREY * 255).save(path), f"in [0, 1], got 0 to 255. {WAY_OUT}"),
    "negative.tif": (lambda path: Image.fromarray(GREY - 0.5).save(path), "in [0, 1], got -0.5 to 0.5"),
    "nan.tif": (lambda path: Image.fromarray(GREY * np.nan).save(path), "in [0, 1], got NaN or infinity."),
    "infinite.tif": (lambda path: Image.fromarray(GREY / 0.0).save(path), "in [0, 1], got NaN or infinity."),
    "int255.tif": (
        lambda path: Image.fromarray((GREY * 255).astype(np.int32)).save(path),
        f"integers or floats, got other integers from 0 to 255, whose scale is unknown. {WAY_OUT}",
    ),
    "int65535.tif": (
        lambda path: Image.fromarray((GREY * 65535).astype(np.int32)).save(path),
        "got other integers from 0 to 65535",
    ),
    "int31.tif": (
        lambda path: Image.fromarray((GREY.astype(float) * (2**31 - 1)).astype(np.int32)).save(path),
        "got other integers from 0 to 2147483647",
    ),
    "signed16.tif": (
        lambda path: path.write_bytes(tiff((GREY * 999).astype("<i2").tobytes(), bits=16, sample_format=2)),
        "got other integers from 0 to 999",
    ),
    "signed8.tif": (
        lambda path: path.write_bytes(tiff((GREY * 99).astype("i1").tobytes(), bits=8, sample_format=2)),
        "got signed integers, whose scale is unknown",
    ),
    "grey.fits": (
        lambda path: path.write_bytes(fits((GREY * 999).astype(">i2").tobytes())),
        "got signed integers, whose scale is unknown",
    ),
    "premultiplied.tif": (
        lambda path: path.write_bytes(premultiplied()),
        "in grey or in colours that convert to RGB, got mode La. Save it as RGB.",
    ),
    "archive.npz": (lambda path: np.savez(path, GREY), "to be one image, got an archive of arrays"),
    "empty.npy": (lambda path: np.save(path, np.zeros((0, 8, 3))), "to have pixels, got an empty array of shape (0, 8"),
    "empty.pt": (lambda path: torch.save(torch.zeros(8, 0), path), "to have pixels, got an empty array of shape (8, 0"),
    "objects.npy": (lambda path: np.save(path, np.array([[{}]])), "but it cannot be read: it holds objects."),
    "text.npy": (lambda path: np.save(path, np.array([["a"]])), "to be an array, but it cannot be read"),
    "record.npy": (lambda path: np.save(path, np.zeros((2, 2), [("x", "f4")])), "to be an array, but it cannot be"),
    "complex.npy": (lambda path: np.save(path, GREY + 1j), "got torch.complex64, whose scale is unknown"),
    "sparse.pt": (lambda path: torch.save(torch.from_numpy(GREY).to_sparse(), path), "to hold a plain dense array"),
    "meta.pt": (lambda path: torch.save(torch.zeros(3, 4, device="meta"), path), "to hold a plain dense array"),
    "dictionary.pt": (lambda path: torch.save({"image": torch.zeros(3, 4)}, path), "or (C, H, W), got dict."),
    "four.npy": (lambda path: np.save(path, np.zeros((1, 3, 6, 8))), "or (C, H, W), got shape (1, 3, 6, 8)."),
}


def fits(samples):
    cards = ["SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 8", "NAXIS2  = 6", "END"]
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + samples.ljust(2880, b"\0")


def premultiplied():
    """Return a TIFF of grey and alpha whose grey is already multiplied by alpha."""
    data = tiff(bytes(96), bits=8)
    return (
        data.replace(struct.pack("<HHIHH", 258, 3, 1, 8, 0), struct.pack("<HHIHH", 258, 3, 2, 8, 8))
        .replace(struct.pack("<HHIHH", 277, 3, 1, 1, 0), struct.pack("<HHIHH", 277, 3, 1, 2, 0))
        .replace(struct.pack("<HHIHH", 339, 3, 1, 1, 0), struct.pack("<HHIHH", 338, 3, 1, 1, 0))
    )


def grey_of(colours):
    """Return the ITU-R 601-2 luma, as Pillow computes it."""
    return colours @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(PICTURES))
def test_every_kind_of_picture_has_the_right_values(tmp_path, name, channels):
    write, values = PICTURES[name]
    write(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image, size = load_image(tmp_path / name, Framing(), channels=channels)
    assert size == (6, 8)
    assert image.dtype == torch.float32
    expected = values.astype(np.float64) / (255 if values.dtype == np.uint8 else 1)
    if expected.ndim == 3:
        expected = expected.transpose(2, 0, 1) if channels == 3 else grey_of(expected)
    expected = torch.from_numpy(np.broadcast_to(expected, (1, channels, 6, 8)).astype(np.float32))
    half = "half" in name or "bfloat" in name
    # Pillow rounds the grey of a colour to a byte, once or twice.
    assert_close(image, expected, rtol=0, atol=4e-3 if half else 1.01 / 255 if values.ndim == 3 else 3e-4)


@pytest.mark.parametrize("name", list(REFUSED))
def test_other_files_are_refused_in_one_line(tmp_path, name):
    write, message = REFUSED[name]
    with np.errstate(all="ignore"):
        write(tmp_path / name)
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        load_image(tmp_path / name, Framing())
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lab_is_converted_where_pillow_can_and_refused_otherwise(tmp_path):
    path = tmp_path / "lab.tif"
    Image.fromarray(np.full((6, 8, 3), (255, 128, 128), np.uint8)).save(path)
    data = path.read_bytes().replace(struct.pack("<HHIHH", 262, 3, 1, 2, 0), struct.pack("<HHIHH", 262, 3, 1, 8, 0))
    path.write_bytes(data.replace(b"\xff\x80\x80", b"\xff\x00\x00"))  # L* = 100, a* = b* = 0: white
    try:
        with Image.open(path) as picture:
            assert picture.mode == "LAB"
            picture.convert("RGB")
    except ValueError:
        with pytest.raises(InvalidInputError, match="got mode LAB"):
            load_image(path, Framing())
    else:
        for channels in (1, 3):
            assert_close(
                load_image(path, Framing(), channels=channels)[0],
                torch.ones(1, channels, 6, 8),
                rtol=0,
                atol=1.01 / 255,
            )


def test_hsv_has_no_file_format_but_its_pixels_convert():
    from captum_certified.images.stored_picture import _eight_bit

    for channels, mode in ((1, "L"), (3, "RGB")):
        assert _eight_bit(RGB.convert("HSV"), channels, "x").mode == mode


# -- orientation -----------------------------------------------------------------------------------------------------


def save_turned(path, orientation, picture=RGB):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("picture", [RGB, Image.fromarray((GREY * 65535).astype(np.uint16))], ids=["bytes", "deep"])
def test_exif_turns_a_picture_as_pillow_does(tmp_path, orientation, picture):
    path = save_turned(tmp_path / "turned.png", orientation, picture)
    image, size = load_image(path, Framing(), exif=True)
    assert size == (6, 8)
    with Image.open(path) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored)).astype(np.float32)
    upright = upright[..., None] / 65535 if upright.ndim == 2 else upright / 255
    assert_close(image[0], torch.from_numpy(upright).permute(2, 0, 1).expand(3, -1, -1))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_without_exif_a_picture_is_read_as_it_is_stored_with_a_warning(tmp_path, orientation):
    path = save_turned(tmp_path / "turned.png", orientation)
    message = f"{path} has EXIF orientation {orientation}, but is read as it is stored.*Give `--exif`"
    with pytest.warns(UserWarning, match=message):
        image, _ = load_image(path, Framing())
    assert_close(image[0], torch.from_numpy(COLOURS).permute(2, 0, 1) / 255)


def test_pictures_that_are_stored_upright_give_no_warning(tmp_path):
    for name, orientation in (("one.png", 1), ("nonsense.png", 9)):
        save_turned(tmp_path / name, orientation)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_image(tmp_path / name, Framing())


def test_a_tiff_is_turned_in_any_case(tmp_path):
    path = tmp_path / "turned.tif"
    RGB.save(path, tiffinfo={ORIENTATION: 6})
    for exif in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image, size = load_image(path, Framing(), exif=exif)
        assert size == (8, 6)
        assert_close(image[0], turned(torch.from_numpy(COLOURS).permute(2, 0, 1), 6) / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_of_the_file_is_turned_and_framed_with_the_picture(tmp_path, orientation):
    stored = np.zeros((40, 61, 3), np.uint8)
    stored[4:17, 30:52] = 255
    path = save_turned(tmp_path / "turned.png", orientation, Image.fromarray(stored))
    for framing in (Framing(), Framing(crop=36)):
        image, mask = load_image_and_region(path, framing, (30, 4, 52, 17), exif=True)
        assert mask.shape == image.shape
        assert torch.equal(mask, image > 0.5)
        assert load_image_and_region(path, framing, None, exif=True)[1] is None
    image, mask = load_image_and_region(path, Framing(resize=20), (30, 4, 52, 17), exif=True)
    assert float((mask.float() - image).abs().mean()) < 0.05  # resizing blurs the edges only


@pytest.mark.filterwarnings("ignore:.* has EXIF orientation:UserWarning")
def test_a_region_without_exif_stays_where_the_file_has_it(tmp_path):
    stored = np.zeros((40, 61, 3), np.uint8)
    stored[4:17, 30:52] = 255
    path = save_turned(tmp_path / "turned.png", 6, Image.fromarray(stored))
    image, mask = load_image_and_region(path, Framing(), (30, 4, 52, 17))
    assert torch.equal(mask, image > 0.5)
    with pytest.raises(InvalidInputError, match="`--region` within the 61 × 40 pixels of the file as it is stored"):
        load_image_and_region(path, Framing(), (0, 0, 40, 61), exif=True)


def test_a_turned_box_has_the_pixels_of_the_turned_picture():
    marked = torch.zeros(5, 7)
    marked[1:3, 2:6] = 1
    for orientation in range(1, 9):
        upright = turned(marked, orientation)
        (x0, y0, x1, y1), size = turned_box((2, 1, 6, 3), (5, 7), orientation)
        again = torch.zeros(size)
        again[y0:y1, x0:x1] = 1
        assert torch.equal(upright, again)


def test_a_folder_to_train_on_is_turned_or_warned_of_once(tmp_path):
    (tmp_path / "cat").mkdir()
    save_turned(tmp_path / "cat" / "a.png", 6)
    with pytest.warns(UserWarning, match=f"Images in {tmp_path} have an EXIF orientation.*Give `--exif`"):
        assert labelled_images(tmp_path)[0][0].shape == (3, 6, 8)
    upright = labelled_images(tmp_path, exif=True)[0][0]
    assert_close(upright, turned(torch.from_numpy(COLOURS).permute(2, 0, 1), 6) / 255)
