"""Picture files, decoded by Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from auxjax._extras import require
from auxjax.data._images import malformed


def pillow() -> ModuleType:
    """Pillow's `Image`, or an error that says how to install it."""
    return require("PIL.Image", "vision", "Reading pictures")


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


def open_rgb(path: Path | str, content: bytes) -> Any:
    """As `open_picture`, in three channels of 8 bits.

    Pillow itself would cut off all above 255 of a grey picture with 16 bits.

    Args:
      path: where it was, for the message.
      content: the file.

    Returns:
      The picture, in the mode RGB.

    Raises:
      ValueError: as `open_picture`; it has more than 16 bits per channel, or floats.
    """
    picture = open_picture(path, content)
    if picture.mode[0] not in "IF":
        return picture.convert("RGB")
    grey = np.asarray(picture)
    if picture.mode == "F" or grey.min() < 0 or grey.max() > 0xFFFF:
        raise malformed(
            path, "have 8 or 16 bits per channel", f"{grey.min()} to {grey.max()}"
        )
    scaled = np.round(grey * (255 / 0xFFFF)).astype(np.uint8)
    return pillow().fromarray(scaled).convert("RGB")


def squeeze(picture: Any, size: int) -> np.ndarray:
    """The whole picture, which is RGB, in a square, `[size, size, 3]` uint8."""
    small = picture.resize((size, size), pillow().Resampling.BILINEAR)
    return np.asarray(small, np.uint8)


def centre(picture: Any, size: int) -> np.ndarray:
    """The largest square in the middle of it, `[size, size, 3]` uint8."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    small = picture.resize(
        (size, size),
        pillow().Resampling.BILINEAR,
        box=(left, top, left + side, top + side),
    )
    return np.asarray(small, np.uint8)
