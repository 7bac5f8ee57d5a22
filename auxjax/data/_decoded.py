"""Pictures decoded once and kept on the disk: too many for the memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from auxjax.data._whole import whole_file

_CHUNK = 512  # pictures decoded between two writes


def cache_folder(cache_dir: str | Path | None) -> Path | None:
    """Where what was made once is kept.

    Args:
      cache_dir: the folder; by default `AUXJAX_CACHE` of the environment, or `auxjax`
        in `XDG_CACHE_HOME`, or in `~/.cache`.

    Returns:
      The folder, which may not be there yet; None where it is in a home and there is
      no home.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "auxjax")
    chosen = cache_dir or os.environ.get("AUXJAX_CACHE") or default
    folder = Path(os.path.expanduser(chosen))
    return None if folder.parts[:1] == ("~",) else folder


def fingerprint(root: Path, paths: Iterable[Path], *more: object) -> str:
    """Short, and another one whenever some file's name, size or date is.

    A folder's own date says nothing: it stays when a file in it is written over, and
    moves when one is copied there that is no picture.

    Args:
      root: the folder of the data, which counts as well.
      paths: the files, which are there.
      more: what else makes a difference.
    """
    stats = ((p.name, s.st_size, s.st_mtime_ns) for p in paths for s in [p.stat()])
    content = repr((str(root.resolve()), list(stats), more))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def decode_once(
    cache: Path | None,
    names: Sequence[str],
    read: Callable[[str], bytes],
    decode: Callable[[str, bytes], np.ndarray],
    shape: tuple[int, int, int],
    progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """All pictures as one array, mapped from a file that is written the first time.

    The file appears only when it is whole. Where none can be made, the pictures stay
    in memory.

    Args:
      cache: the file, `.npy`; None for none.
      names: of the pictures, in their order.
      read: the bytes of a picture of some name; called in this thread.
      decode: makes pixels of a name and its bytes; called in several threads.
      shape: of each picture.
      progress: called with the number of pictures decoded and of all of them.

    Returns:
      `[n, *shape]` uint8, read-only if it is mapped.

    Raises:
      OSError: the disk is full.
    """
    whole = (len(names), *shape)
    if cache is not None and (cached := _load(cache, whole)) is not None:
        return cached
    chunks = _decode(names, read, decode, progress)
    with contextlib.ExitStack() as stack:
        try:
            if cache is None:
                raise FileNotFoundError
            file = stack.enter_context(whole_file(cache))
        except OSError:
            return np.concatenate(list(chunks))
        # Plain writes: on a full disk they raise, where a mapped page would kill.
        header = {"descr": "|u1", "fortran_order": False, "shape": whole}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(chunk.tobytes())
    return np.load(cache, mmap_mode="r")


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The mapped array, or None unless it is all there."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.uint8 else None


def _decode(
    names: Sequence[str],
    read: Callable[[str], bytes],
    decode: Callable[[str, bytes], np.ndarray],
    progress: Callable[[int, int], None] | None,
) -> Iterator[np.ndarray]:
    """The pixels of the pictures, some hundreds at a time."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(names), _CHUNK):
            part = names[start : start + _CHUNK]
            contents = [read(name) for name in part]
            yield np.stack(list(pool.map(decode, part, contents)))
            if progress is not None:
                progress(start + len(part), len(names))
