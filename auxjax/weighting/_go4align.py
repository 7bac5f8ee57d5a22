"""GO4Align: tasks that are as far as one another share a weight."""

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
    check_not_negative,
    check_num_tasks,
    need_losses,
    weight_dtype,
)
from auxjax.weighting._groups import group_on_a_line
from auxjax.weighting._tasks import is_positive, mean, softmax


class GO4AlignState(NamedTuple):
    """State of `scale_by_go4align`."""

    weights: jax.Array  # [T] float, those of the last update
    logits: jax.Array  # [T] float, log Q, up to a constant
    groups: jax.Array  # [T] int32, whose weight is whose; 0 has the smallest
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_go4align(
    num_tasks: int = 2, *, num_groups: int = 2, beta: Number = 1e-4
) -> optax.GradientTransformationExtraArgs:
    r"""Scales the rows by weights that are shared by groups of like tasks.

        Pᵢ = L̄ / Lᵢ                                  makes the sizes alike     (Eq. 5)
        Q ← Q exp(−βL) / Σ Q exp(−βL)               remembers the losses      (Eq. 6)
        γ = P ⊙ Q                                                             (Eq. 7)
        min over groupings G and weights ω of ‖γ − Gᵀω‖²:  k-means of the γᵢ  (Eq. 3)
        wᵢ = the ω of task i's group, the mean of its γ

    Tasks whose losses have the same size and history are moved alike, the groups are
    found anew in every step from the losses alone. At first Q is 1/T, and the weights
    are the mean loss over T times each loss, averaged within the groups.

    **A loss at or below zero** (or NaN, or infinite) has no P: it is in no group and
    adds nothing to Q, and its row is passed on unscaled for that step.

    Args:
      num_tasks: T, main task included.
      num_groups: K, at most so many groups; T: each task its own. The paper takes 2 of
        3 tasks and 5 of 11, by the elbow of the results.
      beta: β ≥ 0, how much the losses of the past count; 0: not at all.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with, `groups` `[T]` who was with whom. Price: none of its
      own. Stacked gradients need `losses=` `[T]` as an extra argument of the update.
      With a task mask P, Q and the groups are of those present.

    Raises:
      ValueError: for num_tasks < 2, `num_groups` outside 1..T, β below 0; from the
        update, where the losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_go4align(3, beta=0.0)
      >>> grads, losses = jnp.ones((3, 1)), jnp.array([1.0, 1.25, 3.75])  # mean 2
      >>> updates, state = tx.update(grads, tx.init(jnp.zeros(1)), losses=losses)
      >>> [round(float(x), 3) for x in 3 * updates[:, 0]]  # ½ (2 + 1.6), alone 0.533
      [1.8, 1.8, 0.533]
      >>> state.groups.tolist()
      [1, 1, 0]

    References:
      Shen et al., *GO4Align: Group Optimization for Multi-Task Alignment*, NeurIPS
      2024, arXiv 2404.06486, Algorithm 1.

    Paper and code:
      | | paper | authors' code | here |
      |---|---|---|---|
      | P | the mean loss over Lᵢ | the sum over Lᵢ: T times as large | the mean |
      | k-means | "K-means" | from a random start, to a local minimum | exact |
      | β | searched | 1e-4 | 1e-4 |
    """
    check_num_tasks(num_tasks)
    check_at_least("num_groups", num_groups, 1)
    if num_groups > num_tasks:
        raise ValueError(
            f"`num_groups` should be at most {num_tasks}, the number of tasks. "
            f"Found {num_groups}."
        )
    check_not_negative(beta=beta)

    def init_fn(params):
        zeros = jnp.zeros(num_tasks, weight_dtype(params))
        groups = jnp.zeros(num_tasks, jnp.int32)
        return GO4AlignState(jnp.ones_like(zeros), zeros, groups)

    def rule(jac, state, *, present):
        dtype = state.weights.dtype
        values = need_losses(jac, "scale_by_go4align").astype(dtype)
        ones = jnp.ones_like(values)
        usable = is_positive(values)
        among = jnp.logical_and(present, usable)
        values = jnp.where(among, values, ones)

        fell = state.logits - jnp.asarray(beta, dtype) * values
        shift = _log_sum(state.logits, among) - _log_sum(fell, among)
        logits = jnp.where(among, fell + shift, state.logits)
        smooth = softmax(logits, among)  # Eq. 6
        gamma = mean(values, among) / values * smooth  # Eqs. 5 and 7
        weights, groups = group_on_a_line(gamma, among, num_groups)  # Eq. 3
        weights = jnp.where(among, weights, ones)
        groups = jnp.where(among, groups, state.groups)
        return weights, GO4AlignState(weights, logits, groups)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_go4align)
def go4align():
    """GO4Align as an update: `chain(scale_by_go4align(...), sum_tasks())`."""


def _log_sum(logits: jax.Array, among: jax.Array) -> jax.Array:
    """Log Σ exp over the tasks `among`, whose share of Q stays; 0 of nobody."""
    total = jax.nn.logsumexp(jnp.where(among, logits, -jnp.inf))
    return jnp.where(jnp.any(among), total, jnp.zeros_like(total))
