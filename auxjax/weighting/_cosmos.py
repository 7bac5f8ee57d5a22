"""COSMOS: a weighted sum whose losses shall point where the weights do."""

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
    weight_dtype,
    wish_vector,
)


class COSMOSState(NamedTuple):
    """State of `scale_by_cosmos`."""

    weights: jax.Array  # [T] float, those of the last update
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def cosmos_weights(
    losses: Float[Array, " T"],
    preference: Float[Array, " T"],
    *,
    lam: Number = 2.0,
    present: Bool[Array, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""The gradient of Σ rᵢLᵢ − λ cos(r, L) by the losses.

        rᵢ − λ / ‖L‖ · (r̂ᵢ − cos(r, L) L̂ᵢ)      with r̂ = r / ‖r‖,  L̂ = L / ‖L‖

    Where all losses are 0 there is no cosine, and it is r.

    Args:
      losses: L `[T]`.
      preference: r `[T]`.
      lam: λ.
      present: whose losses count; the others get 0. None: all.

    Returns:
      `[T]`; a task below its share of the losses may have one below 0.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> found = auxjax.cosmos_weights(jnp.array([3.0, 4.0]), jnp.array([1.0, 0.0]))
      >>> [round(float(x), 3) for x in found]  # 1 − 2/5 (1 − 0.6²), 2/5 · 0.6 · 0.8
      [0.744, 0.192]

    References:
      Ruchte & Grabocka, ICDM 2021, arXiv 2103.13392.
    """
    dtype = losses.dtype
    here = jnp.ones(losses.shape, bool) if present is None else present
    values = jnp.where(here, losses, jnp.zeros_like(losses))
    wish = jnp.where(here, preference.astype(dtype), jnp.zeros_like(values))
    length, direction = _split(values)
    _, wanted = _split(wish)
    across = wanted - jnp.sum(wanted * direction) * direction
    slope = across / jnp.where(length > 0, length, jnp.ones_like(length))
    slope = jnp.where(length > 0, slope, jnp.zeros_like(slope))
    return wish - jnp.asarray(lam, dtype) * slope


def scale_by_cosmos(
    num_tasks: int = 2,
    *,
    lam: Number = 2.0,
    preference: Vector = None,
    clip_at_zero: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales the rows so that their sum is the gradient of COSMOS's scalarisation.

        ∇ [ Σᵢ rᵢLᵢ − λ cos(r, L) ],    cos(r, L) = ⟨r, L⟩ / (‖r‖ ‖L‖)

    The weighted sum goes down; the cosine turns the vector of losses towards r, so that
    preferences spread over the Pareto front. (A task with a large rᵢ is weighted more
    and yet, by the cosine, shall keep the larger loss: λ holds these two against each
    other.)

    **The whole method** trains one network for all preferences: draw r ~ Dirichlet(α)
    at every step, give it to the network as an input, and to the update as
    `preference=`. With one r for good, this is a rule as any other.

    **Weights may be negative**, and the cosine's part goes as 1/‖L‖: where all losses
    come near 0 it takes over. See `clip_at_zero`.

    Args:
      num_tasks: T, main task included.
      lam: λ; the authors take 0.01 to 8.
      preference: r `[T]`, at or above 0; None: 1/T each.
      clip_at_zero: keep the weights at or above 0; no longer a gradient of it then.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with. Price: none of its own. The update takes
      `preference=` `[T]` in place of the factory's. Stacked gradients need `losses=`
      `[T]`. A loss that is NaN or infinite is left out, and its row is passed on
      unscaled for that step. With a task mask sum and cosine are of those present.

    Raises:
      ValueError: for num_tasks < 2, λ below 0, a preference of another length, with a
        negative number or none above 0; from the update, where the losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_cosmos(2, preference=[0.3, 0.7])
      >>> grads, losses = jnp.ones((2, 1)), jnp.array([3.0, 7.0])  # as r: cos is 1
      >>> updates, _ = tx.update(grads, tx.init(jnp.zeros(1)), losses=losses)
      >>> [round(float(x), 4) for x in updates[:, 0]]
      [0.3, 0.7]

    References:
      Ruchte & Grabocka, *Scalable Pareto Front Approximation for Deep Multi-Objective
      Learning*, ICDM 2021, arXiv 2103.13392, the objective.

    Paper and code:
      | | authors' code | here |
      |---|---|---|
      | r | drawn and given to the network at every step | `preference=` |
      | λ | 0.01 (tables), 2 and 8 (MultiMNIST), 3 (CelebA) | 2 |
      | a cosine without length | ‖r‖ ‖L‖ at least 1e-8 | left out at L = 0 |
    """
    check_num_tasks(num_tasks)
    check_not_negative(lam=lam)
    share = 1 / num_tasks
    wishes = wish_vector("preference", preference, share, num_tasks)

    def init_fn(params):
        return COSMOSState(jnp.ones(num_tasks, weight_dtype(params)))

    def rule(jac, state, *, present, preference):
        dtype = state.weights.dtype
        values = need_losses(jac, "scale_by_cosmos").astype(dtype)
        wish = wishes
        if preference is not None:
            wish = wish_vector("preference", preference, share, num_tasks)
        finite = jnp.isfinite(values)
        among = jnp.logical_and(present, finite)
        weights = cosmos_weights(
            values, jnp.asarray(wish, dtype), lam=lam, present=among
        )
        if clip_at_zero:
            weights = jnp.maximum(weights, 0.0)
        weights = jnp.where(finite, weights, jnp.ones_like(weights))
        return weights, COSMOSState(weights)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_cosmos)
def cosmos():
    """COSMOS, ∇[Σ rᵢLᵢ − λ cos(r, L)]: `chain(scale_by_cosmos(...), sum_tasks())`."""


def _split(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Length and direction, zeros for zeros; squares neither over- nor underflow."""
    size = jnp.max(jnp.abs(x))
    unit = x / jnp.where(size > 0, size, jnp.ones_like(size))
    length = jnp.sqrt(jnp.sum(unit * unit))
    return size * length, unit / jnp.where(size > 0, length, jnp.ones_like(length))
