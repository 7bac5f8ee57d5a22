"""FAMO: every loss shall fall at the same rate, watched without a gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Number
from auxjax.weighting._alias import summed
from auxjax.weighting._build import move, row_transform, start_moments
from auxjax.weighting._checks import (
    Vector,
    check_not_negative,
    check_num_tasks,
    need_losses,
    vector,
    weight_dtype,
)
from auxjax.weighting._tasks import is_positive, log_of, loss_array, softmax


class FAMOState(NamedTuple):
    """State of `scale_by_famo`."""

    weights: jax.Array  # [T] float, those of the last update
    logits: jax.Array  # [T] float, ξ
    losses: jax.Array  # [T] float, of the last update; 0: none yet
    optimizer_state: Any  # of the optimizer of ξ, one copy per task
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_famo(
    num_tasks: int = 2,
    *,
    optimizer: optax.GradientTransformation | None = None,
    decay: Number = 1e-3,
    lower_bound: Vector = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by c zᵢ/Lᵢ, with z learned so that all losses fall alike.

        z = softmax(ξ),   c = 1 / Σᵢ (zᵢ / Lᵢ)
        θ ← θ − α Σᵢ c (zᵢ / Lᵢ) ∇Lᵢ
        ξ ← ξ − β (δ + γξ),   δ = (∂z/∂ξ)ᵀ [log Lᵢ(θ_t) − log Lᵢ(θ_{t+1})]

    The scaled rows are z-weighted gradients of log L; a task that fell faster than the
    others loses weight, one that fell less gains. The scales sum to 1. No gradient is
    ever taken apart: it is the cheapest of the rules that balance progress.

    **When ξ moves.** The losses after a step are not known in it, so the update first
    closes the last step and then makes its own. Without more it takes the losses of
    now, which are those of another batch. `next_losses=` makes it exact: the losses of
    the last update's batch at the parameters of now.

    **A loss at or below its bound** (or NaN, or infinite) has no logarithm: its row is
    passed on unscaled for that step, its ξ stays, and the others share c.

    Args:
      num_tasks: T, main task included.
      optimizer: how ξ follows δ + γξ; None: `optax.adam(0.025)` (Algorithm 2 of the
        paper's appendix; its Algorithm 1 is `optax.sgd(0.025)`).
      decay: γ, which pulls ξ back to equal weights.
      lower_bound: `[T]`, subtracted from the losses, for those that end far above 0;
        None: 0.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with. Price: none of its own, or a forward pass with
      `next_losses`. The update takes `next_losses=`: `[T]`, or a function of the
      parameters that returns T losses, as in
      `next_losses=lambda p: losses(p, previous_batch)`; in the first update it is
      looked at by nobody. Stacked gradients need `losses=` `[T]`.

    Raises:
      ValueError: for num_tasks < 2, a negative or infinite `decay`, bounds of another
        length; from the update, where the losses are missing or `next_losses` has
        not T entries.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = auxjax.scale_by_famo(2, optimizer=optax.sgd(2.0), decay=0.0)
      >>> grads, state = jnp.ones((2, 1)), tx.init(jnp.zeros(1))
      >>> _, state = tx.update(grads, state, losses=jnp.array([1.0, 3.0]))
      >>> [round(float(w), 2) for w in state.weights]  # ½/1 and ½/3 over their sum
      [0.75, 0.25]
      >>> _, state = tx.update(grads, state, losses=jnp.array([1.0, 1.0]))
      >>> [round(float(w), 2) for w in state.weights]  # the second fell: ξ = ±½ log 3
      [0.75, 0.25]

    References:
      Liu et al., *FAMO: Fast Adaptive Multitask Optimization*, NeurIPS 2023, arXiv
      2306.03792, Algorithm 1, and Algorithm 2 of appendix C (Adam).

    Paper and code:
      The released code adds 1e-8 to the losses and clips the gradient at norm 1, which
      is `optax.clip_by_global_norm(1.0)` behind the rule; its γ is 1e-5 to 1e-2.
    """
    check_num_tasks(num_tasks)
    check_not_negative(decay=decay)
    bound = vector("lower_bound", lower_bound, 0.0, num_tasks)
    learn = optax.adam(0.025) if optimizer is None else optimizer

    def init_fn(params):
        zeros = jnp.zeros(num_tasks, weight_dtype(params))
        return FAMOState(
            jnp.ones_like(zeros), zeros, zeros, start_moments(learn, zeros)
        )

    def close_step(state, after, present):
        """One step of ξ, from the losses before and after the step."""
        known = jnp.logical_and(is_positive(state.losses), is_positive(after))
        among = jnp.logical_and(present, known)
        fell = log_of(state.losses, among) - log_of(after, among)
        z = softmax(state.logits, among)
        pull = jnp.asarray(decay, z.dtype) * state.logits
        slope = z * (fell - jnp.sum(z * fell)) + pull
        return move(learn, slope, state.optimizer_state, state.logits, among)

    def rule(jac, state, *, params, present, next_losses):
        dtype = state.weights.dtype
        floor = jnp.asarray(bound, dtype)
        values = need_losses(jac, "scale_by_famo").astype(dtype) - floor
        after = values
        if next_losses is not None:
            after = loss_array("next_losses", next_losses, params, jac.names, dtype)
            after = after - floor
        logits, optimizer_state, broken = close_step(state, after, present)

        usable = is_positive(values)
        # z/L over its sum: one softmax, whatever the size of the losses.
        shares = logits - log_of(values, usable)
        weights = softmax(shares, jnp.logical_and(present, usable))
        weights = jnp.where(usable, weights, jnp.ones_like(weights))
        kept = jnp.where(usable, values, state.losses)
        new_state = FAMOState(weights, logits, kept, optimizer_state, nonfinite=broken)
        return weights, new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_famo)
def famo():
    """FAMO as an update: `chain(scale_by_famo(...), sum_tasks())`."""
