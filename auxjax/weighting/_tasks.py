"""What rules that compare the tasks with each other share: who takes part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from auxjax.jacobian import evaluate


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


def dealt_out(
    logits: jax.Array, weights: jax.Array, among: jax.Array, whole: jax.Array
) -> jax.Array:
    """`whole`, shared by the tasks `among` as the softmax of their logits says.

    The others keep their weights `[T]`, and what is shared is what they leave of it.
    """
    kept = jnp.sum(jnp.where(among, jnp.zeros_like(weights), weights))
    left = jnp.maximum(whole - kept, jnp.zeros_like(whole))
    return jnp.where(among, left * softmax(logits, among), weights)


def mean(values: jax.Array, among: jax.Array) -> jax.Array:
    """Mean over the tasks `among`; 0 where there is none."""
    total = jnp.sum(jnp.where(among, values, jnp.zeros_like(values)))
    return total / jnp.maximum(jnp.sum(among.astype(values.dtype)), 1)


def relative_to_main(
    counted: jax.Array, statistic: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Whose statistic counts that compares a task with the main one; who spoilt it.

    Args:
      counted: `[T]` (bool), the tasks that are there.
      statistic: `[T]`, the main task's with itself first.

    Returns:
      `[T]` bools: the tasks that are there with the main one and have a finite number;
      and those at fault where it is not finite, the main task alone if it is its own.
    """
    broken = jnp.logical_and(counted, ~jnp.isfinite(statistic))
    main_is_there = jnp.logical_and(counted[0], ~broken[0])
    among = jnp.logical_and(counted, jnp.logical_and(main_is_there, ~broken))
    is_main = jnp.arange(statistic.shape[0]) == 0
    return among, jnp.logical_and(broken, jnp.where(main_is_there, ~is_main, is_main))


def loss_array(
    name: str, losses: Any, params: Any, tasks: Sequence[str], dtype: Any
) -> jax.Array:
    """An extra argument that is losses `[T]`, or a function of the parameters."""
    if callable(losses):
        if params is None:
            raise ValueError(
                f"`{name}` is a function and needs the parameters. Found None: write "
                f"`tx.update(jac, state, params, {name}=...)`."
            )
        _, losses = evaluate(losses, params, names=tasks)
        if isinstance(losses, tuple):
            losses = jnp.stack([x.astype(dtype) for x in losses])
    losses = jnp.asarray(losses, dtype)
    if losses.shape != (len(tasks),):
        raise ValueError(
            f"`{name}` should have shape ({len(tasks)},), one per task. "
            f"Found {losses.shape}."
        )
    return losses
