"""The gradient of a later loss with respect to the task weights, one step ahead."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Array, Float, Gradient, LossFn, Params
from auxjax.jacobian import TaskJacobian, task_jacobian
from auxjax.meta._lookahead import Lookahead


def exact_meta_gradient(
    jac: TaskJacobian, ahead: Lookahead, meta_gradient: Gradient
) -> Float[Array, " T"]:
    r"""∂M(θ′)/∂λ, exactly, for any optimizer, without a Hessian.

    The weighted gradient g = Σ λᵢ∇Lᵢ is linear in λ, so with d = ∇M(θ′)

        ∂M(θ′)/∂λᵢ = ⟨d, (∂u/∂g) ∇Lᵢ(θ)⟩ = ⟨(∂u/∂g)ᵀ d, ∇Lᵢ(θ)⟩

    whose right side is one VJP of the optimizer's update and one tangent pass for all
    tasks. For SGD it is −α⟨∇Lᵢ(θ), d⟩. No second derivative of the network appears:
    the paper's ∇²_{θ,λ}L in Eq. 7 is the Jacobian J itself.

    Args:
      jac: the Jacobian of the training losses at θ.
      ahead: the step from θ to θ′, from `lookahead`.
      meta_gradient: d, the gradient of the meta loss at θ′.

    Returns:
      `[T]`. Price: one tangent pass.

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, Eq. 4, 5 and the first lines of Eq. 7.
    """
    return jac.jvp(ahead.pull(meta_gradient))


def finite_difference_meta_gradient(
    losses: LossFn,
    params: Params,
    ahead: Lookahead,
    meta_gradient: Gradient,
    *args: Any,
    epsilon: float = 0.01,
) -> Float[Array, " T"]:
    r"""∂M(θ′)/∂λ by the paper's central difference: two forward passes.

        v = (∂u/∂g)ᵀ d,   ε = `epsilon` / ‖v‖
        ∂M(θ′)/∂λᵢ ≈ [Lᵢ(θ + εv) − Lᵢ(θ − εv)] / 2ε

    For SGD v = −αd, and this is Eq. 7 with the perturbation of norm 0.01 that the
    authors' code uses. Its error falls as ε² until rounding takes over.

    Args:
      losses: the training losses, as in `auxjax.task_jacobian`.
      params: θ.
      ahead: the step from θ to θ′, from `lookahead`.
      meta_gradient: d, the gradient of the meta loss at θ′.
      *args: handed to `losses`.
      epsilon: the norm of the perturbation of θ.

    Returns:
      `[T]`; zeros where v is zero.

    Raises:
      ValueError: where `epsilon` is not above 0.

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, Eq. 7.
    """
    if epsilon <= 0:
        raise ValueError(f"`epsilon` should be above 0. Found {epsilon}.")
    v = ahead.pull(meta_gradient)
    norm = jnp.sqrt(
        sum(
            jnp.sum(jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32))))
            for x in jax.tree.leaves(v)
        )
    )
    step = jnp.where(norm > 0, epsilon / jnp.where(norm > 0, norm, 1), 0)

    def at(sign: float):
        moved = jax.tree.map(
            lambda p, x: p + (sign * step).astype(x.dtype) * x, params, v
        )
        return task_jacobian(losses, moved, *args).losses

    difference = at(1.0) - at(-1.0)
    return jnp.where(norm > 0, difference / jnp.where(norm > 0, 2 * step, 1), 0)
