"""What every small problem does to its Gramian first."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Array, Bool, Float, Shaped
from auxjax.jacobian import wide

dot = functools.partial(jnp.matmul, precision="highest")
"""A product in full precision, on accelerators too."""


def prepare(
    gramian: Shaped[Array, "T T"], present: Bool[Array, " T"] | None = None
) -> tuple[Float[Array, "T T"], Float[Array, ""], Float[Array, " T"]]:
    """A Gramian whose longest gradient has length 1 and whose absent tasks are zero.

    Returns:
      G / scale in float32 or better, the scale (maxᵢ Gᵢᵢ; 1 for zeros), and the task
      mask as ones and zeros of the same dtype.
    """
    gramian = gramian.astype(wide(gramian.dtype))
    if present is None:
        present = jnp.ones(gramian.shape[0], bool)
    kept = present[:, None] & present[None, :]
    gramian = jnp.where(kept, gramian, jnp.zeros_like(gramian))
    largest = jnp.max(jnp.diagonal(gramian))
    scale = jnp.where(largest > 0, largest, jnp.ones_like(largest))
    return gramian / scale, scale, present.astype(gramian.dtype)


def quadratic(
    gramian: Float[Array, "T T"], weights: Float[Array, " T"]
) -> Float[Array, ""]:
    """wᵀGw = ‖Jᵀw‖², never below zero."""
    value = dot(weights, dot(gramian, weights))
    return jnp.maximum(value, jnp.zeros_like(value))


def length(
    gramian: Float[Array, "T T"], weights: Float[Array, " T"]
) -> Float[Array, ""]:
    """‖Jᵀw‖, with a derivative of zero (not NaN) where it is zero."""
    square = quadratic(gramian, weights)
    positive = square > 0
    root = jnp.sqrt(jnp.where(positive, square, jnp.ones_like(square)))
    return jnp.where(positive, root, jnp.zeros_like(root))


def smallest_square(dtype: Any) -> float:
    """Squared lengths below this, relative to the longest, count as zero."""
    return float(jnp.finfo(dtype).tiny) ** 0.5


def is_zero_row(gramian: Float[Array, "T T"]) -> Bool[Array, " T"]:
    """Which rows of the Jacobian are zero, up to what squares can hold."""
    diagonal = jax.lax.stop_gradient(jnp.diagonal(gramian))
    return diagonal <= smallest_square(diagonal.dtype)
