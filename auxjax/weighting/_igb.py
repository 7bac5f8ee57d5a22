"""Improvable gap balancing: who has further to go weighs more."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax.jacobian import is_traced
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    Vector,
    check_at_least,
    check_num_tasks,
    need_losses,
    vector,
    weight_dtype,
)
from auxjax.weighting._tasks import is_positive, softmax


class IGBState(NamedTuple):
    """State of `scale_by_igb`."""

    weights: jax.Array  # [T] float, those of the last update
    steps: jax.Array  # [T] int32, losses seen, up to the end of the base period
    base: jax.Array  # [T] float, their mean over the base period; 0: none yet
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_igb(
    num_tasks: int = 2,
    *,
    period: int = 1,
    base_period: int = 1,
    base_losses: Vector = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales the rows of log L by how much of its way each loss still has to go.

        w = T · softmax(L / B),   the step is Σᵢ wᵢ ∇log Lᵢ

    B is a task's mean loss over an early epoch, the second one; since it shall end at
    0, L/B is the part of the way that is left, its *improvable gap*. The weights w sum
    to T, and are 1 until the base is known. The logarithm makes the losses' sizes alike
    before w looks at their progress.

    This is the paper's IGBv1. **IGBv2 is not here**: it takes the weights from an agent
    that soft actor-critic trains along the way.

    **A loss at or below zero** (or NaN, or infinite) has no logarithm: it is left out
    of softmax and base, and its row is passed on unscaled for that step.

    Args:
      num_tasks: T, main task included.
      period: steps in an epoch.
      base_period: over which epoch the base is averaged, the first being 0.
      base_losses: B `[T]`, above 0, where it is known beforehand; None: measured.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with, w/L. Price: none of its own. Stacked gradients need
      `losses=` `[T]` as an extra argument of the update. An absent task's epochs wait
      for it, and the w of those present sum to their number.

    Raises:
      ValueError: for num_tasks < 2, period < 1, base_period < 0, base losses of another
        length or not above 0; from the update, where the losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_igb(2, base_losses=[4.0, 1.0])
      >>> grads, losses = jnp.ones((2, 1)), jnp.array([2.0, 1.0])  # one is halfway
      >>> updates, _ = tx.update(grads, tx.init(jnp.zeros(1)), losses=losses)
      >>> [round(float(x), 3) for x in updates[:, 0] * losses]  # 2 · softmax([½, 1])
      [0.755, 1.245]

    References:
      Dai, Fei, Lu, *Improvable Gap Balancing for Multi-Task Learning*, UAI 2023, arXiv
      2307.15429, IGBv1. Formula and defaults here are those of the authors' code.

    Paper and code:
      | | authors' code | here |
      |---|---|---|
      | B | the second epoch's mean | the same: `base_period=1` |
      | a loss of 0 | log 0 | passed on unscaled |
    """
    check_num_tasks(num_tasks)
    check_at_least("period", period, 1)
    check_at_least("base_period", base_period, 0)
    known = vector("base_losses", base_losses, 0.0, num_tasks)
    if base_losses is not None and not is_traced(base_losses) and not (known > 0).all():
        raise ValueError(f"`base_losses` should be above 0. Found {base_losses}.")
    begin = period * base_period
    end = begin + period

    def init_fn(params):
        dtype = weight_dtype(params)
        measured = 0 if base_losses is None else end
        return IGBState(
            weights=jnp.ones(num_tasks, dtype),
            steps=jnp.full(num_tasks, measured, jnp.int32),
            base=jnp.asarray(known, dtype),
        )

    def rule(jac, state, *, present):
        values = need_losses(jac, "scale_by_igb").astype(state.weights.dtype)
        ones = jnp.ones_like(values)
        usable = is_positive(values)
        among = jnp.logical_and(present, usable)
        is_known = jnp.logical_and(among, state.steps >= end)
        gaps = values / jnp.where(is_known, state.base, ones)
        count = jnp.sum(is_known.astype(values.dtype))
        w = jnp.where(is_known, count * softmax(gaps, is_known), ones)
        weights = jnp.where(usable, w / jnp.where(usable, values, ones), ones)

        counts = jnp.logical_and(usable, state.steps < end)
        steps = state.steps + counts.astype(jnp.int32)
        nth = steps - begin  # which of the base period's
        mean = (values - state.base) / jnp.maximum(nth, 1).astype(values.dtype)
        measures = jnp.logical_and(counts, nth > 0)
        base = state.base + jnp.where(measures, mean, jnp.zeros_like(mean))
        return weights, IGBState(weights, steps, base)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_igb)
def igb():
    """Improvable gap balancing, IGBv1: `chain(scale_by_igb(...), sum_tasks())`."""
