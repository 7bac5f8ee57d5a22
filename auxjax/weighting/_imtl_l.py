"""IMTL-L: a learned scale per task that brings every loss to one."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Number
from auxjax.weighting._alias import summed
from auxjax.weighting._build import move, row_transform, start_moments
from auxjax.weighting._checks import (
    check_finite,
    check_num_tasks,
    need_losses,
    weight_dtype,
)
from auxjax.weighting._tasks import is_positive


class IMTLLState(NamedTuple):
    """State of `scale_by_imtl_l`."""

    weights: jax.Array  # [T] float, exp(s), those of the next step
    log_scale: jax.Array  # [T] float, s
    optimizer_state: Any  # of the optimizer of s, one copy per task
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_imtl_l(
    num_tasks: int = 2,
    *,
    optimizer: optax.GradientTransformation | None = None,
    init_log_scale: Number = 0.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by exp(sᵢ), with s learned beside the network.

    Minimised over θ and s at once, the total loss is

        Σᵢ exp(sᵢ) Lᵢ − sᵢ,     ∂/∂sᵢ = exp(sᵢ) Lᵢ − 1

    so that at rest exp(sᵢ) Lᵢ = 1 for every task: the scaled losses are alike, whatever
    units they came in. It is `scale_by_uncertainty`, without its ½, derived without a
    distribution. The paper's IMTL is this with `imtl_g` behind it.

    **A loss at or below zero** (or NaN, or infinite) has no such balance, s would grow
    without end: sᵢ and its moments stay as they were for that step, and the row is
    scaled by exp(sᵢ) as ever.

    Args:
      num_tasks: T, main task included.
      optimizer: how s follows its gradient; None: `optax.adam(1e-3)`. (The paper learns
        s with the network's own optimizer.)
      init_log_scale: s at the start.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are `[T]`, those of
      the next step: this one is made with those of before. Price: none of its own.
      Stacked gradients need `losses=` `[T]` as an extra argument of the update.

    Raises:
      ValueError: for num_tasks < 2 or an `init_log_scale` that is not finite; from the
        update, where the losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = auxjax.scale_by_imtl_l(2, optimizer=optax.sgd(0.5))
      >>> grads = jnp.array([[2.0], [2.0]])
      >>> updates, state = tx.update(
      ...     grads, tx.init(jnp.zeros(1)), losses=jnp.array([3.0, 1.0]))
      >>> updates.tolist(), state.log_scale.tolist()  # s: -0.5 (3 - 1), -0.5 (1 - 1)
      ([[2.0], [2.0]], [-1.0, 0.0])

    References:
      Liu et al., *Towards Impartial Multi-task Learning*, ICLR 2021: IMTL-L, the loss
      balance of section 3.2.
    """
    check_num_tasks(num_tasks)
    check_finite(init_log_scale=init_log_scale)
    learn = optax.adam(1e-3) if optimizer is None else optimizer

    def init_fn(params):
        start = jnp.full(num_tasks, init_log_scale, weight_dtype(params))
        return IMTLLState(jnp.exp(start), start, start_moments(learn, start))

    def rule(jac, state, *, present):
        values = need_losses(jac, "scale_by_imtl_l").astype(state.weights.dtype)
        among = jnp.logical_and(present, is_positive(values))
        slope = state.weights * jnp.where(among, values, jnp.ones_like(values)) - 1
        s, optimizer_state, broken = move(
            learn, slope, state.optimizer_state, state.log_scale, among
        )
        new_state = IMTLLState(jnp.exp(s), s, optimizer_state, nonfinite=broken)
        return state.weights, new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_imtl_l)
def imtl_l():
    """IMTL-L: `chain(scale_by_imtl_l(...), sum_tasks())`."""
