"""Dynamic weight average: a loss that falls slowly weighs more."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Number
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    check_at_least,
    check_num_tasks,
    check_positive,
    need_losses,
    weight_dtype,
)
from auxjax.weighting._tasks import softmax


class DWAState(NamedTuple):
    """State of `scale_by_dwa`."""

    weights: jax.Array  # [T] float, those of the last update
    steps: jax.Array  # [T] int32, losses counted in the period that runs
    total: jax.Array  # [T] float, their sum
    history: jax.Array  # [T, 2] float, means of the last two periods; 0: none yet
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_dwa(
    num_tasks: int = 2, *, period: int = 1, temperature: Number = 2.0
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by how slowly its loss fell lately, relative to the others'.

        rᵢ = Lᵢ(t − 1) / Lᵢ(t − 2),   w = T · softmax(r / τ)                  (Eq. 7)

    where Lᵢ(t) is the mean loss of period t, an epoch in the paper. The weights sum to
    T; they are 1 until two periods are over, and change when a period ends.

    **A period whose mean loss is at or below zero** has no such ratio: it counts as
    r = 1, a loss that stands still. A loss that is NaN or infinite is left out of its
    period's mean.

    Args:
      num_tasks: T, main task included.
      period: how many steps make one value Lᵢ(t): set it to the number of steps in an
        epoch. With 1 the ratios are those of single batches, as noisy as these are.
      temperature: τ; a large one makes the weights more equal.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with. Price: none of its own. Stacked gradients need
      `losses=` `[T]` as an extra argument of the update. An absent task's period
      waits for it, and the weights of those present sum to their number.

    Raises:
      ValueError: for num_tasks < 2, period < 1 or a temperature not above 0; from the
        update, where the losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_dwa(2)
      >>> grads, state = jnp.ones((2, 1)), tx.init(jnp.zeros(1))
      >>> for losses in ([4.0, 4.0], [1.0, 4.0], [1.0, 4.0]):  # only the first falls
      ...     _, state = tx.update(grads, state, losses=jnp.array(losses))
      >>> [round(float(w), 3) for w in state.weights]  # 2 · softmax([¼, 1] / 2)
      [0.815, 1.185]

    References:
      Liu, Johns, Davison, *End-to-End Multi-Task Learning with Attention*, CVPR 2019,
      arXiv 1803.10704, Eq. 7 (τ = 2).
    """
    check_num_tasks(num_tasks)
    check_at_least("period", period, 1)
    check_positive(temperature=temperature)

    def init_fn(params):
        dtype = weight_dtype(params)
        return DWAState(
            weights=jnp.ones(num_tasks, dtype),
            steps=jnp.zeros(num_tasks, jnp.int32),
            total=jnp.zeros(num_tasks, dtype),
            history=jnp.zeros((num_tasks, 2), dtype),
        )

    def rule(jac, state, *, present, counted):
        values = need_losses(jac, "scale_by_dwa").astype(state.weights.dtype)
        scaled = _ratios(state.history) / jnp.asarray(temperature, values.dtype)
        shares = softmax(scaled, present)
        weights = jnp.sum(present.astype(shares.dtype)) * shares  # Eq. 7

        steps = state.steps + counted.astype(jnp.int32)
        total = state.total + jnp.where(counted, values, jnp.zeros_like(values))
        is_over = steps >= period
        last = total / jnp.maximum(steps, 1).astype(total.dtype)
        moved = jnp.stack([last, state.history[:, 0]], axis=1)
        new_state = DWAState(
            weights=weights,
            steps=jnp.where(is_over, jnp.zeros_like(steps), steps),
            total=jnp.where(is_over, jnp.zeros_like(total), total),
            history=jnp.where(is_over[:, None], moved, state.history),
        )
        return weights, new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_dwa)
def dwa():
    """Dynamic weight average: `chain(scale_by_dwa(...), sum_tasks())`."""


def _ratios(history: jax.Array) -> jax.Array:
    """The last period's mean over the one's before; 1 where that says nothing."""
    last, before = history[:, 0], history[:, 1]
    both = jnp.logical_and(last > 0, before > 0)
    ratio = last / jnp.where(both, before, jnp.ones_like(before))
    says = jnp.logical_and(both, jnp.isfinite(ratio))
    return jnp.where(says, ratio, jnp.ones_like(ratio))
