"""PBI: down a line in the space of losses, at a price for leaving it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Number
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    Vector,
    check_not_negative,
    check_num_tasks,
    need_losses,
    vector,
    weight_dtype,
    wish_vector,
)

NOISE = 10
"""So many times √T·ε, relative to the largest, is what rounding leaves of d₂ = 0."""


class PBIState(NamedTuple):
    """State of `scale_by_pbi`."""

    weights: jax.Array  # [T] float, those of the last update
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def pbi_weights(
    losses: Float[Array, " T"],
    preference: Float[Array, " T"],
    *,
    theta: Number = 5.0,
    present: Bool[Array, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""The gradient of d₁ + θ d₂ by the losses.

        ∂(d₁ + θ d₂) / ∂fᵢ = ŵᵢ + θ (fᵢ − d₁ŵᵢ) / d₂

    On the line itself, d₂ = 0, a norm has no gradient but subgradients, every vector of
    length up to 1 across the line: 0 is taken, the shortest, and the weights are ŵ. So
    it is where d₂ is less than rounding.

    Args:
      losses: f `[T]`, the ideal point subtracted.
      preference: w `[T]`.
      theta: θ.
      present: whose losses count; the others get 0. None: all.

    Returns:
      `[T]`; below 0 for a task that is far ahead of the others.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> losses, preference = jnp.array([4.0, 2.0]), jnp.array([1.0, 1.0])
      >>> found = auxjax.pbi_weights(losses, preference, theta=0.5)
      >>> [round(float(x), 4) for x in found * 2**0.5]  # 1 ± ½
      [1.5, 0.5]

    References:
      Zhang & Li, *MOEA/D*, IEEE Transactions on Evolutionary Computation 11, 2007.
    """
    dtype = losses.dtype
    here = jnp.ones(losses.shape, bool) if present is None else present
    f = jnp.where(here, losses, jnp.zeros_like(losses))
    wish = jnp.where(here, preference.astype(dtype), jnp.zeros_like(f))
    f = f / _or_one(jnp.max(jnp.abs(f)))
    line = _unit(wish)
    away = f - jnp.sum(f * line) * line
    length = jnp.sqrt(jnp.sum(away * away))
    rounding = NOISE * float(jnp.finfo(dtype).eps) * f.shape[0] ** 0.5
    far = length > rounding
    across = away / jnp.where(far, length, jnp.ones_like(length))
    across = jnp.where(far, across, jnp.zeros_like(across))
    return line + jnp.asarray(theta, dtype) * across


def scale_by_pbi(
    num_tasks: int = 2,
    *,
    theta: Number = 5.0,
    preference: Vector = None,
    ideal: Vector = None,
    clip_at_zero: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales the rows so that their sum is the gradient of the PBI scalarisation.

        f = L − z*,  ŵ = w / ‖w‖,  d₁ = ⟨f, ŵ⟩,  d₂ = ‖f − d₁ŵ‖,   ∇(d₁ + θ d₂)

    Penalty-based boundary intersection: d₁ is how far the losses still are from the
    ideal point along the direction w, d₂ how far off that line they are. A large θ
    drives them onto the line, and so to the point of the Pareto front where the line
    meets it, on concave parts too; 0 is the weighted sum. On a network's way there a θ
    that is too large holds the losses on the line and no longer lets them go down it.

    **Weights may be negative**: a task that is far ahead of its share is pushed back.
    A loss without an upper bound can be driven up without end so: `clip_at_zero`.

    Args:
      num_tasks: T, main task included.
      theta: θ, the price of d₂. The paper takes 5.
      preference: w `[T]`, at or above 0, the direction of the losses that is wanted:
        a task with a small one shall end with a small loss. None: all alike.
      ideal: z* `[T]`, a lower bound of each loss; None: 0.
      clip_at_zero: keep the weights at or above 0; no longer a gradient of it then.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with. Price: none of its own. The update takes
      `preference=` `[T]` in place of the factory's, where it changes from step to step.
      Stacked gradients need `losses=` `[T]`. A loss that is NaN or infinite is left
      out, and its row is passed on unscaled for that step. With a task mask w and the
      line are those of the tasks present.

    Raises:
      ValueError: for num_tasks < 2, θ below 0, a vector of another length, a preference
        with a negative number or none above 0; from the update, where the losses are
        missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_pbi(2, theta=1.0, preference=[3.0, 4.0])
      >>> grads, losses = jnp.ones((2, 1)), jnp.array([6.0, 8.0])  # on the line
      >>> updates, _ = tx.update(grads, tx.init(jnp.zeros(1)), losses=losses)
      >>> [round(float(x), 4) for x in updates[:, 0]]  # ŵ
      [0.6, 0.8]

    References:
      Zhang & Li, *MOEA/D: A Multiobjective Evolutionary Algorithm Based on
      Decomposition*, IEEE Transactions on Evolutionary Computation 11, 2007, the
      penalty-based boundary intersection.

    Paper and code:
      | | paper | TorchJD | here |
      |---|---|---|---|
      | used for | comparing points | a loss | its gradient by the losses |
      | d₂ = 0 | | 1e-12 added to d₂² | the subgradient 0 |
    """
    check_num_tasks(num_tasks)
    check_not_negative(theta=theta)
    wishes = wish_vector("preference", preference, 1.0, num_tasks)
    best = vector("ideal", ideal, 0.0, num_tasks)

    def init_fn(params):
        return PBIState(jnp.ones(num_tasks, weight_dtype(params)))

    def rule(jac, state, *, present, preference):
        dtype = state.weights.dtype
        f = need_losses(jac, "scale_by_pbi").astype(dtype) - jnp.asarray(best, dtype)
        wish = wishes
        if preference is not None:
            wish = wish_vector("preference", preference, 1.0, num_tasks)
        finite = jnp.isfinite(f)
        among = jnp.logical_and(present, finite)
        wish = jnp.asarray(wish, dtype)
        weights = pbi_weights(f, wish, theta=theta, present=among)
        if clip_at_zero:
            weights = jnp.maximum(weights, 0.0)
        weights = jnp.where(finite, weights, jnp.ones_like(weights))
        return weights, PBIState(weights)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_pbi)
def pbi():
    """PBI, ∇(d₁ + θ d₂): `chain(scale_by_pbi(...), sum_tasks())`."""


def _unit(x: jax.Array) -> jax.Array:
    """At length 1; zeros stay."""
    x = x / _or_one(jnp.max(jnp.abs(x)))
    return x / _or_one(jnp.sqrt(jnp.sum(x * x)))


def _or_one(size: jax.Array) -> jax.Array:
    """1 in the place of 0, to divide by."""
    return jnp.where(size > 0, size, jnp.ones_like(size))
