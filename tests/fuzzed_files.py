"""Damage files of every kind at random, and read them: fuzzed_files.py FOLDER COUNT SEED.

Print a line for each reading that raised another error than CaptumCertifiedError, took more than a second, or needed
half a gigabyte more than the program has at first.
"""

import json
import resource
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from captum.attr import Saliency
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from captum_certified import CaptumCertifiedError, Certifier, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.certify import Certificate
from captum_certified.images.framing import Framing, load_image
from captum_certified.reproduce import Part
from captum_certified.reproduce.run import _stored
from captum_certified.runs import labelled_images, verify, write_result
from captum_certified.runs.example_files import ExampleFiles
from captum_certified.training import GaussianAugmentationLoss, fit
from captum_certified.training.saved_state import read_state

SECONDS, BYTES = 1.0, 500 * 2**20


def whole_files(folder):
    """Write one file of every kind, and return the function that reads each."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3), nn.Softplus())
    inputs = torch.rand(1, 3, 4, 4)
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.2)
    certificate = Certifier(explainer).certify(inputs, target=0, k=0.2, radius=0.02, nt_samples=64, stdevs=0.2, seed=0)
    certificate.map.save(folder / "map.npz")
    certificate.save(folder / "certificate.npz")
    write_result(folder / "result.json", certificate, inputs, notes={})
    ExampleFiles(folder, "unfinished").write_checkpoint(certificate.map, {"seed": 0})
    data = TensorDataset(inputs.repeat(4, 1, 1, 1), torch.arange(4) % 3)
    loss = GaussianAugmentationLoss(stdev=0.1, seed=0)
    optimizer = torch.optim.Adam(model.parameters())
    fit(model, data, loss, optimizer=optimizer, epochs=1, seed=0, checkpoint=folder / "training.pt")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "gif", "bmp", "tiff", "webp"):
        Image.fromarray(pixels).save(folder / f"image.{suffix}")
    grey, exif = pixels[..., 0].astype(np.float32) / 255, Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey).save(folder / "float.tiff")
    Image.fromarray((grey * 65535).astype(np.uint16)).save(folder / "deep.tiff", tiffinfo={0x0112: 6})
    Image.fromarray((grey * 65535).astype(np.uint16)).save(folder / "deep.png", exif=exif)
    Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif)
    np.save(folder / "image.npy", pixels)
    torch.save(torch.from_numpy(pixels), folder / "image.pt")
    np.savez_compressed(folder / "labelled.npz", images=pixels[None], labels=np.zeros(1, dtype=np.int64))
    (folder / "part.json").write_text(json.dumps({"settings": "x", "seconds": 1.0, "rows": []}))
    image = lambda path: load_image(path, Framing(), exif=True)  # noqa: E731
    return {
        "map.npz": SmoothedMap.load,
        "certificate.npz": Certificate.load,
        "result.json": verify,
        "unfinished.checkpoint": lambda path: ExampleFiles(path.parent, path.stem).read_checkpoint([range(64)]),
        "training.pt": read_state,
        "labelled.npz": labelled_images,
        "part.json": lambda path: _stored(path.parent, Part(path.stem, list), "x"),
        **dict.fromkeys(("float.tiff", "deep.tiff", "deep.png", "turned.jpg"), image),
        **{f"image.{suffix}": image for suffix in ("png", "jpg", "gif", "bmp", "tiff", "webp", "npy", "pt")},
    }


def damaged(whole, generator, others):
    """Return the bytes of a file after one to four random damages."""
    data = bytearray(whole)
    for _ in range(generator.integers(1, 5)):
        kind = generator.integers(7)
        place = int(generator.integers(max(len(data), 1)))
        size = int(generator.integers(1, 64))
        if kind == 0:
            del data[place:]
        elif kind == 1 and data:
            data[place] ^= 1 << int(generator.integers(8))
        elif kind == 2:
            data[place : place + size] = generator.bytes(size)
        elif kind == 3:
            data[place:place] = generator.bytes(size)
        elif kind == 4:
            data[place : place + size] = b"\xff" * size
        elif kind == 5:
            data = bytearray(others[int(generator.integers(len(others)))])
        else:
            data = bytearray(data.replace(b"1", b"9" * size, 1))
    return bytes(data)


def bombs(folder):
    """Write small files that claim to be huge or inflate to huge ones, and yield their paths."""
    for name, claimed in (("claim", (10**12,)), ("claim2", (2**40, 2**20))):
        path = folder / f"{name}.npz"
        with zipfile.ZipFile(path, "w") as archive, archive.open("mean.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": claimed})
        yield path
    path = folder / "inflated.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("mean.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (2**31,)})
        for _ in range(2**7):
            member.write(bytes(2**24))
    yield path
    path = folder / "inflated.pt"
    torch.save(torch.zeros(2**26), folder / "whole.pt")
    with zipfile.ZipFile(folder / "whole.pt") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in whole.infolist():
            archive.writestr(member.filename, whole.read(member))
    yield path
    deep = folder / "deep.json"
    deep.write_text("[" * 10**6)
    yield deep


def complaint(read, path):
    """Return what is wrong with a reading, or an empty text."""
    begun = time.perf_counter()
    try:
        read(path)
    except (CaptumCertifiedError, FileNotFoundError):
        pass
    except BaseException as error:  # noqa: BLE001  every other error is a finding
        return f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - begun
    return f"{seconds:.1f} s" if seconds > SECONDS else ""


def main(folder, count, seed):
    readers = whole_files(folder)
    whole = {name: (folder / name).read_bytes() for name in readers}
    for name, read in readers.items():
        assert not complaint(read, folder / name), name
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + BYTES, resource.RLIM_INFINITY))
    generator = np.random.default_rng(seed)
    names, others = list(readers), list(whole.values())
    for number in range(count):
        name = names[number % len(names)]
        (folder / name).write_bytes(damaged(whole[name], generator, others))
        said = complaint(readers[name], folder / name)
        if said:
            print(f"{name} number {number}: {said[:300]}")
            (folder / f"bad-{number}-{name}").write_bytes((folder / name).read_bytes())
        (folder / name).write_bytes(whole[name])
    for path in bombs(folder):
        for name, read in readers.items():
            if Path(name).suffix == path.suffix:
                said = complaint(read, path)
                if said:
                    print(f"{path.name} as {name}: {said[:300]}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
