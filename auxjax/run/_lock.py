"""One process per run folder: a lock that the system takes back when that ends."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
from pathlib import Path
from typing import Any

from auxjax.run._errors import RunError

fcntl: Any = None
msvcrt: Any = None
with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl
with contextlib.suppress(ImportError):  # there is none elsewhere
    import msvcrt

LOCK = ".lock"
"""The file that stands for the lock where a folder itself cannot be locked."""

_HELD: dict[tuple[int, int], Any] = {}
"""What this process holds, by device and inode of the folder."""

_BUSY = (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN, errno.EDEADLK)


def hold(folder: Path) -> None:
    """Locks a folder for this process, until it ends; twice is as good as once.

    However the process ends: the lock belongs to an open file, which the system closes.
    Where the system has no such locks, a file with the process's number does instead.

    Args:
      folder: an existing one.

    Raises:
      RunError: another process holds it.
      OSError: the folder cannot be opened.
    """
    status = folder.stat()
    place = status.st_dev, status.st_ino
    if place in _HELD:
        return
    for lock in (_by_folder, _by_byte, _by_number):
        held = lock(folder)
        if held is not None:
            _HELD[place] = held
            return


def _by_folder(folder: Path) -> int | None:
    """`flock` of the folder itself, which leaves nothing behind."""
    if fcntl is None:
        return None
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(number)
        if error.errno in _BUSY:
            raise _refusal(folder) from error
        return None  # some network file systems have none
    return number


def _by_byte(folder: Path) -> int | None:
    """Windows' lock of the first byte of a file."""
    if msvcrt is None:
        return None
    number = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        os.close(number)
        raise _refusal(folder) from error
    return number


def _by_number(folder: Path) -> Path:
    """A file that names the process; one whose process is gone does not count."""
    path, ours = folder / LOCK, f"{platform.node()} {os.getpid()}"
    for _ in range(2):
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(ours)
            return path
        except FileExistsError:
            if not _is_stale(path):
                break
            path.unlink(missing_ok=True)
    raise _refusal(folder)


def _is_stale(path: Path) -> bool:
    try:
        node, number = path.read_text(encoding="utf-8").split()
        if node != platform.node():  # whose processes cannot be asked after
            return False
        if int(number) != os.getpid():
            os.kill(int(number), 0)  # signal 0 only asks
            return False
    except (ProcessLookupError, FileNotFoundError):
        return True
    except (OSError, ValueError):  # somebody else's process; a file half written
        return False
    return True  # our own number, given a second time


def _refusal(folder: Path) -> RunError:
    return RunError(
        f"`{folder}` should be used by one process at a time. Found another one at "
        "work in it: wait for it, stop it, or choose another folder."
    )


def _let_go() -> None:
    """A forked child has no part in its parent's locks: they end with the parent."""
    for held in _HELD.values():
        if isinstance(held, int):
            os.close(held)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
