"""The batches of an epoch, for data that stays on the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, SupportsIndex

import jax
import numpy as np

from auxjax._numbers import integer


def batches(
    arrays: Any,
    batch_size: SupportsIndex,
    *,
    seed: SupportsIndex = 0,
    epoch: SupportsIndex = 0,
    start: SupportsIndex = 0,
    shuffle: bool = True,
    drop_last: bool = True,
) -> Iterator[Any]:
    """One pass over the samples in batches, reshuffled each epoch.

    The order depends on `seed` and `epoch` alone, so a run that stopped goes on with
    the same batches from `start`. Only the samples of a batch are read at a time.

    Args:
      arrays: a pytree of NumPy arrays with one leading axis of samples, which may be
        mapped from the disk (`np.memmap`).
      batch_size: how many samples make a batch.
      seed: of the order.
      epoch: which pass it is, from 0.
      start: the first batch to give, from 0.
      shuffle: whether to change the order at all.
      drop_last: whether to leave out a last, smaller batch.

    Returns:
      An iterator over pytrees as `arrays`, with leaves `[batch_size, ...]`, new arrays
      every time.

    Raises:
      ValueError: the leaves are no arrays or of unequal lengths, or a number is out of
        its range.

    Example:
      >>> data = {"x": np.arange(10)[:, None], "y": np.arange(10)}
      >>> whole = [batch["y"].tolist() for batch in batches(data, 4, epoch=1)]
      >>> len(whole), len(set(sum(whole, [])))
      (2, 8)
      >>> [b["y"].tolist() for b in batches(data, 4, epoch=1, start=1)] == whole[1:]
      True
    """
    count = _count(arrays)
    batch_size = integer("batch_size", batch_size, 1)
    seed, epoch = integer("seed", seed, 0), integer("epoch", epoch, 0)
    start = integer("start", start, 0)
    if drop_last and batch_size > count:
        raise ValueError(
            f"`batch_size` should be at most {count}, the number of samples. "
            f"Found {batch_size}."
        )
    steps = count // batch_size if drop_last else -(-count // batch_size)
    if start > steps:
        raise ValueError(
            f"`start` should be at most {steps}, the number of batches. Found {start}."
        )
    if shuffle:
        order = np.random.default_rng([seed, epoch]).permutation(count)
    else:
        order = np.arange(count)
    # A function of its own, so that the checks come with the call, not the first batch.
    return _slices(arrays, order, batch_size, start, steps)


def _slices(
    arrays: Any, order: np.ndarray, batch_size: int, start: int, steps: int
) -> Iterator[Any]:
    for i in range(start, steps):
        chosen = order[i * batch_size : (i + 1) * batch_size]
        yield jax.tree.map(lambda x, at=chosen: np.asarray(x[at]), arrays)


def _count(arrays: Any) -> int:
    """The length of the leading axis that all leaves share."""
    leaves = jax.tree.leaves(arrays)
    if not leaves or not all(
        isinstance(leaf, np.ndarray | jax.Array) and leaf.ndim for leaf in leaves
    ):
        kinds = [type(leaf).__name__ for leaf in leaves]
        raise ValueError(
            "`arrays` should be arrays with a leading axis of samples. "
            f"Found {kinds or 'none'}."
        )
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) > 1:
        raise ValueError(
            f"`arrays` should have leading axes of one length. Found {sorted(lengths)}."
        )
    return lengths.pop()
