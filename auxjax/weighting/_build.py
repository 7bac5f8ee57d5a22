"""What every weighting does alike: absent tasks, and the weights' own optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from auxjax.jacobian import as_jacobian, check_task_mask

OF_TASKS = ("optimizer_state", "lambda_state")
"""Fields whose leaves `[T]` belong to one task each: the optimizers of weights."""


def row_transform(
    init_fn: Callable, update_fn: Callable
) -> optax.GradientTransformationExtraArgs:
    """A row transform, Jacobian → Jacobian, that takes a task mask.

    With `task_mask=` `[T]` (bool) in the update, the rows of absent tasks are zero and
    what the state holds for them stays as it was: every field of shape `[T, ...]` and
    the `[T]` moments of the optimizer that moves the weights. An absent task's loss
    has to be finite: divide by the number of labels or one, not by zero.

    Args:
      init_fn: `init(params) -> state`, a NamedTuple.
      update_fn: `update(updates, state, params, **extra_args) -> (updates, state)`.
    """

    def masked(updates, state, params=None, *, task_mask=None, **extra_args):
        if task_mask is None:
            return update_fn(updates, state, params, **extra_args)
        losses = extra_args.get("losses")
        jac = as_jacobian(updates, params, losses=losses)
        present = jnp.asarray(check_task_mask(task_mask, jac.num_tasks))
        updates = jac.scale(present).as_updates()
        updates, new_state = update_fn(updates, state, params, **extra_args)
        return updates, _keep_absent(new_state, state, present)

    return optax.GradientTransformationExtraArgs(init_fn, masked)


def move(
    optimizer: optax.GradientTransformation, slope: jax.Array, state: Any, x: jax.Array
) -> tuple[jax.Array, Any]:
    """One step of `optimizer` on a small array: the new array and state."""
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam counts in integers
        step, new_state = optimizer.update(slope, state, x)
    return x + jnp.asarray(step), new_state


def _keep_absent(new: Any, old: Any, present: jax.Array) -> Any:
    """The new state, but the old one's entries of absent tasks."""

    def choose(a, b):
        if jnp.shape(a)[:1] != present.shape:
            return a
        column = present.reshape((-1,) + (1,) * (a.ndim - 1))
        return jnp.where(column, a, b)

    fields = {}
    for name in getattr(new, "_fields", ()):
        value = getattr(new, name)
        if isinstance(value, jax.Array):
            fields[name] = choose(value, getattr(old, name))
        elif name in OF_TASKS:
            fields[name] = jax.tree.map(choose, value, getattr(old, name))
    return new._replace(**fields) if fields else new
