"""What rules that compare the tasks with each other share: who takes part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from auxjax.jacobian import check_task_mask, evaluate
from auxjax.weighting._build import row_transform


def present_rows(
    num_tasks: int, init_fn: Callable, update_fn: Callable
) -> optax.GradientTransformationExtraArgs:
    """As `row_transform`, but `update_fn` is told who is there.

    Args:
      num_tasks: T.
      init_fn: `init(params) -> state`.
      update_fn: takes `present=` `[T]` (bool) among its extra arguments: `task_mask`,
        or all tasks where none is given. What it computes for the others is dropped.
    """
    rows = row_transform(init_fn, update_fn)

    def update(updates, state, params=None, *, task_mask=None, **extra_args):
        mask = check_task_mask(task_mask, num_tasks)
        extra_args["present"] = jnp.ones(num_tasks, bool) if mask is None else mask
        return rows.update(updates, state, params, task_mask=task_mask, **extra_args)

    return optax.GradientTransformationExtraArgs(init_fn, update)


def is_positive(values: jax.Array) -> jax.Array:
    """Which losses have a logarithm: neither ≤ 0, nor NaN, nor infinite."""
    return jnp.logical_and(values > 0, jnp.isfinite(values))


def log_of(values: jax.Array, among: jax.Array) -> jax.Array:
    """Log of the losses `among`; 0 for the others."""
    return jnp.log(jnp.where(among, values, jnp.ones_like(values)))


def softmax(logits: jax.Array, among: jax.Array) -> jax.Array:
    """Softmax over the tasks `among`; 0 for the others."""
    shares = jax.nn.softmax(jnp.where(among, logits, -jnp.inf))
    return jnp.where(among, shares, jnp.zeros_like(shares))


def mean(values: jax.Array, among: jax.Array) -> jax.Array:
    """Mean over the tasks `among`; 0 where there is none."""
    total = jnp.sum(jnp.where(among, values, jnp.zeros_like(values)))
    return total / jnp.maximum(jnp.sum(among.astype(values.dtype)), 1)


def where_tasks(among: jax.Array, new: Any, old: Any) -> Any:
    """`new` for the tasks `among`, else `old`; leaves of no task: `new` if any is."""
    some = jnp.any(among)

    def choose(a, b):
        if jnp.shape(a)[:1] != among.shape:
            return jnp.where(some, a, b)
        return jnp.where(among.reshape((-1,) + (1,) * (jnp.ndim(a) - 1)), a, b)

    return jax.tree.map(choose, new, old)


def loss_array(
    name: str, losses: Any, params: Any, num_tasks: int, dtype: Any
) -> jax.Array:
    """An extra argument that is losses `[T]`, or a function of the parameters."""
    if callable(losses):
        if params is None:
            raise ValueError(
                f"`{name}` is a function and needs the parameters. Found None: write "
                f"`tx.update(jac, state, params, {name}=...)`."
            )
        _, losses = evaluate(losses, params)
        if isinstance(losses, tuple):
            losses = jnp.stack([x.astype(dtype) for x in losses])
    losses = jnp.asarray(losses).astype(dtype)
    if losses.shape != (num_tasks,):
        raise ValueError(
            f"`{name}` should have shape ({num_tasks},), one a task. "
            f"Found {losses.shape}."
        )
    return losses
