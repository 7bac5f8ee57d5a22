"""SVHN: house numbers cut into digits, from MATLAB's files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io

from auxjax.data._find import find, require_file
from auxjax.data._images import Images, hinted, malformed

_HINT = (
    "Expected in one folder: train_32x32.mat and test_32x32.mat.\n"
    "Download them from http://ufldl.stanford.edu/housenumbers/ (format 2)."
)
_MOST = 1_000_000  # images; all that are published, the extra ones too, are 630,420
_NUMBERS = {
    *("single", "double", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
}


@hinted(_HINT)
def svhn(data_dir: str | Path | None = None) -> tuple[Images, Images]:
    """The 99,289 digits of Street View House Numbers, 32 × 32, in colour.

    Args:
      data_dir: the folder of the two files, or one with `svhn/` in it; see `find` for
        where else they are looked for.

    Returns:
      The training and the test images, `[n, 32, 32, 3]`, labels 0 to 9 (in the files
      10 stands for the digit 0).

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is truncated or malformed.

    Example:
      >>> train, test = svhn("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: The data was not found. Tried:
        no/such/folder (`data_dir`, which is no folder)
      Expected in one folder: train_32x32.mat and test_32x32.mat. ...

    References:
      Netzer et al., Reading digits in natural images with unsupervised feature
      learning, 2011.
    """
    names = ["train_32x32.mat", "test_32x32.mat"]
    folder = find(
        ["svhn", "SVHN", ""],
        data_dir,
        _HINT,
        accept=lambda path: any((path / name).is_file() for name in names),
    )
    train, test = (_read(require_file(folder / name, _HINT)) for name in names)
    return train, test


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Says of any error in the block that the file is to blame."""
    try:
        yield
    except Exception as error:  # a corrupt file fails in every possible way
        raise malformed(path, "be a whole MATLAB file", error) from error


def _check(path: Path, listed: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Before anything is unpacked: a small file can say that it holds a lot."""
    shape, kind = listed.get("X", ((32, 32, 3, _MOST), "uint8"))
    if len(shape) != 4 or shape[:3] != (32, 32, 3) or kind != "uint8":
        raise malformed(
            path, "hold images as [32, 32, 3, n] uint8", f"{list(shape)} {kind}"
        )
    count = shape[3]
    if not 0 < count <= _MOST:
        raise malformed(path, f"hold 1 to {_MOST:,} images", f"{count:,}")
    shape, kind = listed.get("y", ((count,), "uint8"))
    labels = math.prod(shape)
    if labels > _MOST or ("X" in listed and labels != count):
        raise malformed(path, f"hold {count} labels, one per image", labels)
    if kind not in _NUMBERS:
        raise malformed(path, "hold whole numbers as labels", kind)


def _read(path: Path) -> Images:
    with _whole(path):
        listed = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
    _check(path, listed)
    with _whole(path):
        content = scipy.io.loadmat(path, variable_names=["X", "y"])
    if not {"X", "y"} <= set(content):
        raise malformed(path, "hold the variables X and y", sorted(listed))
    images, labels = content["X"], content["y"].reshape(-1)
    if not (labels.min() >= 1 and labels.max() <= 10):
        raise malformed(
            path, "hold labels from 1 to 10", f"{labels.min()} to {labels.max()}"
        )
    if not np.array_equal(labels, labels.astype(np.int32)):
        raise malformed(path, "hold whole numbers as labels", "fractions")
    images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    return Images(images, labels.astype(np.int32) % 10)
