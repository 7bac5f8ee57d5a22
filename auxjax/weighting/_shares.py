"""Weights that share a sum: multiplicative steps, of some of the tasks at a time."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def exponentiated(logits: jax.Array, steps: jax.Array, moves: jax.Array) -> jax.Array:
    """Log w + step of the tasks that move, who keep what they weigh together.

    Args:
      logits: log w `[T]`. A weight may be smaller than any number and comes back.
      steps: `[T]`.
      moves: `[T]` (bool).
    """
    nobody = jnp.full_like(logits, -jnp.inf)
    moved = logits + steps.astype(logits.dtype)
    before = jax.nn.logsumexp(jnp.where(moves, logits, nobody))
    after = jax.nn.logsumexp(jnp.where(moves, moved, nobody))
    return jnp.where(moves, moved + (before - after), logits)


def keep_together(new: jax.Array, old: jax.Array, moves: jax.Array) -> jax.Array:
    """The new shares of those that move, scaled to what the old ones sum to; else old.

    Args:
      new: shares `[T]`, none below 0.
      old: likewise.
      moves: `[T]` (bool).
    """
    zeros = jnp.zeros_like(new)
    before = jnp.sum(jnp.where(moves, old, zeros))
    after = jnp.sum(jnp.where(moves, new, zeros))
    usable = jnp.logical_and(moves, after > 0)
    return jnp.where(usable, new * (before / jnp.where(after > 0, after, 1)), old)
