"""The checks that every weighting makes of its static arguments."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_num_tasks(num_tasks: int) -> None:
    """A main task and at least one auxiliary task."""
    _check_integer("num_tasks", num_tasks)
    if num_tasks < 2:
        raise ValueError(
            "`num_tasks` should be at least 2, the main task and one auxiliary task. "
            f"Found {num_tasks}."
        )


def check_at_least(name: str, value: int, least: int) -> None:
    """An integer argument's lower bound."""
    _check_integer(name, value)
    if value < least:
        raise ValueError(f"`{name}` should be at least {least}. Found {value}.")


def check_finite(**values: Any) -> None:
    """Numbers that are neither NaN nor infinite; schedules are let through."""
    for name, value in values.items():
        if not callable(value) and not np.isfinite(value):
            raise ValueError(f"`{name}` should be finite. Found {value}.")


def check_optimizer(name: str, value: Any) -> None:
    """Something with Optax's `init` and `update`."""
    if not (hasattr(value, "init") and hasattr(value, "update")):
        raise ValueError(
            f"`{name}` should be an Optax transformation, as `optax.adam(1e-4)` is. "
            f"Found {value!r}."
        )


def check_task_indices(name: str, indices: Sequence[int], num_tasks: int) -> None:
    """Indices of tasks, each in range."""
    for index in indices:
        if not 0 <= int(index) < num_tasks:
            raise ValueError(
                f"`{name}` should hold indices in 0..{num_tasks - 1}. Found {index}."
            )


def _check_integer(name: str, value: Any) -> None:
    try:
        operator.index(value)
    except TypeError as error:
        raise ValueError(f"`{name}` should be an integer. Found {value!r}.") from error


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
