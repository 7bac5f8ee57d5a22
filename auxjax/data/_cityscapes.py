"""CityScapes as MTAN (npy) and Auto-λ (png) lay it out: streets seen from a car."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from auxjax._numbers import integer
from auxjax.data._find import find
from auxjax.data._images import hinted, malformed
from auxjax.data._numbered import (
    UNKNOWN,
    Kind,
    as_image,
    read_finite,
    read_image,
    read_label,
    read_splits,
)
from auxjax.data._nyuv2 import has_splits
from auxjax.data._pixels import open_picture, pillow
from auxjax.data._scenes import Scenes
from auxjax.data._visible import visible

_HINT = (
    "Expected, as MTAN: {train,val}/{image,label,depth}/{0,1,…}.npy, channels last, "
    "the labels also in label_7 or label_19;\n"
    "or, as Auto-λ: {train,val}/{image,depth,seg}/{0,1,…}.png, depth in 16 bits, and "
    "if wanted part_seg/{0,1,…}.tif.\n"
    "Download it from https://github.com/lorenmt/mtan (preprocessed), or from "
    "https://www.cityscapes-dataset.com and prepare it by "
    "https://github.com/lorenmt/auto-lambda."
)

# The 19 classes that are evaluated, by their ids in the published pictures; the other
# ids up to 33 are to be ignored.
_IDS = [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]
_CLASSES = np.full(34, -1, np.int32)
_CLASSES[_IDS] = np.arange(19)

# The parts of people and vehicles: object and part, 24 person to 28 bus.
_PARTS = [
    *([2401, 2501], [2402, 2502], [2403, 2503], [2404, 2504]),
    *([2600 + i, 2700 + i, 2800 + i] for i in range(1, 6)),
]


@hinted(_HINT)
def cityscapes(
    data_dir: str | Path | None = None,
    layout: str = "auto",
    num_classes: SupportsIndex = 19,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Scenes, Scenes]:
    """The 3,475 street scenes of CityScapes, with disparity in place of depth.

    Args:
      data_dir: the folder of `train/` and `val/`, or one with `cityscapes/` in it; see
        `find` for where else they are looked for.
      layout: `"npy"` is MTAN's, `"png"` Auto-λ's, `"auto"` whichever is there.
      num_classes: labels are below it; −1 and 255 are unknown, and become −1. Of
        MTAN's layout `label_7` or `label_19` is read where it is there, otherwise
        `label`; Auto-λ's has 19 classes, of the published ids in any integers.
      progress: called with the number of files read and of all of them.

    Returns:
      The training and the validation scenes. Disparity is the file's own number in
      MTAN's layout. In Auto-λ's it is in pixels of a picture 512 wide, and where it
      truly is 0 (the sky) it is 1e-6, as 0 means unknown. `part` is there if its files
      are: 0 background, 1 to 4 torso, head, arms, legs, 5 to 9 windows, wheels,
      lights, license plate, chassis.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is truncated or malformed, or of another size; an argument is
        none of those above.
      ModuleNotFoundError: a png is to be read and Pillow is not installed.

    Example:
      >>> train, validation = cityscapes("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: The data was not found. Tried:
        no/such/folder (`data_dir`, which is no folder)
      Expected, as MTAN: {train,val}/{image,label,depth}/{0,1,…}.npy, ...

    References:
      Cordts et al., arXiv 1604.01685; Liu et al., MTAN, arXiv:1803.10704; Liu et al.,
      Auto-λ, arXiv 2202.03091; parts: Meletis et al., arXiv:2004.07944.
    """
    if layout not in ("auto", "npy", "png"):
        raise ValueError(
            f'`layout` should be "auto", "npy" or "png". Found {layout!r}.'
        )
    num_classes = integer("num_classes", num_classes, 1)
    # NYUv2 in MTAN's layout looks the same and has normals.
    root = find(
        ["cityscapes", "Cityscapes", "CityScapes", ""],
        data_dir,
        _HINT,
        accept=lambda path: has_splits(path) and not (path / "train/normal").is_dir(),
    )
    if layout == "auto":
        images = root / "train" / "image"
        files = visible(images) if images.is_dir() else []
        is_png = any(file.suffix == ".png" for file in files)
        layout = "png" if is_png else "npy"
    kinds = _png(root, num_classes) if layout == "png" else _npy(root, num_classes)
    train, validation = read_splits(root, ("train", "val"), kinds, _HINT, progress)
    return Scenes(**train), Scenes(**validation)


def _npy(root: Path, num_classes: int) -> dict[str, Kind]:
    """MTAN's layout."""
    special = f"label_{num_classes}"
    label = special if (root / "train" / special).is_dir() else "label"
    return {
        "images": Kind("image", ".npy", read_image),
        "label": Kind(label, ".npy", partial(read_label, num_classes=num_classes)),
        "depth": Kind("depth", ".npy", partial(read_finite, channels=1)),
    }


def _png(root: Path, num_classes: int) -> dict[str, Kind]:
    """Auto-λ's layout."""
    if num_classes != 19:
        raise ValueError(
            f'`num_classes` should be 19 in the layout "png". Found {num_classes}.'
        )
    pillow()
    kinds = {
        "images": Kind("image", ".png", _read_colours),
        "label": Kind("seg", ".png", _read_classes),
        "depth": Kind("depth", ".png", _read_disparity),
    }
    if any((root / split / "part_seg").is_dir() for split in ("train", "val")):
        kinds["part"] = Kind("part_seg", ".tif", _read_parts)
    return kinds


_INTEGERS = ("L", "P", "I;16", "I;16B", "I")
"""What Pillow calls pictures of whole numbers, one per pixel."""


def _open(path: Path, modes: tuple[str, ...], expected: str) -> np.ndarray:
    """The pixels of a picture that should be of some kind of Pillow's."""
    picture = open_picture(path, path.read_bytes())
    if picture.mode not in modes:
        raise malformed(path, f"be a picture of {expected}", f"mode {picture.mode}")
    return np.asarray(picture)


def _read_colours(path: Path) -> np.ndarray:
    return as_image(path, _open(path, ("RGB",), "three 8-bit channels"))


def _read_classes(path: Path) -> np.ndarray:
    ids = _open(path, _INTEGERS, "class ids").astype(np.int64)
    ids[ids == UNKNOWN] = -1
    if ids.min() < -1 or ids.max() >= len(_CLASSES):
        raise malformed(
            path, "hold class ids from -1 to 33", f"{ids.min()} to {ids.max()}"
        )
    return np.where(ids < 0, np.int32(-1), _CLASSES[ids])


def _read_disparity(path: Path) -> np.ndarray:
    """Published as 1 + 256 disparities of a picture 2048 wide, 0 where unknown."""
    raw = _open(path, ("I;16", "I;16B", "I"), "16-bit disparities").astype(np.float32)
    disparity = np.maximum((raw - 1) / (256 * 4), 1e-6)
    return np.where(raw == 0, 0, disparity).astype(np.float32)[..., None]


def _read_parts(path: Path) -> np.ndarray:
    """Published as object (two digits), its number (three) and its part (two)."""
    ids = _open(path, _INTEGERS, "part ids").astype(np.int64)
    if ids.min() < 0 or ids.max() > 9_999_999:
        raise malformed(
            path, "hold part ids of up to 7 digits", f"{ids.min()} to {ids.max()}"
        )
    object_and_part = np.where(ids > 99_999, ids // 100_000 * 100 + ids % 100, 0)
    parts = np.zeros(ids.shape, np.int32)
    for number, members in enumerate(_PARTS, start=1):
        parts[np.isin(object_and_part, members)] = number
    return parts
