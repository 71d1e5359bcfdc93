"""Labelled images from archives, folders, and torchvision's own files."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision_files import write_flowers, write_idx, write_traffic_signs

from captum_certified import FileFormatError
from captum_certified.images.framing import Framing
from captum_certified.runs import labelled_images

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2], dtype=np.uint8)


def test_an_archive_with_a_training_and_a_test_part(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(
        path,
        train_images=PIXELS[..., 0],
        train_labels=LABELS,
        test_images=PIXELS[:2],
        test_labels=LABELS[:2].astype(np.int64),
    )
    images, classes = labelled_images(path)[:]
    torch.testing.assert_close(images, torch.from_numpy(PIXELS[..., 0]).float().unsqueeze(1) / 255)
    assert classes.tolist() == LABELS.tolist()
    assert (images.dtype, classes.dtype) == (torch.float32, torch.int64)
    tested = labelled_images(str(path), train=False)
    assert len(tested) == 2
    torch.testing.assert_close(tested[1][0], torch.from_numpy(PIXELS[1]).permute(2, 0, 1).float() / 255)


def test_an_archive_without_a_split_serves_both_parts(tmp_path):
    np.savez(tmp_path / "images.npz", images=PIXELS, labels=LABELS)
    assert (
        len(labelled_images(tmp_path / "images.npz")) == len(labelled_images(tmp_path / "images.npz", train=False)) == 6
    )


def test_labels_may_be_a_column_as_in_medmnist(tmp_path):
    np.savez(tmp_path / "images.npz", images=PIXELS, labels=LABELS[:, None])
    assert labelled_images(tmp_path / "images.npz")[:][1].tolist() == LABELS.tolist()
    np.savez(tmp_path / "images.npz", images=PIXELS, labels=np.stack([LABELS, LABELS], axis=1))
    with pytest.raises(FileFormatError, match=r"6 integer labels in .*, got uint8 of shape \(6, 2\)"):
        labelled_images(tmp_path / "images.npz")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("axes", ["NHWC", "NCHW"])
def test_images_of_every_type_have_channels_first_or_last(tmp_path, dtype, axes):
    most = {1: 255, 2: 65535}.get(np.dtype(dtype).itemsize, 1)
    images = (PIXELS / 255 * most).round(6).astype(dtype)
    np.savez(tmp_path / "images.npz", images=images if axes == "NHWC" else images.transpose(0, 3, 1, 2), labels=LABELS)
    expected = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(labelled_images(tmp_path / "images.npz")[:][0], expected)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_images": PIXELS}, r"train_images and train_labels, or images and labels, got \['train_images'\]"),
        ({"images": PIXELS, "labels": LABELS[:3]}, r"6 integer labels in .*, got uint8 of shape \(3,\)"),
        ({"images": 2 * PIXELS.astype(float), "labels": LABELS}, r"pixels of .* in \[0, 1\], got 0 to 510"),
        ({"images": PIXELS.astype(int), "labels": LABELS}, "8 or 16-bit unsigned integers or floats, got torch.int64"),
        ({"images": PIXELS, "labels": LABELS / 2}, "got float64 of shape"),
        ({"images": PIXELS.reshape(6, -1), "labels": LABELS}, r"with 1 or 3 channels, got \(6, 60\)"),
        ({"images": PIXELS[:0], "labels": LABELS[:0]}, r"to have pixels, got an empty array of shape \(0, 5, 4, 3\)"),
        ({"images": PIXELS * np.nan, "labels": LABELS}, r"pixels of .* in \[0, 1\], got NaN or infinity"),
        ({"images": PIXELS.astype(str), "labels": LABELS}, "images of .* as numbers, got <U3"),
        ({"images": PIXELS, "labels": LABELS.astype(int) - 1}, "labels from 0 in .*, got -1"),
        ({"images": np.array([{}]), "labels": LABELS}, "to be an archive of images, but it holds objects"),
    ],
)
def test_other_archives_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "images.npz", **arrays)
    with pytest.raises(FileFormatError, match=message):
        labelled_images(tmp_path / "images.npz")


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, images=PIXELS, labels=LABELS)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError, match="to be an archive of images, but it is corrupt"):
            labelled_images(path)


def test_a_folder_with_a_folder_for_each_class(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(PIXELS[number]).save(tmp_path / name / f"{number}.png")
    images = labelled_images(tmp_path)
    assert [target for _, target in images] == [0, 0, 1, 1]
    torch.testing.assert_close(images[1][0], torch.from_numpy(PIXELS[1]).permute(2, 0, 1).float() / 255)
    grey = labelled_images(tmp_path, framing=Framing(resize=8, crop=6), channels=1)
    assert grey[0][0].shape == (1, 6, 6)


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Expected one folder for each class in"):
        labelled_images(tmp_path)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_the_idx_files_of_torchvision(tmp_path, name, folder):
    digits = PIXELS[:, :, :, 0]
    write_idx(tmp_path, folder, digits, LABELS)
    images = labelled_images(name, root=tmp_path)
    assert len(images) == 6
    torch.testing.assert_close(images[2][0], torch.from_numpy(digits[2]).unsqueeze(0).float() / 255)
    assert int(labelled_images(name.upper(), root=tmp_path, train=False)[0][1]) == 2
    with pytest.raises(ValueError, match=r"Expected cifar10 in `root` .*, got: Dataset not found"):
        labelled_images("cifar10", root=tmp_path)


def test_the_files_of_the_traffic_signs(tmp_path):
    write_traffic_signs(tmp_path, PIXELS[:3], [16, 0, 0])
    images = labelled_images("gtsrb", root=tmp_path, framing=Framing(resize=8, crop=8))
    assert [target for _, target in images] == [0, 0, 1]  # torchvision numbers the folders of the training images
    assert {tuple(image.shape) for image, _ in images} == {(3, 8, 8)}
    image, target = labelled_images("gtsrb", root=tmp_path, train=False)[0]
    assert target == 16
    torch.testing.assert_close(image, torch.from_numpy(PIXELS[0]).permute(2, 0, 1).float() / 255)
    with pytest.raises(ValueError, match=r"Expected gtsrb in `root` .*, got: Dataset not found"):
        labelled_images("gtsrb", root=tmp_path / "elsewhere")


def test_the_files_of_the_flowers(tmp_path, monkeypatch):
    files = write_flowers(tmp_path, PIXELS[:4], [102, 1, 7, 7], {"trnid": [1, 4], "valid": [2], "tstid": [3, 2]})
    with pytest.raises(ValueError, match=r"Expected flowers102 in `root` .*, got: Dataset not found or corrupted"):
        labelled_images("flowers102", root=tmp_path)
    for entry, expected in files.items():
        monkeypatch.setitem(datasets.Flowers102._file_dict, entry, expected)
    framing = Framing(resize=16, crop=16)
    images = labelled_images("flowers102", root=tmp_path, framing=framing)
    assert [target for _, target in images] == [101, 6]
    assert images[0][0].shape == (3, 16, 16)
    assert 0 <= float(images[0][0].min()) < float(images[0][0].max()) <= 1
    tested = labelled_images("flowers102", root=tmp_path, train=False, framing=framing)
    assert [target for _, target in tested] == [6, 0]


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match=r"`source` to be an .npz archive, a folder, or one of .*mnist.*, got 'svhn'"):
        labelled_images("svhn")
