"""Cosines of the tasks' gradients with the main one, exact and estimated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Mask
from auxjax.jacobian import Jacobian, masked_leaves
from auxjax.weighting._checks import weight_dtype


def cosine(jac: Jacobian, where: Mask | None = None) -> jax.Array:
    """cos(∇L_main, ∇Lᵢ) `[T]` on the leaves in `where`; 0 where a gradient is zero."""
    dots = jac.gramian_row(0, where)
    norms = jac.norms(where)
    return _safe_divide(dots, norms * norms[0])


def sketched_cosine(
    jac: Jacobian,
    where: Mask | None,
    squares: jax.Array,
    ema: float,
    debias: jax.Array,
    sketch: int,
    key: Any,
) -> tuple[jax.Array, jax.Array]:
    """The same with averaged estimates of the auxiliary norms.

    Args:
      jac: the Jacobian.
      where: the leaves that count.
      squares: `[T]`, the moving average of ‖∇Lᵢ‖² so far.
      ema: its decay.
      debias: 1 - emaᵗ.
      sketch: how many tangent passes.
      key: of their directions.

    Returns:
      The cosines `[T]` and the new moving average.
    """
    dots = jac.gramian_row(0, where).astype(squares.dtype)
    found = jac.norms(where, sketch=sketch, key=key).astype(squares.dtype) ** 2
    squares = ema * squares + (1 - ema) * found
    norms = jnp.sqrt(squares / debias).at[0].set(jnp.sqrt(dots[0]))
    return _safe_divide(dots, norms * norms[0]), squares


def layer_cosines(jac: Jacobian, where: Mask | None = None) -> jax.Array:
    """The mean over leaves of each leaf's cosine with the main task's, `[T]`.

    Where `where` picks no leaf it is 0, as a gradient of zero has it.
    """
    rows: Any = jac.rows()
    first = jax.tree.map(lambda x: x[0], rows)
    leaves = masked_leaves(rows, first, where)
    dtype = weight_dtype(leaves)
    total = jnp.zeros(jac.num_tasks, dtype)
    for leaf in leaves:
        flat = leaf.reshape(jac.num_tasks, -1).astype(dtype)
        norms = jnp.sqrt(jnp.sum(flat * flat, axis=1))
        dots = jnp.sum(flat * flat[:1], axis=1)
        total += _safe_divide(dots, norms * norms[0])
    return total / max(len(leaves), 1)


def _safe_divide(x: jax.Array, y: jax.Array) -> jax.Array:
    """X / y, and 0 where y is 0."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1), 0)
