"""The order in which samples are seen."""

from __future__ import annotations

from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._numbers import integer
from auxjax._types import Array, Int, Key, PyTree


def epoch_indices(
    key: Key[Array, ""], num_samples: SupportsIndex, batch_size: SupportsIndex
) -> Int[Array, "steps batch"]:
    """One reshuffled pass over the samples; a last, smaller batch is dropped.

    Args:
      key: of the permutation.
      num_samples: how many samples there are.
      batch_size: how many of them make a batch.

    Returns:
      The batches' indices, `[num_samples // batch_size, batch_size]`, none twice.

    Raises:
      ValueError: `batch_size` is below 1 or above `num_samples`.

    Example:
      >>> import jax
      >>> from auxjax.supervised import epoch_indices
      >>> indices = epoch_indices(jax.random.key(0), 7, 2)
      >>> indices.shape, len(set(indices.reshape(-1).tolist()))
      ((3, 2), 6)
    """
    num_samples = integer("num_samples", num_samples)
    batch_size = integer("batch_size", batch_size, 1)
    if batch_size > num_samples:
        raise ValueError(
            f"`batch_size` should be at most {num_samples}, the number of samples. "
            f"Found {batch_size}."
        )
    steps = num_samples // batch_size
    order = jax.random.permutation(key, num_samples)
    return order[: steps * batch_size].reshape(steps, batch_size)


def count_samples(data: PyTree[Any]) -> int:
    """The length of the leading axis that all leaves share."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(data)]
    if not shapes:
        raise ValueError("`data` should have at least one array. Found none.")
    if () in shapes:
        raise ValueError(
            "`data` should be arrays with a leading axis of samples. "
            f"Found shapes {shapes}."
        )
    lengths = {shape[0] for shape in shapes}
    if len(lengths) > 1:
        raise ValueError(
            "`data` should have leaves of equal leading axes, one entry per sample. "
            f"Found shapes {shapes}."
        )
    return lengths.pop()


def take(data: PyTree[Any], indices: Int[Array, " batch"]) -> PyTree[Any]:
    """The samples at some indices, which are known to be there."""
    return jax.tree.map(
        lambda x: jnp.asarray(x).at[indices].get(mode="promise_in_bounds"), data
    )
