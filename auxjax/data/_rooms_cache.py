"""Rendered rooms on disk: whole and as written, or not there."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def recipe() -> str:
    """Letters that change when a file does from which rooms come."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("_rooms*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def load(path: Path, layout: Arrays) -> Arrays | None:
    """What was saved; None if there is nothing, or nothing whole.

    A zip file knows a checksum of each of its arrays: damage does not go unnoticed.

    Args:
      path: of the file.
      layout: arrays of the shapes and dtypes that should be in it.
    """
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file) as arrays:
            found = {name: arrays[name] for name in layout}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    for name, like in layout.items():
        if (found[name].shape, found[name].dtype) != (like.shape, like.dtype):
            return None
    return found


def save(path: Path, arrays: Arrays) -> bool:
    """Writes all or nothing; False where the disk is full or read-only."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, suffix=".part", delete=False
        ) as file:
            temporary = Path(file.name)
            np.savez(file, **arrays)
        temporary.replace(path)
    except OSError:
        return False
    finally:
        if temporary is not None:  # gone already, if all went well
            temporary.unlink(missing_ok=True)
    return True
