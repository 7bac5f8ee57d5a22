"""Inner products of gradients, in float32 or better whatever the leaves' dtype.

Complex numbers count as pairs of real ones: ⟨x, y⟩ = Re Σ x̄y.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def as_real(x: Any) -> Any:
    """A complex array as a real one with a last axis of two; others as they are."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.stack([x.real, x.imag], axis=-1)
    return x


def as_dtype(x: jax.Array, dtype: Any) -> jax.Array:
    """What `as_real` made, in the dtype that it was made of."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jax.lax.complex(x[..., 0], x[..., 1]).astype(dtype)
    return x.astype(dtype)


def inner(x: jax.Array, y: jax.Array, dtype: Any) -> jax.Array:
    """⟨x, y⟩ of two arrays of one shape."""
    return jnp.sum(as_real(x).astype(dtype) * as_real(y).astype(dtype))


def dot_rows(rows: Any, vector: Any, dtype: Any) -> jax.Array:
    """`[T]` inner products of `rows` `[T, *shape]` with `vector` `[*shape]`."""
    rows, vector = as_real(jnp.asarray(rows)), as_real(jnp.asarray(vector))
    axes = tuple(range(1, rows.ndim))
    return jnp.sum(rows.astype(dtype) * vector.astype(dtype)[None], axis=axes)


def gram(leaves: Sequence[jax.Array], num_tasks: int, dtype: Any) -> jax.Array:
    """J Jᵀ `[T, T]` from leaves `[T, *param]`."""
    total = jnp.zeros((num_tasks, num_tasks), dtype)
    for leaf in leaves:
        flat = as_real(leaf).reshape(num_tasks, -1).astype(dtype)
        total += jnp.matmul(flat, flat.T, precision="highest")
    return total


def times(x: jax.Array, factor: jax.Array) -> jax.Array:
    """`x` times a real factor of a wider dtype, in the dtype of `x`."""
    wide = counterpart(x, factor.dtype)
    return (x.astype(wide) * factor.astype(wide)).astype(x.dtype)


def counterpart(x: jax.Array, dtype: Any) -> Any:
    """A real dtype, or its complex counterpart where `x` is complex."""
    if not jnp.issubdtype(x.dtype, jnp.complexfloating):
        return dtype
    return jnp.complex128 if dtype == jnp.float64 else jnp.complex64
