"""SVHN: house numbers cut into digits, from MATLAB's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io

from auxjax.data._find import find, require_file
from auxjax.data._images import Images, hinted, malformed

_HINT = (
    "Expected in one folder: train_32x32.mat and test_32x32.mat.\n"
    "Download them from http://ufldl.stanford.edu/housenumbers/ (format 2)."
)


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


def _read(path: Path) -> Images:
    try:
        content = scipy.io.loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # a corrupt file fails in every possible way
        raise malformed(path, "be a whole MATLAB file", error) from error
    if not {"X", "y"} <= set(content):
        found = sorted(key for key in content if not key.startswith("__"))
        raise malformed(path, "hold the variables X and y", found)
    images, labels = content["X"], content["y"]
    if images.ndim != 4 or images.shape[:3] != (32, 32, 3) or images.dtype != np.uint8:
        raise malformed(
            path,
            "hold images as [32, 32, 3, n] uint8",
            f"{list(images.shape)} {images.dtype}",
        )
    count = images.shape[3]
    labels = labels.reshape(-1)
    if count == 0 or len(labels) != count:
        raise malformed(path, f"hold {count} labels, one an image", len(labels))
    if not (labels.min() >= 1 and labels.max() <= 10):
        raise malformed(
            path, "hold labels from 1 to 10", f"{labels.min()} to {labels.max()}"
        )
    if not np.array_equal(labels, labels.astype(np.int32)):
        raise malformed(path, "hold whole numbers as labels", "fractions")
    images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    return Images(images, labels.astype(np.int32) % 10)
