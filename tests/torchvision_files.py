"""Small files in the formats of torchvision's data sets, made by the tests."""

import hashlib
import struct

import numpy as np
from PIL import Image
from scipy.io import savemat


def idx(array):
    """Return an array in the format of the MNIST files."""
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(root, folder, images, labels):
    """Write MNIST or Fashion-MNIST, whose training and test part are the same here."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))


def write_traffic_signs(root, images, labels):
    """Write GTSRB: training images in folders of classes, and test images with their classes in a table.

    Images grow by a pixel each, because those of the data set differ in size.
    """
    base = root / "gtsrb"
    tested = base / "GTSRB" / "Final_Test" / "Images"
    tested.mkdir(parents=True)
    table = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number, (pixels, target) in enumerate(zip(images, labels, strict=True)):
        folder = base / "GTSRB" / "Training" / f"{target:05}"
        folder.mkdir(parents=True, exist_ok=True)
        height, width = pixels.shape[0], pixels.shape[1] + number
        picture = Image.fromarray(pixels).resize((width, height))
        picture.save(folder / f"{number:05}_00000.ppm")
        picture.save(tested / f"{number:05}.ppm")
        table.append(f"{number:05}.ppm;{width};{height};0;0;{width - 1};{height - 1};{target}")
    (base / "GT-final_test.csv").write_text("\n".join(table) + "\n")


def write_flowers(root, images, labels, parts):
    """Write Flowers-102: images numbered from 1, and labels from 1 and the parts in files of MATLAB.

    Returns:
        What torchvision must expect as names and checksums of these files.
    """
    base = root / "flowers-102"
    (base / "jpg").mkdir(parents=True)
    for number, pixels in enumerate(images, 1):
        Image.fromarray(pixels).save(base / "jpg" / f"image_{number:05}.jpg")
    savemat(base / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    savemat(base / "setid.mat", {name: np.array([numbers], dtype=np.uint16) for name, numbers in parts.items()})
    names = {"label": "imagelabels.mat", "setid": "setid.mat"}
    return {
        entry: (name, hashlib.md5((base / name).read_bytes()).hexdigest())  # noqa: S324  as torchvision does
        for entry, name in names.items()
    }
