"""A moving average of each task's own numbers, debiased by how many it has seen."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from auxjax._types import Number
from auxjax.weighting._build import over_tasks


class Average(NamedTuple):
    """What is remembered, and the mean that it stands for."""

    total: jax.Array  # [T, ...], before debiasing; 0 at first
    steps: jax.Array  # [T] int32, how many numbers it holds
    mean: jax.Array  # [T, ...]; 0 where there is none yet


def average(
    total: jax.Array, steps: jax.Array, new: jax.Array, among: jax.Array, decay: Number
) -> Average:
    """One step of a ← d a + (1 − d) x, of the tasks `among`; and a / (1 − dⁿ).

    Args:
      total: a `[T, ...]`.
      steps: n `[T]`.
      new: x `[T, ...]`.
      among: `[T]` (bool), whose number it is.
      decay: d, in [0, 1).
    """
    decay = jnp.asarray(decay, total.dtype)
    moved = decay * total + (1 - decay) * new
    total = jnp.where(over_tasks(among, total), moved, total)
    steps = steps + among.astype(steps.dtype)
    count = jnp.maximum(steps, 1).astype(total.dtype)
    # As 1 − dⁿ loses its digits for d near 1.
    weight = over_tasks(-jnp.expm1(count * jnp.log(decay)), total)
    return Average(total, steps, total / weight)
