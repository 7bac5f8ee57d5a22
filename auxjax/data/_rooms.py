"""Rooms that nobody has to download: pictures with an exact dense truth.

A room has floor, ceiling and walls, furniture, and objects on it; a lamp, shadows,
patterns, any colours. What it shows is computed by casting one ray per pixel, so class,
depth and normal are exact. Behind a window nothing is known: there the truth is
marked invalid, as sensors do with glass, and losses and metrics have to leave it out.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._numbers import integer
from auxjax._types import Array, Key
from auxjax.data._decoded import cache_folder
from auxjax.data._rooms_cache import Arrays, load, recipe, save
from auxjax.data._rooms_scene import random_room
from auxjax.data._rooms_trace import camera_rays, trace
from auxjax.data._scenes import Scenes

__all__ = ["ROOM_CLASSES", "render_room", "rooms"]

ROOM_CLASSES = ("wall", "floor", "ceiling", "furniture", "object")
"""The names of the labels 0 to 4."""

_CHUNK_PIXELS = 64 * 64 * 64  # rendered between two movements of the progress bar

Progress = Callable[[int, int], object]


def rooms(
    num_train: SupportsIndex = 800,
    num_test: SupportsIndex = 400,
    *,
    size: Sequence[SupportsIndex] = (64, 64),
    seed: SupportsIndex = 0,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    quiet: bool = False,
) -> tuple[Scenes, Scenes]:
    """Random rooms with classes, depth and normals: rendered once, then read from disk.

    The first pictures are the same whatever the number of them. A cache that is
    damaged, or of another version, is rendered again; where none can be written there
    is none.

    Args:
      num_train: training scenes.
      num_test: test scenes, of other rooms.
      size: height and width in pixels.
      seed: which rooms.
      cache_dir: folder for the rendered rooms; by default `AUXJAX_CACHE`, or `auxjax`
        in `XDG_CACHE_HOME` or `~/.cache`.
      progress: called as `progress(done, total)` while scenes are rendered. By
        default a line on stderr moves, if that is a terminal.
      quiet: no such line.

    Returns:
      Training and test scenes, NumPy arrays: images `[n, H, W, 3]` in [0, 1], of 256
      levels; label `[n, H, W]`, see `ROOM_CLASSES`, −1 invalid; depth `[n, H, W, 1]`
      in metres along the optical axis, 0 invalid; normal `[n, H, W, 3]`, unit vectors
      in the camera's frame (right, up, towards the camera), 0 invalid.

    Raises:
      ValueError: a number of scenes or pixels is below 1.

    Example:
      >>> import tempfile
      >>> train, test = rooms(2, 2, size=(8, 8), cache_dir=tempfile.mkdtemp())
      >>> train.images.shape, test.depth.shape
      ((2, 8, 8, 3), (2, 8, 8, 1))
    """
    counts = {
        "train": integer("num_train", num_train, 1),
        "test": integer("num_test", num_test, 1),
    }
    size, seed = _pair(size), integer("seed", seed)
    if min(size) < 1:
        raise ValueError(f"`size` should be at least 1 × 1. Found {size}.")
    shape, made, folder = f"{size[0]}x{size[1]}", recipe(), cache_folder(cache_dir)
    paths = {
        split: folder
        and folder / f"rooms-{split}-{count}-{shape}-seed{seed}-{made}.npz"
        for split, count in counts.items()
    }
    kept = {
        split: arrays
        for split, count in counts.items()
        if (arrays := load(paths[split], _empty(count, size))) is not None
    }
    missing = [split for split in counts if split not in kept]
    total, done = sum(counts[split] for split in missing), 0
    show = progress or (_silent if quiet else _line)
    for split in missing:
        key = jax.random.fold_in(jax.random.key(seed), list(counts).index(split))
        arrays = _empty(counts[split], size)
        for filled in _fill(arrays, key):
            show(done + filled, total)
        done += counts[split]
        save(paths[split], arrays)
        kept[split] = arrays
    return _scenes(kept["train"]), _scenes(kept["test"])


def render_room(
    key: Key[Array, ""], size: Sequence[SupportsIndex] = (64, 64)
) -> Scenes:
    """One random room, seen once: a pure function, to be jitted, and vmapped over keys.

    Args:
      key: of everything in it.
      size: height and width in pixels; static.

    Returns:
      The scene, as `rooms` gives them but without the leading axis, on the device.

    Example:
      >>> import jax
      >>> shapes = jax.eval_shape(render_room, jax.random.key(0))
      >>> shapes.images.shape, shapes.label.shape, shapes.depth.shape
      ((64, 64, 3), (64, 64), (64, 64, 1))
    """
    arrays = _render(key, _pair(size))
    return Scenes(
        arrays["images"].astype(jnp.float32) / 255,
        arrays["label"].astype(jnp.int32),
        arrays["depth"],
        arrays["normal"],
    )


def _pair(size: Sequence[SupportsIndex]) -> tuple[int, int]:
    """Height and width as Python's numbers."""
    height, width = (integer("size", side) for side in size)
    return height, width


def _render(key: Key[Array, ""], size: tuple[int, int]) -> dict[str, Any]:
    """A scene in the dtypes in which it is stored."""
    room = random_room(key)
    view = trace(room, camera_rays(room.camera, *size))
    valid = view.label >= 0
    images = jnp.round(255 * jnp.clip(view.color, 0, 1)).astype(jnp.uint8)
    normal = jnp.where(valid[None], view.normal, 0)
    return {
        "images": images.T.reshape(*size, 3),
        "label": view.label.astype(jnp.int8).reshape(size),
        "depth": jnp.where(valid, view.depth, 0).reshape(*size, 1),
        "normal": normal.T.reshape(*size, 3),
    }


@functools.partial(jax.jit, static_argnames=("count", "size"))
def _render_some(key, first, *, count, size):
    """Scenes `first`, `first + 1`, … of a split.

    One after another: the numbers of one picture stay in a CPU's cache, and there are
    enough of its pixels for every core.
    """
    index = first + jnp.arange(count, dtype=jnp.int32)
    return jax.lax.map(lambda i: _render(jax.random.fold_in(key, i), size), index)


def _empty(count: int, size: tuple[int, int]) -> Arrays:
    """Arrays as they are stored, with nothing in them; they take no memory yet."""
    shape = (count, *size)
    return {
        "images": np.empty((*shape, 3), np.uint8),
        "label": np.empty(shape, np.int8),
        "depth": np.empty((*shape, 1), np.float32),
        "normal": np.empty((*shape, 3), np.float32),
    }


def _fill(arrays: Arrays, key: Key[Array, ""]) -> Iterator[int]:
    """Renders into the arrays, some scenes at a time; yields how many are there."""
    count, height, width = arrays["label"].shape
    chunk = min(count, max(1, _CHUNK_PIXELS // (height * width)))
    yield 0
    for first in range(0, count, chunk):
        # The last chunk is rendered whole, so that nothing is compiled twice.
        some = _render_some(key, jnp.int32(first), count=chunk, size=(height, width))
        last = min(first + chunk, count)
        for name, array in arrays.items():
            array[first:last] = some[name][: last - first]
        yield last


def _scenes(arrays: Arrays) -> Scenes:
    return Scenes(
        arrays["images"].astype(np.float32) / np.float32(255),
        arrays["label"].astype(np.int32),
        arrays["depth"],
        arrays["normal"],
    )


def _line(done: int, total: int) -> None:
    """A line that moves, where somebody can see it."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(
            f"\rrendering rooms: {done}/{total}", end=end, file=sys.stderr, flush=True
        )


def _silent(done: int, total: int) -> None:
    del done, total
