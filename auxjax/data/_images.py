"""What the readers return, and what they refuse."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Images(NamedTuple):
    """Pictures with one class each, NumPy arrays on the host, decoded once.

    Attributes:
      images: `[n, H, W, C]` uint8, 0 to 255.
      labels: `[n]` int32, from 0.
      coarse: `[n]` int32, the coarser class; None where there is none.
    """

    images: np.ndarray
    labels: np.ndarray
    coarse: np.ndarray | None = None


class Attributes(NamedTuple):
    """Pictures with many yes-or-no answers each, NumPy arrays on the host.

    Attributes:
      images: `[n, H, W, 3]` uint8, 0 to 255; it may be mapped from the disk.
      attributes: `[n, A]` int32, 1 where the picture has the attribute, 0 elsewhere.
      names: the `A` names of the attributes.
    """

    images: np.ndarray
    attributes: np.ndarray
    names: tuple[str, ...]


class _Malformed(ValueError):
    """A file that is there and is not what it should be."""


def malformed(path: Path | str, expected: str, found: object) -> ValueError:
    """The error about a file that is there and is not what it should be."""
    # Others' messages end with a full stop or without.
    return _Malformed(f"`{path}` should {expected}. Found {str(found).rstrip('.')}.")


@contextlib.contextmanager
def hinted(hint: str) -> Iterator[None]:
    """Adds to such an error what layout is expected and where to get it."""
    try:
        yield
    except _Malformed as error:
        raise ValueError(f"{error}\n{hint}") from error.__cause__


def as_labels(
    path: Path | str, values: object, count: int, classes: int, what: str = "labels"
) -> np.ndarray:
    """One int32 label per image, each of them a class that exists."""
    try:
        labels = np.asarray(values)
    except ValueError:  # a ragged list
        labels = np.empty((0, 0))
    if labels.shape != (count,):
        raise malformed(
            path, f"hold {count} {what}, one per image", f"shape {list(labels.shape)}"
        )
    if labels.dtype.kind not in "iu":
        raise malformed(path, f"hold integers as {what}", f"dtype {labels.dtype}")
    if count and not (labels.min() >= 0 and labels.max() < classes):
        raise malformed(
            path,
            f"hold {what} from 0 to {classes - 1}",
            f"{labels.min()} to {labels.max()}",
        )
    return labels.astype(np.int32)
