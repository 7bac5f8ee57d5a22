"""NYUv2 as MTAN publishes it: indoor scenes with classes, depth and normals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import SupportsIndex

from auxjax._numbers import integer
from auxjax.data._find import find
from auxjax.data._images import hinted
from auxjax.data._numbered import (
    Kind,
    read_finite,
    read_image,
    read_label,
    read_splits,
)
from auxjax.data._scenes import Scenes

_HINT = (
    "Expected: {train,val}/{image,label,depth,normal}/{0,1,…}.npy, channels last.\n"
    "Download it from https://github.com/lorenmt/mtan (the preprocessed NYUv2)."
)


@hinted(_HINT)
def nyuv2(
    data_dir: str | Path | None = None,
    *,
    num_classes: SupportsIndex = 13,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Scenes, Scenes]:
    """The 1,449 indoor scenes of NYUv2, 288 × 384, from MTAN's npy files.

    Any other scenes in the same layout are read as well, of any size and dtype.

    Args:
      data_dir: the folder of `train/` and `val/`, or one with `nyuv2/` in it; see
        `find` for where else they are looked for.
      num_classes: labels are below it; −1 and 255 are unknown, and become −1.
      progress: called with the number of files read and of all of them.

    Returns:
      The training and the validation scenes, with depth in metres and normals.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is truncated or malformed, or of another size.

    Example:
      >>> train, validation = nyuv2("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: The data was not found. Tried:
        no/such/folder (`data_dir`, which is no folder)
      Expected: {train,val}/{image,label,depth,normal}/{0,1,…}.npy, ...

    References:
      Silberman et al., Indoor segmentation and support inference, 2012;
      Liu et al., MTAN, arXiv 1803.10704.
    """
    num_classes = integer("num_classes", num_classes, 1)
    root = find(["nyuv2", "NYUv2", ""], data_dir, _HINT, accept=has_splits)
    kinds = {
        "images": Kind("image", ".npy", read_image),
        "label": Kind("label", ".npy", partial(read_label, num_classes=num_classes)),
        "depth": Kind("depth", ".npy", partial(read_finite, channels=1)),
        "normal": Kind("normal", ".npy", partial(read_finite, channels=3)),
    }
    train, validation = read_splits(root, ("train", "val"), kinds, _HINT, progress)
    return Scenes(**train), Scenes(**validation)


def has_splits(root: Path) -> bool:
    """Whether any part of the layout is there: then all of it has to be."""
    return any((root / split / "image").is_dir() for split in ("train", "val"))
