"""The gradient of a later loss with respect to the task weights, one step ahead."""

from __future__ import annotations

from auxjax._types import Array, Float, Gradient, Mask, Number
from auxjax.jacobian import Jacobian, StackedJacobian
from auxjax.meta._lookahead import Lookahead


def exact_meta_gradient(
    jac: Jacobian,
    ahead: Lookahead,
    meta_gradient: Gradient,
    where: Mask | None = None,
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
      where: the leaves that the meta loss depends on; d is zero elsewhere, and what
        follows from that is not computed. None: all.

    Returns:
      `[T]`. Price: one tangent pass.

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, Eq. 4, 5 and the first lines of Eq. 7.
    """
    reached = None if where is None else ahead.reach(where)
    return jac.jvp(ahead.pull(meta_gradient), reached)


def finite_difference_meta_gradient(
    jac: Jacobian,
    ahead: Lookahead,
    meta_gradient: Gradient,
    *,
    epsilon: Number = 0.01,
) -> Float[Array, " T"]:
    r"""∂M(θ′)/∂λ by the paper's central difference: two forward passes.

        v = (∂u/∂g)ᵀ d,   s = `epsilon` / ‖v‖
        ∂M(θ′)/∂λᵢ ≈ [Lᵢ(θ + sv) − Lᵢ(θ − sv)] / 2s

    For SGD v = −αd, and this is Eq. 7 with the perturbation of norm 0.01 that the
    authors' code uses. Its error falls as `epsilon`² until rounding takes over. Both
    passes see the batch, and the key for dropout, that the training losses saw. (v is
    useless to it where some weights' slopes are of another order than the rest, as
    through Adam at weights without a gradient so far: there take the exact one.)

    Args:
      jac: the Jacobian of the training losses at θ.
      ahead: the step from θ to θ′, from `lookahead`.
      meta_gradient: d, the gradient of the meta loss at θ′.
      epsilon: how far θ is moved, ε‖d‖ in the paper's terms.

    Returns:
      `[T]`; zeros where v is zero.

    Raises:
      ValueError: where `epsilon` is not above 0, or the gradients are stacked, which
        do not tell the losses elsewhere.

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, Eq. 7.
    """
    if isinstance(jac, StackedJacobian):
        raise ValueError(
            "The finite difference needs the losses at other parameters. Found stacked "
            "gradients: pass a TaskJacobian, or take the exact meta-gradient."
        )
    return jac.jvp_by_difference(ahead.pull(meta_gradient), epsilon=epsilon)
