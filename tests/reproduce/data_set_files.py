"""Small random files in the formats of the data sets that the paper uses, made when the tests run."""

import hashlib
import pickle
import struct

import numpy as np
from PIL import Image
from torchvision import datasets

GENERATOR_SEED = 0
WNIDS = ("n01440764", "n02099601", "n04266014")


def write_cifar10(root, *, training=12, test=4):
    """Write the python batches of CIFAR-10, and return a class that reads them as torchvision reads the published ones.

    torchvision refuses files with other checksums than those of the published batches. So the class has these files'.
    """
    generator, folder = np.random.default_rng(GENERATOR_SEED), root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def written(name, contents):
        (folder / name).write_bytes(pickle.dumps(contents, protocol=2))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]  # noqa: S324

    def batch(name, number):
        pixels = generator.integers(0, 256, (number, 3072), dtype=np.uint8)
        labels = generator.integers(0, 10, number).tolist()
        names = [f"{name}_{i}.png" for i in range(number)]
        return written(name, {"batch_label": name, "labels": labels, "data": pixels, "filenames": names})

    parts = [batch(f"data_batch_{part}", len(range(part, training, 5))) for part in range(5)]
    last = batch("test_batch", test)
    meta = written("batches.meta", {"label_names": [f"class {n}" for n in range(10)], "num_cases_per_batch": training})

    described = {"filename": meta[0], "key": "label_names", "md5": meta[1]}
    return type("Generated", (datasets.CIFAR10,), {"train_list": parts, "test_list": [last], "meta": described})


def write_mnist(root, *, training=96, test=24):
    """Write the IDX files of MNIST."""
    generator, folder = np.random.default_rng(GENERATOR_SEED), root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, number in (("train", training), ("t10k", test)):
        pixels = generator.integers(0, 256, (number, 28, 28), dtype=np.uint8)
        labels = generator.integers(0, 10, number, dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, number, 28, 28) + pixels.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, number) + labels.tobytes())


def write_imagenet(root):
    """Write validation images of ImageNet, JPEG files in a folder for each class. Their sizes and shapes differ."""
    generator = np.random.default_rng(GENERATOR_SEED)
    for number, wnid in enumerate(WNIDS):
        folder = root / "imagenet" / "val" / wnid
        folder.mkdir(parents=True)
        pixels = generator.integers(0, 256, (40 + 10 * number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"ILSVRC2012_val_{number:08}.JPEG")
