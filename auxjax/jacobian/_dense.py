"""Inner products of gradients, in float32 or better whatever the leaves' dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def inner(x: jax.Array, y: jax.Array, dtype: Any) -> jax.Array:
    """⟨x, y⟩ of two arrays of one shape."""
    return jnp.sum(x.astype(dtype) * y.astype(dtype))


def dot_rows(rows: Any, vector: Any, dtype: Any) -> jax.Array:
    """`[T]` inner products of `rows` `[T, *shape]` with `vector` `[*shape]`."""
    axes = tuple(range(1, rows.ndim))
    return jnp.sum(rows.astype(dtype) * vector.astype(dtype)[None], axis=axes)


def gram(leaves: Sequence[jax.Array], num_tasks: int, dtype: Any) -> jax.Array:
    """J Jᵀ `[T, T]` from leaves `[T, *param]`."""
    total = jnp.zeros((num_tasks, num_tasks), dtype)
    for leaf in leaves:
        flat = leaf.reshape(num_tasks, -1).astype(dtype)
        total += jnp.matmul(flat, flat.T, precision="highest")
    return total
