"""Norms of rows that are never written down, from random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def root_mean_square(
    jvp: Callable[[list[Any]], jax.Array],
    shapes: Sequence[jax.ShapeDtypeStruct],
    num_draws: int,
    key: Any,
) -> jax.Array:
    """√(mean of (J v)²) over v ~ N(0, I), `[T]`: an estimate of the rows' norms.

    Args:
      jvp: v, leaf by leaf, to J v `[T]`.
      shapes: of the leaves.
      num_draws: over how many directions the mean is taken.
      key: of the draws.
    """

    def square(key):
        keys = jax.random.split(key, len(shapes))
        pairs = zip(keys, shapes, strict=True)
        return jvp([_normal(k, like.shape, like.dtype) for k, like in pairs]) ** 2

    if num_draws == 1:
        return jnp.sqrt(square(key))
    squares = jax.lax.map(square, jax.random.split(key, num_draws))
    return jnp.sqrt(jnp.mean(squares, axis=0))


def _normal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """N(0, 1), of a complex number's real and imaginary part each."""
    draw = jax.random.normal(key, shape, dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return draw * jnp.sqrt(jnp.asarray(2, dtype))
    return draw
