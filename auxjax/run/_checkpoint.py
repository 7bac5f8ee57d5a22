"""Checkpoints of any pytree, by Orbax: bit for bit, all or nothing, the last two kept.

A state is saved as a flat list of arrays with a list of their paths, shapes and dtypes
beside it. So no class has to be registered with Orbax, PRNG keys and empty arrays pass
too, and a state that does not fit is told by the name of its first wrong leaf.

The checksum of every file lies beside them. A checkpoint with a damaged file is refused
with the file's name; one of a version that kept no checksums is restored unchecked.
"""

from __future__ import annotations

import operator
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from auxjax._extras import extra
from auxjax._types import PyTree
from auxjax.run._checksums import check, seal
from auxjax.run._errors import RunError, writing
from auxjax.run._json import to_json
from auxjax.run._leaves import describe, from_host, mismatch, to_host

_KEEP = 2
_METADATA = 1 << 20  # bytes that Orbax's own files stay below
_UNFINISHED = ("*.orbax-checkpoint-tmp*", "*.unfinished")


def save(
    folder: str | Path,
    step: SupportsIndex,
    state: PyTree,
    *,
    note: Mapping[str, Any] | None = None,
) -> Path:
    """Saves a state under its step; returns once it is on the disk.

    The files are written beside their place and moved there at the end. A program
    killed on the way leaves the checkpoints before it as they were.

    Args:
      folder: where the checkpoints lie, one subfolder per step.
      step: the number of the checkpoint, above all that are there.
      state: a pytree of arrays, numbers and typed PRNG keys that fits on the host.
      note: a few JSON values to keep with it, read again by `read_note`.

    Returns:
      The checkpoint's folder.

    Raises:
      ValueError: the step is not above the last one's, or a leaf is no array.
      RunError: the disk is full or the folder cannot be written. The checkpoints that
        were there still are.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = save(folder, 100, {"w": np.ones(2), "count": 3})
      ...     restore(folder, {"w": np.zeros(2), "count": 0})
      (100, {'count': 3, 'w': array([1., 1.])})
    """
    folder, step = Path(folder).absolute(), operator.index(step)
    last = max(steps(folder), default=-1)
    if step <= last:
        raise ValueError(
            f"`step` should be above {last}, the last checkpoint's. Found {step}."
        )
    meta = {"leaves": describe(state), "note": to_json(dict(note or {}))}
    arrays = to_host(state)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        _check_space(folder, sum(array.nbytes for array in arrays.values()))
    _write(folder / str(step), arrays, meta)
    for old in steps(folder)[:-_KEEP]:
        shutil.rmtree(folder / str(old), ignore_errors=True)
    return folder / str(step)


def restore(folder: str | Path, like: PyTree) -> tuple[int, PyTree] | None:
    """Reads the last checkpoint.

    Args:
      folder: where the checkpoints lie.
      like: a state of the same structure, shapes and dtypes; its values are not used,
        so what `jax.eval_shape` returns will do.

    Returns:
      The step and the state, placed on devices as `like` is, or None where no
      checkpoint is.

    Raises:
      RunError: the checkpoint is of another structure, with the first leaf that
        differs; or a file of it is damaged or cannot be read, with its name.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     print(restore(folder, {"w": np.zeros(2)}))
      ...     _ = save(folder, 100, {"w": np.ones(2)})
      ...     print(restore(folder, {"w": np.zeros(2)}))
      None
      (100, {'w': array([1., 1.])})
    """
    path = last_checkpoint(folder)
    if path is None:
        return None
    _check(path)
    saved = _read_meta(path)["leaves"]
    wrong = mismatch(saved, like)
    if wrong:
        raise RunError(f"The checkpoint `{path}` is of another state. {wrong}")
    return int(path.name), from_host(_read_arrays(path), like, saved)


def read_note(folder: str | Path) -> dict[str, Any]:
    """The note saved with the last checkpoint; empty where no checkpoint is."""
    path = last_checkpoint(folder)
    if path is None:
        return {}
    _check(path, "meta/")
    return _read_meta(path)["note"]


def last_checkpoint(folder: str | Path) -> Path | None:
    """The folder of the last finished checkpoint, or None where none is.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = save(folder, 5, {"w": np.ones(2)})
      ...     _ = save(folder, 10, {"w": np.ones(2)})
      ...     last_checkpoint(folder).name
      '10'
    """
    saved = steps(folder)
    return Path(folder).absolute() / str(saved[-1]) if saved else None


def steps(folder: str | Path) -> list[int]:
    """The steps of the finished checkpoints, ascending.

    Half-written ones bear longer names until they are done, and do not count.
    """
    if not Path(folder).is_dir():
        return []
    names = (item.name for item in Path(folder).iterdir())
    return sorted(int(name) for name in names if name.isdecimal())


def _sweep(folder: Path) -> None:
    """Removes what a killed or failed save left behind."""
    for pattern in _UNFINISHED:
        for unfinished in folder.glob(pattern):
            shutil.rmtree(unfinished, ignore_errors=True)


def _check_space(folder: Path, needed: int) -> None:
    # Asked beforehand, because Orbax on a full disk fails in many threads at once.
    free = shutil.disk_usage(folder).free
    needed += _METADATA
    if free < needed:
        raise RunError(
            f"`{folder}` should have {needed:,} bytes of space for the next "
            f"checkpoint. Found {free:,}."
        )


def _orbax() -> tuple[Any, Any]:
    """The package and a checkpointer of ours, made late: the import takes a second."""
    with extra("run", "A checkpoint"):
        import orbax.checkpoint as ocp
    handler = ocp.CompositeCheckpointHandler(
        arrays=ocp.PyTreeCheckpointHandler(), meta=ocp.JsonCheckpointHandler()
    )
    return ocp, ocp.Checkpointer(handler)


def _write(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    ocp, checkpointer = _orbax()
    parts = {"meta": ocp.args.JsonSave(meta)}
    if arrays:
        parts["arrays"] = ocp.args.PyTreeSave(arrays)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with checkpointer:
            checkpointer.save(unfinished, args=ocp.args.Composite(**parts))
        seal(unfinished)
        unfinished.rename(path)
    except (OSError, RuntimeError, ValueError) as error:
        # Orbax's storage may report a failed write by any of the three.
        _sweep(path.parent)
        raise RunError(f"`{path}` should be writable. Found: {error}.") from error


def _read_meta(path: Path) -> dict[str, Any]:
    ocp, checkpointer = _orbax()
    with _reading(path), checkpointer:
        wanted = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return checkpointer.restore(path, args=wanted)["meta"]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not (path / "arrays").is_dir():  # a state of empty arrays only
        return {}
    ocp, checkpointer = _orbax()
    with _reading(path), checkpointer:
        # They come back as numpy arrays, the type they were saved with: 64-bit numbers
        # survive a process that has them switched off.
        wanted = ocp.args.Composite(arrays=ocp.args.PyTreeRestore())
        return checkpointer.restore(path, args=wanted)["arrays"]


def _check(path: Path, below: str = "") -> None:
    """Raises where a file of the checkpoint is not what was saved."""
    with _reading(path):
        check(path, below)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError) as error:
        raise RunError(
            f"`{path}` should be a whole checkpoint. Found: {error} Remove it to go "
            "on from the one before."
        ) from error
