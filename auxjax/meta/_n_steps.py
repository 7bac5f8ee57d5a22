"""The gradient of a later loss with respect to the task weights, N steps ahead."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Float, LossFn, Params
from auxjax.jacobian import apply_updates, task_jacobian
from auxjax.meta._differentiable import differentiable_update
from auxjax.meta._lookahead import of_variables


class Run(NamedTuple):
    """N real optimizer steps.

    Attributes:
      params: θ_N.
      opt_state: the optimizer's state after them.
      meta_gradient: `[T]`, ∂M(θ_N)/∂λ or an approximation of it.
    """

    params: Params
    opt_state: Any
    meta_gradient: jax.Array


def exact_n_step_meta_gradient(
    losses: LossFn,
    meta_loss: Any,
    weights: Float[Array, " T"],
    params: Params,
    optimizer: optax.GradientTransformation,
    opt_state: Any,
    batches: Any,
) -> Run:
    r"""∂M(θ_N)/∂λ through N real optimizer steps, by forward mode in λ.

    Every step carries the T tangents (∂θ/∂λᵢ, ∂s/∂λᵢ) of the parameters and of the
    optimizer's state along, so memory grows with T and not with N; time is that of
    about T steps per step.

    Args:
      losses: the training losses, `losses(params, batch)`.
      meta_loss: M, from parameters to a scalar.
      weights: λ, `[T]`.
      params: θ_0.
      optimizer: any Optax transformation, gradient → update.
      opt_state: its state at θ_0.
      batches: a pytree with leading axis N, one batch per step.

    Returns:
      The end of the run and the exact meta-gradient.
    """
    update = differentiable_update(of_variables(optimizer))

    def train(weights):
        def step(carry, batch):
            params, state = carry
            gradient = task_jacobian(losses, params, batch).vjp(weights)
            updates, state = update(gradient, state, params)
            return (apply_updates(params, updates), state), None

        (end, state), _ = jax.lax.scan(step, (params, opt_state), batches)
        return meta_loss(end), (end, state)

    basis = jnp.eye(weights.shape[0], dtype=weights.dtype)

    def along(direction):
        _, slope, end = jax.jvp(train, (weights,), (direction,), has_aux=True)
        return slope, end

    meta_gradient, (end, state) = jax.vmap(along, out_axes=(0, None))(basis)
    return Run(end, state, meta_gradient)


def first_order_n_step_meta_gradient(
    losses: LossFn,
    weights: Float[Array, " T"],
    params: Params,
    optimizer: optax.GradientTransformation,
    opt_state: Any,
    batches: Any,
    *,
    step_size: float = 1.0,
) -> Run:
    r"""OL-AUX's approximation of ∂[L_main(θ_N) − L_main(θ_0)]/∂λ over N steps.

        −α Σ_{j<N} ⟨∇L_main(θ_j), ∇Lᵢ(θ_j)⟩

    It takes a weight to touch only the step that it is used in. Exact for N = 1 and
    SGD up to the curvature of one step; a backward and a tangent pass per step more.

    Args:
      losses: the training losses, `losses(params, batch)`; the first is the main one.
      weights: λ, `[T]`.
      params: θ_0.
      optimizer: any Optax transformation, gradient → update.
      opt_state: its state at θ_0.
      batches: a pytree with leading axis N, one batch per step.
      step_size: α.

    Returns:
      The end of the run and the approximate meta-gradient.

    References:
      Lin et al., *Adaptive Auxiliary Task Weighting for Reinforcement Learning*,
      NeurIPS 2019, Eq. 6.
    """
    transform = of_variables(optimizer)

    def step(carry, batch):
        params, state, total = carry
        jac = task_jacobian(losses, params, batch)
        total -= step_size * jac.gramian_row(0).astype(total.dtype)  # Eq. 6
        updates, state = transform.update(jac.vjp(weights), state, params)
        return (apply_updates(params, updates), state, total), None

    start = (params, opt_state, jnp.zeros_like(weights))
    (end, state, total), _ = jax.lax.scan(step, start, batches)
    return Run(end, state, total)
