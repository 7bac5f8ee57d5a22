"""Products of a linear map whose rows are scaled: with rows, with a direction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from auxjax.jacobian import _linear, _passes, _rows, _scales
from auxjax.jacobian._dense import dot_rows

Scales = tuple[_scales.Scale, ...]
Push = Callable[[list[Any]], jax.Array]


def all_rows(linear: _linear.LinearMap, num_tasks: int) -> list[_rows.Row]:
    """Every task's own part of the map."""
    return [_rows.make_row(linear, index) for index in range(num_tasks)]


def pull(
    rows: Sequence[_rows.Row],
    scales: Scales,
    wanted: Sequence[bool],
    reduce: _rows.Reduce,
    chunk_size: int | None = None,
) -> list[_rows.Pulled]:
    """`reduce` of the given rows, scaled, on the leaves that are wanted."""
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"`chunk_size` should be at least 1. Found {chunk_size}.")
    scale_of = functools.partial(_scales.leaf_weights, scales)
    return _rows.pull_rows(rows, wanted, scale_of, reduce, chunk_size)


def keep(grads: list[Any]) -> list[Any]:
    """The `reduce` that throws nothing away."""
    return grads


def stacked(
    linear: _linear.LinearMap,
    scales: Scales,
    wanted: Sequence[bool],
    num_tasks: int,
    chunk_size: int | None = None,
) -> dict[int, jax.Array]:
    """`{leaf: [T, *param]}` for the wanted leaves; zeros where there is no row."""
    pulled = pull(all_rows(linear, num_tasks), scales, wanted, keep, chunk_size)
    return {
        leaf: _rows.stack_leaf(pulled, leaf, num_tasks, like)
        for leaf, like in enumerate(linear.program.tangents)
        if wanted[leaf]
    }


def contract(
    linear: _linear.LinearMap,
    scales: Scales,
    direction: list[jax.Array],
    wanted: Sequence[bool],
    losses: jax.Array,
    push: Push | None = None,
) -> jax.Array:
    """⟨∇Lᵢ, v⟩ `[T]` in the losses' dtype, group of equally scaled leaves by group.

    Args:
      linear: the map.
      scales: of its rows.
      direction: v, one array per leaf.
      wanted: the leaves that count.
      losses: `[T]`, for their dtype.
      push: from tangents, None for zeros, to `[T]`; None: one tangent pass.
    """
    total = jnp.zeros_like(losses)
    tangents, divisor = _passes.unit(direction, linear.program, total.dtype)
    for scale, leaves in _scales.groups(scales, tuple(wanted)):
        part = [t if leaf in leaves else None for leaf, t in enumerate(tangents)]
        pushed = tangent_pass(linear, part, losses) if push is None else push(part)
        pushed = pushed.astype(total.dtype)
        total += pushed if scale is None else scale * pushed
    return total if divisor is None else total * divisor


def tangent_pass(
    linear: _linear.LinearMap, tangents: list[Any], losses: jax.Array
) -> jax.Array:
    """One tangent pass, `[T]`, by whichever way the losses allow."""
    num_tasks, dtype = losses.shape[0], losses.dtype
    try:
        return _passes.push(linear, tangents, num_tasks, dtype)
    except _passes.NoTangentPass:
        rows = stacked(linear, (), [True] * len(tangents), num_tasks)
        full = _linear.filled(linear, tangents)
        return sum(
            (dot_rows(jnp.conj(x), full[leaf], dtype) for leaf, x in rows.items()),
            start=jnp.zeros_like(losses),
        )
