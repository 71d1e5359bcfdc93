"""The image files that the command line names, and the names of their results."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from captum_certified.exceptions import InvalidInputError

__all__ = ["check_outputs", "expanded"]

# Suffixes by which files in a folder count as images. A file named on the command line may have any suffix. The suffix
# .pth is left out, because it is usually that of a state dict.
_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
_SUFFIXES = frozenset({*_PICTURES, ".npy", ".pt"})
_SUMMARY = "summary"


def expanded(paths: Sequence[Path], *, without: Path | None) -> list[tuple[Path, str]]:
    """Return the image files, each with a name for its results. A folder is replaced by the images in it.

    Args:
        paths: Files and folders.
        without: The folder of results. Images in this folder are left out. ``None`` leaves out nothing.

    Returns:
        Pairs of a file and a name. The name is made of the names of the subfolders and of the file without its suffix,
        joined by hyphens. If another file has the name already, a number is appended.

    Raises:
        InvalidInputError: A file or folder does not exist, or a folder holds no image.
    """
    taken: set[str] = set()
    found = []
    for path in paths:
        for file, words in _images(path, without):
            name = _free("-".join(words), taken)
            taken.add(name)
            found.append((file, name))
    return found


def check_outputs(files: Sequence[tuple[Path, str]], out: Path | None, endings: Sequence[str]) -> None:
    """Refuse a folder of results in which a result would overwrite an image.

    Args:
        files: Image files and the names of their results.
        out: Folder of the results; ``None`` if nothing is written.
        endings: The endings of the files that are written for each name.

    Raises:
        InvalidInputError: A result would overwrite an image.
    """
    if out is None:
        return
    images = {path.resolve() for path, _ in files}
    for _, name in files:
        for ending in endings:
            if (out / f"{name}{ending}").resolve() in images:
                raise InvalidInputError(
                    f"Expected `--out` to be a folder where no image is overwritten, got {out}, which has "
                    f"{name}{ending}."
                )


def _images(path: Path, without: Path | None) -> Iterator[tuple[Path, tuple[str, ...]]]:
    if not path.exists():
        raise InvalidInputError(f"Expected an image or a folder of images, got {path}, which does not exist.")
    if not path.is_dir():
        yield path, (path.stem,)
        return
    hidden = None if without is None else without.resolve()
    empty = True
    for file in sorted(path.rglob("*")):
        words = file.relative_to(path).parts
        is_image = file.suffix.lower() in _SUFFIXES and not any(word.startswith(".") for word in words)
        if is_image and file.is_file() and (hidden is None or hidden not in file.resolve().parents):
            empty = False
            yield file, (*words[:-1], file.stem)
    if empty:
        itself = " but those of `--out`, which is not read" if hidden is not None and hidden == path.resolve() else ""
        raise InvalidInputError(f"Expected images in the folder {path}, got none{itself}.")


def _free(name: str, taken: set[str]) -> str:
    name = name.lstrip(".") or "image"
    if name == _SUMMARY or name.startswith(f"{_SUMMARY}-"):
        name = f"image-{name}"
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
