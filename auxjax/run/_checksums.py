"""SHA-256 of every file in a folder: a disk that flips a bit is found out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from auxjax.run._errors import RunError

NAME = "checksums.json"


def seal(folder: Path) -> None:
    """Writes down the checksum of every file that is there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): _checksum(path) for path in files}
    text = json.dumps({"files": sums, "sum": _of_sums(sums)}, indent=1)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def check(folder: Path, below: str = "") -> None:
    """Compares the files with what was written down.

    A folder without checksums, of an earlier version, passes: nothing is known of it.

    Args:
      folder: a sealed one.
      below: the files whose names begin so; by default all.

    Raises:
      RunError: a file is gone or another one, with its name.
      OSError: a file cannot be read.
    """
    record = folder / NAME
    if not record.is_file():
        return
    for name, expected in _sums(record).items():
        path = folder / name
        if not name.startswith(below):
            continue
        if not path.is_file():
            raise _damage(path, "no file")
        if _checksum(path) != expected:
            raise _damage(path, "other bytes")


def _sums(record: Path) -> dict[str, str]:
    try:
        noted = json.loads(record.read_bytes())
        sums, total = noted["files"], noted["sum"]
        intact = total == _of_sums(sums)
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise _damage(record, "other bytes")
    return sums


def _of_sums(sums: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damage(path: Path, found: str) -> RunError:
    return RunError(f"`{path}` should hold what was saved. Found {found}.")
