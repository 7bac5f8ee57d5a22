"""Picture files, decoded by Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from auxjax.data._images import malformed, require


def pillow() -> ModuleType:
    """Pillow's `Image`, or an error that says how to install it."""
    return require("PIL.Image", "pillow", "Reading pictures")


def open_picture(path: Path | str, content: bytes) -> Any:
    """A decoded picture of Pillow's.

    Args:
      path: where it was, for the message.
      content: the file.

    Returns:
      The picture, all of it decoded.

    Raises:
      ValueError: the file is truncated or corrupt, or no picture.
    """
    Image = pillow()
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except Exception as error:  # a corrupt picture fails in every possible way
        # Pillow's own words name the buffer in memory, which tells nobody anything.
        found = "none" if "cannot identify" in str(error) else error
        raise malformed(path, "be a whole picture", found) from error
    return picture


def squeeze(picture: Any, size: int) -> np.ndarray:
    """The whole picture in a square, `[size, size, 3]` uint8."""
    small = picture.convert("RGB").resize((size, size), pillow().Resampling.BILINEAR)
    return np.asarray(small, np.uint8)


def centre(picture: Any, size: int) -> np.ndarray:
    """The largest square in the middle of the picture, `[size, size, 3]` uint8."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    small = picture.convert("RGB").resize(
        (size, size),
        pillow().Resampling.BILINEAR,
        box=(left, top, left + side, top + side),
    )
    return np.asarray(small, np.uint8)


def check_size(size: int) -> None:
    """A ValueError where a picture would be empty."""
    if size < 1:
        raise ValueError(f"`size` should be at least 1. Found {size}.")
