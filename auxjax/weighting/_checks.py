"""The checks that every weighting makes of its static arguments."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def check_num_tasks(num_tasks: int) -> None:
    """A main task and at least one auxiliary task."""
    if num_tasks < 2:
        raise ValueError(
            "`num_tasks` should be at least 2, the main task and one auxiliary task. "
            f"Found {num_tasks}."
        )


def check_at_least(name: str, value: int, least: int) -> None:
    """An integer argument's lower bound."""
    if value < least:
        raise ValueError(f"`{name}` should be at least {least}. Found {value}.")


def need_losses(jac: Any, rule: str) -> jax.Array:
    """The losses `[T]`, or an error that says how to pass them."""
    if jac.losses is None:
        raise ValueError(
            f"`{rule}` needs the losses. Found stacked gradients alone: pass "
            "`losses=` `[T]` to `update`, or a TaskJacobian, which has them."
        )
    return jac.losses


def weight_dtype(params: Any) -> Any:
    """Float64 for float64 parameters, else float32: the dtype of weights."""
    dtypes = {jnp.asarray(x).dtype for x in jax.tree.leaves(params)}
    return jnp.float64 if jnp.dtype("float64") in dtypes else jnp.float32
