"""Homoscedastic uncertainty: a learned noise level per task weighs its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Number
from auxjax.weighting._alias import summed
from auxjax.weighting._build import move, row_transform, start_moments
from auxjax.weighting._checks import (
    check_finite,
    check_num_tasks,
    check_task_indices,
    need_losses,
    weight_dtype,
)


class UncertaintyState(NamedTuple):
    """State of `scale_by_uncertainty` and `scale_by_revised_uncertainty`."""

    weights: jax.Array  # [T] float, exp(−s) / 2, or exp(−s) for classification
    log_variance: jax.Array  # [T] float, s = log σ²
    optimizer_state: Any  # of the optimizer of s, one copy per task
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_uncertainty(
    num_tasks: int = 2,
    *,
    optimizer: optax.GradientTransformation | None = None,
    init_log_variance: Number = 0.0,
    classification: Sequence[int] = (),
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by 1/(2σᵢ²), with σ learned beside the network.

    Minimised over θ and s = log σ² at once, the total loss is

        Σᵢ Lᵢ / (2σᵢ²) + log σᵢ  =  Σᵢ ½ exp(−sᵢ) Lᵢ + ½ sᵢ               (Eq. 7)

    so a task with a large loss gets a small weight: at rest, 1/(2Lᵢ). A likelihood
    with a softmax has 1/σᵢ² in place of 1/(2σᵢ²) (Eq. 10).

    Args:
      num_tasks: T, main task included.
      optimizer: how s follows its gradient; None: `optax.adam(1e-3)`. (The paper
        learns s with the network's own optimizer.)
      init_log_variance: s at the start.
      classification: the indices of the tasks whose loss is a cross-entropy.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are `[T]`. Price:
      none of its own. Stacked gradients need `losses=` `[T]` as an extra argument. An
      absent task, or one whose loss is not finite, keeps s and its moments.

    Raises:
      ValueError: for num_tasks < 2 or a `classification` task that is none; from the
        update, where the losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = auxjax.scale_by_uncertainty(2, optimizer=optax.sgd(0.5))
      >>> grads = jnp.array([[2.0], [2.0]])
      >>> updates, state = tx.update(
      ...     grads, tx.init(jnp.zeros(1)), losses=jnp.array([3.0, 1.0]))
      >>> updates.tolist()  # weights of before: exp(0) / 2
      [[1.0], [1.0]]
      >>> state.log_variance.tolist()  # 0.5 (½ · 3 − ½), 0.5 (½ · 1 − ½)
      [0.5, 0.0]

    References:
      Kendall, Gal, Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses for
      Scene Geometry and Semantics*, CVPR 2018, arXiv 1705.07115, Eq. 7 and 10.
    """
    return _uncertainty(
        "scale_by_uncertainty",
        lambda s: jnp.full_like(s, 0.5),
        num_tasks,
        optimizer,
        init_log_variance,
        classification,
    )


def scale_by_revised_uncertainty(
    num_tasks: int = 2,
    *,
    optimizer: optax.GradientTransformation | None = None,
    init_log_variance: Number = 0.0,
    classification: Sequence[int] = (),
) -> optax.GradientTransformationExtraArgs:
    r"""As `scale_by_uncertainty`, with a regulariser that is never negative.

        Σᵢ Lᵢ / (2σᵢ²) + log(1 + σᵢ²)                                      (Eq. 3)

    Kendall's log σ falls without bound for a loss that goes to zero, and drags the
    total loss below zero with it; log(1 + σ²) does not.

    Args:
      num_tasks: T, main task included.
      optimizer: how s = log σ² follows its gradient; None: `optax.adam(1e-3)`.
      init_log_variance: s at the start.
      classification: the indices of the tasks whose loss is a cross-entropy.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are `[T]`. Price:
      none of its own. Stacked gradients need `losses=` `[T]` as an extra argument. An
      absent task, or one whose loss is not finite, keeps s and its moments.

    Raises:
      ValueError: as `scale_by_uncertainty`.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = auxjax.scale_by_revised_uncertainty(2, optimizer=optax.sgd(0.5))
      >>> grads = jnp.array([[2.0], [2.0]])
      >>> _, state = tx.update(
      ...     grads, tx.init(jnp.zeros(1)), losses=jnp.array([3.0, 1.0]))
      >>> state.log_variance.tolist()  # 0.5 (½ · 3 − ½), 0.5 (½ · 1 − ½)
      [0.5, 0.0]

    References:
      Liebel, Körner, *Auxiliary Tasks in Multi-task Learning*, arXiv 1805.06334, Eq. 3.
    """
    return _uncertainty(
        "scale_by_revised_uncertainty",
        jax.nn.sigmoid,
        num_tasks,
        optimizer,
        init_log_variance,
        classification,
    )


@summed(scale_by_uncertainty)
def uncertainty():
    """Uncertainty weighting: `chain(scale_by_uncertainty(...), sum_tasks())`."""


@summed(scale_by_revised_uncertainty)
def revised_uncertainty():
    """Its revised form: `chain(scale_by_revised_uncertainty(...), sum_tasks())`."""


def _uncertainty(
    name, regulariser_slope, num_tasks, optimizer, init_log_variance, classification
) -> optax.GradientTransformationExtraArgs:
    """The rule whose regulariser has the given slope in s."""
    check_num_tasks(num_tasks)
    check_finite(init_log_variance=init_log_variance)
    check_task_indices("classification", classification, num_tasks)
    learn = optax.adam(1e-3) if optimizer is None else optimizer
    factor = np.full(num_tasks, 0.5)
    factor[list(classification)] = 1.0

    def weights_of(log_variance):
        return jnp.asarray(factor, log_variance.dtype) * jnp.exp(-log_variance)

    def init_fn(params):
        start = jnp.full(num_tasks, init_log_variance, weight_dtype(params))
        return UncertaintyState(weights_of(start), start, start_moments(learn, start))

    def rule(jac, state, *, counted):
        values = need_losses(jac, name).astype(state.weights.dtype)
        s = state.log_variance
        slope = regulariser_slope(s) - state.weights * values
        moved, optimizer_state, broken = move(
            learn, slope, state.optimizer_state, s, counted
        )
        new_state = UncertaintyState(
            weights_of(moved), moved, optimizer_state, nonfinite=broken
        )
        return state.weights, new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)
