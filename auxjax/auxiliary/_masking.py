"""Means over the transitions from which one may learn, and checks of shapes."""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._types import Array, Float, Shaped
from auxjax.auxiliary._pixels import to_float


def masked_mean(
    values: Float[Array, " B"],
    mask: Shaped[Array, " B"],
) -> Float[Array, ""]:
    """Mean of the entries that the mask keeps; 0 if it keeps none.

    mean = Σᵢ mᵢ vᵢ / Σᵢ mᵢ

    Entries with mᵢ = 0 may hold anything, NaN included.

    Args:
      values: One number for each transition.
      mask: bool, or non-negative weights.

    Returns:
      A scalar in float32 (float64 for float64 values).

    Raises:
      ValueError: The mask is not one number per transition.

    Example:
      >>> import jax.numpy as jnp
      >>> masked_mean(jnp.array([1.0, jnp.nan, 5.0]), jnp.array([True, False, True]))
      Array(3., dtype=float32)
    """
    _check_mask(mask, values.shape[0])
    values = to_float(values)
    weights = mask.astype(values.dtype)
    total = jnp.sum(weights)
    kept = jnp.sum(jnp.where(weights > 0, values, 0) * weights)
    # The denominator is made harmless, not the quotient: a `where` around 0 / 0 would
    # still have a NaN gradient.
    return kept / jnp.where(total > 0, total, 1)


def mean_of_rows(values: Float[Array, " B *S"]) -> Float[Array, " B"]:
    """Mean over all axes but the first."""
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))


def kept_rows(mask: Array, *arrays: Array) -> list[Array]:
    """The arrays in one float dtype, their masked rows set to zero.

    Zeroing what goes *into* a loss, rather than what comes out, keeps a NaN in a row
    that does not count out of the gradient: zero times a NaN derivative is NaN.
    """
    for array in arrays:
        _check_mask(mask, array.shape[0])
    floats = [to_float(array) for array in arrays]
    if any(array.dtype == jnp.float64 for array in floats):
        floats = [array.astype(jnp.float64) for array in floats]
    keep = mask.astype(bool)
    return [
        jnp.where(jnp.expand_dims(keep, tuple(range(1, array.ndim))), array, 0)
        for array in floats
    ]


def check_same_shape(name: str, array: Array, other: str, reference: Array) -> None:
    """Refuse to broadcast: a `[B, 1]` against a `[B, D]` is a bug, not a loss."""
    if array.shape != reference.shape:
        raise ValueError(
            f"`{name}` should have the shape of `{other}`, {reference.shape}. "
            f"Found {array.shape}."
        )


def _check_mask(mask: Array, batch: int) -> None:
    if mask.shape != (batch,):
        raise ValueError(f"`mask` should have shape {(batch,)}. Found {mask.shape}.")
