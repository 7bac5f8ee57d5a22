"""Files that are whole or not there, whenever the writing of them stops."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where nobody can remove a file that is open
    fcntl: Any = None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file that takes its place when the block ends, readable as umask says.

    An error in the block leaves nothing behind. A process that is killed leaves its
    `tmp*.partial`, which the next one to write in that folder removes.

    Args:
      path: of the file; its folder is made.

    Yields:
      What to write to: plain writes, which raise on a full disk.

    Raises:
      OSError: the folder or the file cannot be written; the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(path.parent)
    partial, file = _begin(path.parent)
    try:
        with file:
            yield file
            file.flush()
            if fcntl is None:
                file.close()
            os.replace(partial, path)  # while the lock is held
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _begin(folder: Path) -> tuple[Path, IO[bytes]]:
    """A new file, locked as long as it is open."""
    while True:
        partial = folder / f"tmp{secrets.token_hex(8)}.partial"
        file = partial.open("xb")
        # Between the two lines another process may have taken it for left over.
        if _lock(file) is not False and partial.exists():
            return partial, file
        file.close()


def _remove_left_over(folder: Path) -> None:
    """Removes what dead processes were writing, and nothing that a live one is."""
    # Rooms were once written to `.part`.
    for partial in [*folder.glob("tmp*.partial"), *folder.glob("tmp*.part")]:
        # An OSError: it is another user's, it is in use, or it is gone.
        with contextlib.suppress(OSError):
            if fcntl is None:
                partial.unlink()
            elif partial.is_file():
                with partial.open("r+b") as file:
                    if _lock(file):
                        partial.unlink()


def _lock(file: IO[bytes]) -> bool | None:
    """Whether the file is ours; None where the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
