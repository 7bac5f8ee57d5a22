"""Products of a linear map whose rows are scaled: with rows, with a direction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from auxjax.jacobian import _apart, _linear, _passes, _rows, _scales
from auxjax.jacobian._dense import dot_rows, gram, inner, times
from auxjax.jacobian._losses import wide

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
    check_chunk(chunk_size)
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
    check_chunk(chunk_size)
    if _passes.is_array(linear, num_tasks):
        leaves, values = _apart_values(linear, wanted)
        found = _apart.rows(values, num_tasks, chunk_size)
        return {
            leaf: _scaled(rows, scales, leaf, num_tasks, linear.program.tangents[leaf])
            for leaf, rows in zip(leaves, found, strict=True)
        }
    pulled = pull(all_rows(linear, num_tasks), scales, wanted, keep, chunk_size)
    return {
        leaf: _rows.stack_leaf(pulled, leaf, num_tasks, like)
        for leaf, like in enumerate(linear.program.tangents)
        if wanted[leaf]
    }


def gramians(
    linear: _linear.LinearMap,
    scales: Scales,
    wanted: Sequence[bool],
    num_tasks: int,
    chunk_size: int | None = None,
) -> dict[int, jax.Array]:
    """`{leaf: [T, T]}`, J Jᵀ of each wanted leaf, in float32 or better."""
    if not _passes.is_array(linear, num_tasks):
        found = stacked(linear, scales, wanted, num_tasks, chunk_size)
        return {leaf: gram([x], num_tasks, wide(x.dtype)) for leaf, x in found.items()}
    check_chunk(chunk_size)
    leaves, values = _apart_values(linear, wanted)
    made = _apart.gramians(values, num_tasks, chunk_size)
    products = {}
    for leaf, own in zip(leaves, made, strict=True):
        if own is None:
            dtype = wide(linear.program.tangents[leaf].dtype)
            own = jnp.zeros((num_tasks, num_tasks), dtype)
        scale = _scales.leaf_weights(scales, leaf)
        if scale is not None:
            factor = scale.astype(own.dtype)
            own = factor[:, None] * own * factor[None]
        products[leaf] = own
    return products


def norms(
    linear: _linear.LinearMap,
    scales: Scales,
    wanted: Sequence[bool],
    losses: jax.Array,
    chunk_size: int | None = None,
) -> jax.Array:
    """‖∇Lᵢ‖ `[T]` on the wanted leaves, in the losses' dtype."""
    num_tasks, dtype = losses.shape[0], losses.dtype

    def square(grads):
        total = jnp.zeros((), dtype)
        for grad in grads:
            total += inner(grad, grad, dtype)
        return total

    if not _passes.is_array(linear, num_tasks):
        rows = all_rows(linear, num_tasks)
        pulled = pull(rows, scales, wanted, square, chunk_size)
        return jnp.sqrt(jnp.stack(_rows.row_by_row(pulled)))
    check_chunk(chunk_size)
    leaves, values = _apart_values(linear, wanted)
    total = jnp.zeros(num_tasks, dtype)
    made = _apart.squares(values, num_tasks, chunk_size)
    for leaf, own in zip(leaves, made, strict=True):
        scale = _scales.leaf_weights(scales, leaf)
        if own is not None:
            own = own.astype(dtype)
            total += own if scale is None else own * scale.astype(dtype) ** 2
    return jnp.sqrt(total)


def depends(linear: _linear.LinearMap, num_tasks: int) -> list[list[bool]]:
    """For each loss, one bool a leaf; losses that are one array depend alike."""

    def of(index):
        leaves = _rows.make_row(linear, index).leaves
        return [leaf in leaves for leaf in range(len(linear.program.tangents))]

    if _passes.is_array(linear, num_tasks):
        return [of(0)] * num_tasks
    return [of(index) for index in range(num_tasks)]


def written(linear: _linear.LinearMap, num_tasks: int) -> tuple[list[Any], list[Any]]:
    """For each loss the leaves it depends on, and its gradients there."""
    if _passes.is_array(linear, num_tasks):
        needs = [i for i, used in enumerate(depends(linear, num_tasks)[0]) if used]
        every = [True] * len(linear.program.tangents)
        rows = stacked(linear, (), every, num_tasks)
        return [needs] * num_tasks, [
            [rows[leaf][index] for leaf in needs] for index in range(num_tasks)
        ]
    rows = all_rows(linear, num_tasks)
    pulled = pull(rows, (), [True] * len(linear.program.tangents), keep)
    return [row.leaves for row in rows], _rows.row_by_row(pulled)


def check_chunk(chunk_size: int | None) -> None:
    """A ValueError for chunks of no rows."""
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"`chunk_size` should be at least 1. Found {chunk_size}.")


def _apart_values(linear: _linear.LinearMap, wanted: Sequence[bool]) -> Any:
    """The wanted leaves, and their gradients kept apart."""
    found = enumerate(_apart.gradients(linear))
    pairs = [(leaf, value) for leaf, value in found if wanted[leaf]]
    return [leaf for leaf, _ in pairs], [value for _, value in pairs]


def _scaled(rows: Any, scales: Scales, leaf: int, num_tasks: int, like: Any) -> Any:
    """The rows `[T, *param]` times their scales; zeros for None."""
    if rows is None:
        return jnp.zeros((num_tasks, *like.shape), like.dtype)
    scale = _scales.leaf_weights(scales, leaf)
    if scale is None:
        return rows
    return times(rows, scale.reshape((-1,) + (1,) * (rows.ndim - 1)))


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
