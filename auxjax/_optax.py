"""Optax where JAX is told to be strict about dtypes."""

from __future__ import annotations

from typing import Any

import jax
import optax


def with_mixed_dtypes(
    tx: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """The transformation, which may mix dtypes also under strict promotion.

    Adam raises a float to an integer count, and schedules divide by one; with
    `jax_numpy_dtype_promotion="strict"` both are errors in a program that asked for
    none of it.

    Args:
      tx: any Optax transformation.

    Returns:
      The same, with the same state and the same numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> params = jnp.ones(2)
      >>> with jax.numpy_dtype_promotion("strict"):
      ...     tx = with_mixed_dtypes(optax.adam(0.5))
      ...     tx.update(params, tx.init(params), params)[0].round(3).tolist()
      [-0.5, -0.5]
    """
    tx = optax.with_extra_args_support(tx)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any):
        with jax.numpy_dtype_promotion("standard"):
            return tx.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(tx.init, update)
