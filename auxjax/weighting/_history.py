"""A window of past gradients, for the rule variants that smooth them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Mask, Params
from auxjax.jacobian import Jacobian, masked_leaves

History = list[jax.Array]
"""One array `[window, T, *param]` a leaf that counts."""


def start_history(
    params: Params, where: Mask | None, num_tasks: int, window: int
) -> History:
    """An empty window; no leaves where nothing is smoothed (`window` 1)."""
    if window == 1:
        return []
    return [
        jnp.zeros((window, num_tasks, *jnp.shape(leaf)), jnp.result_type(leaf))
        for leaf in masked_leaves(params, params, where)
    ]


def push_history(
    history: History, jac: Jacobian, where: Mask | None, count: Any
) -> History:
    """Overwrites the oldest entry with the present rows."""
    rows = jac.rows()
    first = jax.tree.map(lambda x: x[0], rows)
    leaves = masked_leaves(rows, first, where)
    return [
        old.at[count % old.shape[0]].set(new)
        for old, new in zip(history, leaves, strict=True)
    ]


def mean_of_history(
    history: History, count: Any, num_tasks: int, dtype: Any
) -> jax.Array:
    """Inner products `[T]` of the mean gradients with the main task's mean gradient.

    Args:
      history: the window.
      count: how many rows were ever pushed.
      num_tasks: T.
      dtype: of the result.
    """
    total = jnp.zeros(num_tasks, dtype)
    for rows in history:
        filled = jnp.minimum(count, rows.shape[0]).astype(dtype)
        mean = jnp.sum(rows.astype(dtype), axis=0) / filled
        total += jnp.sum(mean * mean[:1], axis=tuple(range(1, mean.ndim)))
    return total
