"""Geometric loss strategy: the geometric mean of the losses."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import check_num_tasks, need_losses, weight_dtype
from auxjax.weighting._tasks import is_positive, log_of, mean


class GLSState(NamedTuple):
    """State of `scale_by_gls`."""

    weights: jax.Array  # [T] float, those of the last update
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_gls(num_tasks: int = 2) -> optax.GradientTransformationExtraArgs:
    r"""Scales the rows so that their sum is the gradient of the geometric mean.

        G = (∏ᵢ Lᵢ)^{1/T},   ∇G = Σᵢ G / (T Lᵢ) · ∇Lᵢ

    computed by logarithms, so that a product of forty losses neither over- nor
    underflows. Scaling one loss by a constant scales G, and changes no direction.

    **A loss at or below zero** (or NaN, or infinite) has no place in the product: it
    is left out, and its row is passed on unscaled for that step, as
    `scale_by_log_loss` does. A policy-gradient loss is such a loss half of the time.

    Args:
      num_tasks: T, main task included.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with. Price: none of its own. Stacked gradients need
      `losses=` `[T]` as an extra argument of the update. With a task mask the mean is
      over those present.

    Raises:
      ValueError: for num_tasks < 2; from the update, where the losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_gls(2)
      >>> grads, losses = jnp.array([[1.0], [1.0]]), jnp.array([8.0, 2.0])
      >>> updates, _ = tx.update(grads, tx.init(jnp.zeros(1)), losses=losses)
      >>> [round(float(x), 4) for x in updates[:, 0]]  # G = 4: 4 / (2 · 8), 4 / (2 · 2)
      [0.25, 1.0]

    References:
      Chennupati et al., *MultiNet++: Multi-Stream Feature Aggregation and Geometric
      Loss Strategy for Multi-Task Learning*, CVPR Workshops 2019, arXiv 1904.08492.
    """
    check_num_tasks(num_tasks)

    def init_fn(params):
        return GLSState(jnp.ones(num_tasks, weight_dtype(params)))

    def rule(jac, state, *, present):
        values = need_losses(jac, "scale_by_gls").astype(state.weights.dtype)
        among = jnp.logical_and(present, is_positive(values))
        logs = log_of(values, among)
        count = jnp.maximum(jnp.sum(among.astype(logs.dtype)), 1)
        weights = jnp.exp(mean(logs, among) - logs) / count
        weights = jnp.where(among, weights, jnp.ones_like(weights))
        return weights, GLSState(weights)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_gls)
def gls():
    """Geometric loss strategy, ∇(∏ Lᵢ)^{1/T}: `chain(scale_by_gls(), sum_tasks())`."""
