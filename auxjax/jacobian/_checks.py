"""The checks that both kinds of Jacobian make of what they are asked."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from auxjax._types import ArrayLike


def check_index(index: int, num_tasks: int) -> None:
    """A ValueError where there is no such task."""
    if not 0 <= index < num_tasks:
        raise ValueError(f"`index` should be in 0..{num_tasks - 1}. Found {index}.")


def check_weights(weights: ArrayLike, num_tasks: int, dtype: Any) -> jax.Array:
    """`weights` as a `dtype` array, or a ValueError: it has not one per task."""
    weights = jnp.asarray(weights)
    if weights.shape != (num_tasks,):
        raise ValueError(
            f"`weights` should have shape ({num_tasks},), one per task. "
            f"Found {weights.shape}."
        )
    return weights.astype(dtype)


def check_sketch(sketch: int, key: Any) -> None:
    """A ValueError where norms cannot be estimated by so many random directions."""
    if sketch < 1:
        raise ValueError(f"`sketch` should be at least 1. Found {sketch}.")
    if key is None:
        raise ValueError("`key` should be given with `sketch`. Found None.")


def check_task_mask(task_mask: ArrayLike | None, num_tasks: int) -> jax.Array | None:
    """A task mask as bools `[T]`, or a ValueError; None stays None."""
    if task_mask is None:
        return None
    mask = jnp.asarray(task_mask)
    if mask.shape != (num_tasks,) or mask.dtype != jnp.bool_:
        raise ValueError(
            f"`task_mask` should be bools of shape ({num_tasks},), one per task. "
            f"Found {mask.dtype} of shape {mask.shape}."
        )
    return mask


def is_traced(value: Any) -> bool:
    """Whether a value, or one within it, is known only while a program runs.

    Such numbers (under `jit`, `vmap` or `optax.inject_hyperparams`) are in no range
    that could be checked, and no Python `if` may ask for them.
    """
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(value))
