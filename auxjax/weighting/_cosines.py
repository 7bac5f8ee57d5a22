"""Cosines of the tasks' gradients with the main one, exact and estimated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Mask, Number
from auxjax.jacobian import Jacobian, masked_leaves
from auxjax.weighting._checks import weight_dtype


def cosine(jac: Jacobian, where: Mask | None = None) -> jax.Array:
    """cos(∇L_main, ∇Lᵢ) `[T]` on the leaves in `where`; 0 where a gradient is zero."""
    dots = jac.gramian_row(0, where)
    norms = jac.norms(where)
    return jnp.clip(_safe_divide(dots, norms * norms[0]), -1, 1)


def cosine_of_squares(dots: jax.Array, squares: jax.Array) -> jax.Array:
    """The same from inner products and estimates of ‖∇Lᵢ‖², all `[T]`.

    The main task's own square is known, `dots[0]`. An estimate may be too small for any
    cosine: the result is clipped to [-1, 1].
    """
    norms = jnp.sqrt(squares).at[0].set(jnp.sqrt(dots[0]))
    return jnp.clip(_safe_divide(dots, norms * norms[0]), -1, 1)


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
    """X / y; 0 where y is 0, and NaN where it is not finite."""
    ratio = jnp.where(y == 0, 0, x / jnp.where(y == 0, 1, y))
    return jnp.where(jnp.isfinite(y), ratio, jnp.nan)


def follow(
    state: Any, ema: Number, cosines: jax.Array, squares: Any, among: jax.Array
) -> dict[str, Any]:
    """What is averaged, for the tasks `among` one step on, and the cosines."""
    steps = state.steps + among.astype(jnp.int32)
    decay = jnp.asarray(ema, cosines.dtype)

    def average_of(old, new):
        return jnp.where(among, decay * old + (1 - decay) * new, old)

    debias = 1 - decay ** steps.astype(cosines.dtype)
    debias = jnp.where(steps > 0, debias, jnp.ones_like(debias))
    if squares is not None:
        squares = average_of(state.squares, squares)
        cosines = cosine_of_squares(cosines, squares / debias)
    average = average_of(state.average, cosines)
    return {
        "average": average,
        "cosines": average / debias,
        "squares": squares,
        "steps": steps,
    }
