"""A window of past gradients, for the rule variants that smooth them."""

from __future__ import annotations

from collections.abc import Sequence
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
    history: History,
    jac: Jacobian,
    where: Mask | None,
    pushed: jax.Array,
    among: jax.Array,
) -> tuple[History, jax.Array, jax.Array]:
    """Overwrites the oldest row of each task that is there and finite.

    Args:
      history: the window.
      jac: whose rows are pushed.
      where: the leaves that count.
      pushed: `[T]`, how many rows each task has pushed so far.
      among: `[T]` (bool), the tasks that are there.

    Returns:
      The window, the new counts, and `[T]` bools: whose rows are finite.
    """
    rows = jac.rows()
    first = jax.tree.map(lambda x: x[0], rows)
    leaves = masked_leaves(rows, first, where)
    tasks = jnp.arange(pushed.shape[0])
    finite = jnp.ones(pushed.shape, bool)
    for leaf in leaves:
        flat = leaf.reshape(pushed.shape[0], -1)
        finite = jnp.logical_and(finite, jnp.all(jnp.isfinite(flat), axis=1))
    among = jnp.logical_and(among, finite)

    def push(old, new):
        window = old.shape[0]
        slot = jnp.where(among, pushed % window, window)  # beyond the window: dropped
        return old.at[slot, tasks].set(new, mode="drop")

    pushed_now = pushed + among.astype(pushed.dtype)
    pairs = zip(history, leaves, strict=True)
    return [push(old, new) for old, new in pairs], pushed_now, finite


def mean_of_history(
    history: History, pushed: jax.Array, kept: Sequence[bool] | None, dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """Inner products `[T]` of the mean gradients with the main task's mean gradient.

    Args:
      history: the window.
      pushed: `[T]`, how many rows each task has ever pushed.
      kept: which of the window's leaves count; None: all.
      dtype: of the result.

    Returns:
      The inner products, and the squares of the mean gradients' norms, `[T]`.
    """
    total = squares = jnp.zeros(pushed.shape, dtype)
    for leaf, rows in enumerate(history):
        if kept is not None and not kept[leaf]:
            continue
        filled = jnp.clip(pushed, 1, rows.shape[0]).astype(dtype)
        column = filled.reshape((-1,) + (1,) * (rows.ndim - 2))
        mean = jnp.sum(rows.astype(dtype), axis=0) / column
        axes = tuple(range(1, mean.ndim))
        total += jnp.sum(mean * mean[:1], axis=axes)
        squares += jnp.sum(mean * mean, axis=axes)
    return total, squares
