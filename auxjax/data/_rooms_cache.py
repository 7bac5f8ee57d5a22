"""Rendered rooms on disk: whole and as written, or not there."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from auxjax.data._whole import whole_file

Arrays = dict[str, Any]


def recipe() -> str:
    """Letters that change when a file does from which rooms come."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("_rooms*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def load(path: Path | None, layout: Arrays) -> Arrays | None:
    """What was saved; None if there is nothing, or nothing whole.

    A zip file knows a checksum of each of its arrays: damage does not go unnoticed.

    Args:
      path: of the file; None for none.
      layout: arrays of the shapes and dtypes that should be in it.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file) as arrays:
            kept = {name: arrays[name] for name in layout}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    for name, like in layout.items():
        if (kept[name].shape, kept[name].dtype) != (like.shape, like.dtype):
            return None
    return kept


def save(path: Path | None, arrays: Arrays) -> bool:
    """Writes all or nothing; False where the disk is full or read-only, or no path."""
    if path is None:
        return False
    try:
        with whole_file(path) as file:
            np.savez(file, **arrays)
    except OSError:
        return False
    return True
