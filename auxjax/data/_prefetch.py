"""Batches put on the device before they are asked for."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

import jax

from auxjax._numbers import integer

_PATIENCE = 5.0  # seconds that closing waits for a batch which is being read


def prefetch(
    batches: Iterable[Any],
    depth: SupportsIndex = 2,
    sharding: jax.sharding.Sharding | None = None,
) -> Prefetched:
    """Reads batches in a thread and puts them on the device ahead of the training.

    For data larger than the device's memory; what fits is faster as one array on it.

    Args:
      batches: what to read, such as `auxjax.data.batches(...)`: pytrees of arrays, not
        to be written to once given away.
      depth: how many batches may wait on the device.
      sharding: how a batch lies on several devices; by default it is put on one.

    Returns:
      An iterator over the same batches as JAX arrays. An error of `batches` is raised
      in its place, after the batches before it. It stops its thread when it is closed
      (by `close`, `with`, or being forgotten).

    Raises:
      ValueError: `depth` is below 1.

    Example:
      >>> import numpy as np
      >>> with prefetch(np.full(2, i) for i in range(3)) as ready:
      ...     [int(batch.sum()) for batch in ready]
      [0, 2, 4]
    """
    return Prefetched(batches, integer("depth", depth, 1), sharding)


class Prefetched(Iterator[Any]):
    """The batches of `prefetch`."""

    def __init__(
        self,
        batches: Iterable[Any],
        depth: int,
        sharding: jax.sharding.Sharding | None,
    ):
        self._shelf = _Shelf(depth)
        # Contexts of JAX's belong to a thread: the new one gets this one's.
        config: Any = jax.config
        settings = config.jax_enable_x64, config.jax_default_device
        thread = threading.Thread(
            target=_fill, args=(self._shelf, batches, sharding, settings), daemon=True
        )
        # The thread knows the shelf and not this object, which may thus be forgotten.
        self._finish = weakref.finalize(self, _finish, self._shelf, thread)
        thread.start()

    def __iter__(self) -> Prefetched:
        return self

    def __next__(self) -> Any:
        return self._shelf.take()

    def close(self) -> None:
        """Stops the thread; the batches that wait are dropped."""
        self._finish()

    def __enter__(self) -> Prefetched:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Shelf:
    """What lies between the two threads: a few batches, and how it ends."""

    def __init__(self, depth: int):
        self._changed = threading.Condition()
        self._waiting: deque[Any] = deque()
        self._depth = depth
        self._is_closed = False
        self._error: BaseException | None = None

    def has_room(self) -> bool:
        """Waits until a batch fits; False if none is wanted any more."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or len(self._waiting) < self._depth
            )
            return not self._is_closed

    def put(self, batch: Any) -> None:
        """Adds a batch, for which there was room."""
        with self._changed:
            if not self._is_closed:
                self._waiting.append(batch)
            self._changed.notify_all()

    def end(self, error: BaseException | None) -> None:
        """No more batches come; those that wait are still given."""
        with self._changed:
            if not self._is_closed:  # else nobody is there to hear of the error
                self._is_closed, self._error = True, error
            self._changed.notify_all()

    def drop(self) -> None:
        """No more batches are wanted."""
        with self._changed:
            self._is_closed, self._error = True, None
            self._waiting.clear()
            self._changed.notify_all()

    def take(self) -> Any:
        """The next batch, or the error in its place, or StopIteration."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if self._waiting:
                batch = self._waiting.popleft()
                self._changed.notify_all()
                return batch
            error, self._error = self._error, None
        raise StopIteration if error is None else error


def _fill(
    shelf: _Shelf,
    batches: Iterable[Any],
    sharding: jax.sharding.Sharding | None,
    settings: tuple[bool, Any],
) -> None:
    """The thread: reads a batch when there is room for it."""
    x64, device = settings
    error = None
    try:
        with jax.enable_x64(x64), jax.default_device(device):
            source = iter(batches)
            while shelf.has_room():
                try:
                    batch = next(source)
                except StopIteration:
                    break
                shelf.put(jax.device_put(batch, sharding))
                del batch  # it must not live here while the thread waits
            else:
                # A generator's `finally` runs in the thread where the rest of it ran.
                getattr(source, "close", lambda: None)()
    except BaseException as raised:
        error = raised
    finally:
        shelf.end(error)


def _finish(shelf: _Shelf, thread: threading.Thread) -> None:
    """Stops the thread and waits for it, unless it is the one that forgets."""
    shelf.drop()
    if thread is not threading.current_thread():
        thread.join(_PATIENCE)
