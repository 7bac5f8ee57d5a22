"""The checks that every weighting makes of its static arguments."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Array, Float
from auxjax.jacobian import is_traced, wide

Vector = Sequence[Any] | Float[Array, " T"] | np.ndarray | None
"""One number per task; None: a default."""


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


def check_among(name: str, value: Any, known: Sequence[str]) -> None:
    """A word out of a few."""
    if value not in known:
        words = [f'"{word}"' for word in known]
        listed = f"{', '.join(words[:-1])} or {words[-1]}"
        raise ValueError(f"`{name}` should be {listed}. Found {value!r}.")


def check_finite(**values: Any) -> None:
    """Numbers that are neither NaN nor infinite; schedules are let through."""
    for name, value in values.items():
        if not callable(value) and not is_traced(value) and not np.isfinite(value):
            raise ValueError(f"`{name}` should be finite. Found {value}.")


def check_positive(**values: Any) -> None:
    """Finite numbers above 0; traced ones are let through, as by all checks here."""
    check_finite(**values)
    for name, value in values.items():
        if not is_traced(value) and not value > 0:
            raise ValueError(f"`{name}` should be above 0. Found {value}.")


def check_not_negative(**values: Any) -> None:
    """Finite numbers at or above 0."""
    check_finite(**values)
    for name, value in values.items():
        if not is_traced(value) and value < 0:
            raise ValueError(f"`{name}` should be at least 0. Found {value}.")


def check_share(**values: Any) -> None:
    """Numbers in [0, 1]."""
    for name, value in values.items():
        if not is_traced(value) and not 0 <= value <= 1:
            raise ValueError(f"`{name}` should be in [0, 1]. Found {value}.")


def check_decay(**values: Any) -> None:
    """Numbers in [0, 1), of a moving average."""
    for name, value in values.items():
        if not is_traced(value) and not 0 <= value < 1:
            raise ValueError(f"`{name}` should be in [0, 1). Found {value}.")


def is_surely_zero(value: Any) -> bool:
    """Whether an option is off: a plain 0. An array may hold another number later."""
    return not isinstance(value, jax.Array) and value == 0


def vector(name: str, given: Any, default: float, num_tasks: int) -> Any:
    """One finite number per task: a NumPy array in float64, or a traced array.

    Let `jnp.asarray(values, dtype)` take it into a program. Without its dtype JAX makes
    it float32 where float64 is not enabled, and may remember that where it is.

    Args:
      name: of the argument, for the errors.
      given: a sequence or an array; None: `default` for every task.
      default: what None stands for.
      num_tasks: T.
    """
    if given is None:
        return np.full(num_tasks, float(default))
    if is_traced(given):
        values = given if isinstance(given, jax.Array) else jnp.stack(list(given))
    else:
        values = np.asarray(given, dtype=np.float64)
    if values.shape != (num_tasks,):
        raise ValueError(
            f"`{name}` should have shape ({num_tasks},), one per task. "
            f"Found {values.shape}."
        )
    if not is_traced(given) and not np.all(np.isfinite(values)):
        raise ValueError(f"`{name}` should be finite. Found {values.tolist()}.")
    return values


def wish_vector(name: str, given: Any, default: float, num_tasks: int) -> Any:
    """How much each task counts: as `vector`, none below 0 and not all of them 0."""
    values = vector(name, given, default, num_tasks)
    if not is_traced(given) and (np.any(values < 0) or not np.any(values > 0)):
        raise ValueError(
            f"`{name}` should be at least 0, and above it for a task. "
            f"Found {values.tolist()}."
        )
    return values


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
        what = "one that is traced: name it in `static_args=`"
        raise ValueError(
            f"`{name}` should be an integer. "
            f"Found {what if is_traced(value) else repr(value)}."
        ) from error


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
    leaves = (x for x in jax.tree.leaves(params) if hasattr(x, "dtype"))
    return wide(*(x.dtype for x in leaves))
