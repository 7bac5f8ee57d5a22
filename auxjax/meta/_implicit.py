"""The gradient of a later loss where training has converged: implicit functions."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from auxjax._types import Array, ArrayLike, Float, Gradient, Number
from auxjax.jacobian import Layout, TaskJacobian, is_traced


def implicit_meta_gradient(
    jac: TaskJacobian,
    weights: ArrayLike,
    meta_gradient: Gradient,
    *,
    solver: str = "neumann",
    num_terms: int = 20,
    step_size: Number = 0.1,
    damping: Number = 0.0,
    slopes: Callable[[jax.Array], jax.Array] | None = None,
) -> Float[Array, " T"]:
    r"""∂M(θ*)/∂λ where θ* = argmin Σ λᵢLᵢ, by the implicit function theorem.

        ∂M(θ*)/∂λᵢ = −⟨H⁻¹ d, ∇Lᵢ(θ*)⟩,   H = Σ λᵢ∇²Lᵢ(θ*) + damping · I

    H⁻¹d is approached by Hessian-vector products, one forward and one backward pass and
    their tangents each; H is never written down.

    | solver | H⁻¹d ≈ | converges where |
    |---|---|---|
    | `"neumann"` | α Σ_{j<K} (I − αH)ʲ d | ‖I − αH‖ < 1 |
    | `"cg"` | K steps of conjugate gradients | H is positive definite |

    With one Neumann term this is −α⟨d, ∇Lᵢ⟩, the one-step meta-gradient of SGD; with K
    it is that of K steps of SGD around θ*.

    Args:
      jac: the Jacobian of the training losses at θ*.
      weights: λ, `[T]`.
      meta_gradient: d, the gradient of the meta loss at θ*.
      solver: `"neumann"` or `"cg"`.
      num_terms: K, how many terms of the series or steps of conjugate gradients.
      step_size: α, of the series alone.
      damping: added to H's diagonal; a network's H is seldom positive definite.
      slopes: where training is on a function F of the losses: from the losses `[T]` to
        ∂F/∂L `[T]`. H is F's Hessian then, and the result ⟨−H⁻¹d, ∇Lᵢ⟩ as ever; the
        `weights` are not looked at.

    Returns:
      `[T]`. Price: K Hessian-vector products and one tangent pass.

    Raises:
      ValueError: for another solver, `num_terms` below 1, a `step_size` not above 0 or
        a negative `damping`.

    References:
      Lorraine et al., *Optimizing Millions of Hyperparameters by Implicit
      Differentiation*, arXiv 1911.02590, Eq. 6 (the series); Navon et al., *Auxiliary
      Learning by Implicit Differentiation*, arXiv 2007.02693, Eq. 5 and Algorithm 2.
    """
    if solver not in ("neumann", "cg"):
        raise ValueError(f'`solver` should be "neumann" or "cg". Found {solver!r}.')
    if num_terms < 1:
        raise ValueError(f"`num_terms` should be at least 1. Found {num_terms}.")
    if not is_traced(step_size) and not step_size > 0:
        raise ValueError(f"`step_size` should be above 0. Found {step_size}.")
    if not is_traced(damping) and damping < 0:
        raise ValueError(f"`damping` should be at least 0. Found {damping}.")
    layout = Layout(jac.params)
    slopes_at = (lambda _: weights) if slopes is None else slopes
    hessian = _hessian_vector_product(jac, layout, slopes_at, damping)
    d = layout.pick(meta_gradient)
    if solver == "neumann":
        solved = _neumann(hessian, d, num_terms, step_size)
    else:
        solved, _ = jax.scipy.sparse.linalg.cg(hessian, d, maxiter=num_terms, tol=0.0)
    return -jac.jvp(layout.fill(dict(enumerate(solved))))


def _hessian_vector_product(
    jac: TaskJacobian, layout: Layout, slopes: Callable, damping: Number
) -> Callable[[list[jax.Array]], list[jax.Array]]:
    """Maps v to (H + damping · I) v, forward over reverse, leaf by leaf."""

    def gradient(variables):
        there = jac.at(layout.put(variables, jac.params))
        return layout.pick(there.vjp(slopes(there.losses)))

    _, push = jax.linearize(gradient, layout.pick(jac.params))
    return lambda v: jax.tree.map(lambda hv, x: hv + _times(damping, x), push(v), v)


def _times(factor: Number, x: jax.Array) -> jax.Array:
    """A number times an array, in the array's dtype."""
    return jnp.asarray(factor).astype(x.dtype) * x


def _neumann(
    hessian: Callable, d: list[jax.Array], num_terms: int, step_size: Number
) -> list[jax.Array]:
    """α Σ_{j<K} (I − αH)ʲ d."""

    def add_term(_, carry):
        term, total = carry
        term = jax.tree.map(lambda t, h: t - _times(step_size, h), term, hessian(term))
        return term, jax.tree.map(jnp.add, total, term)

    _, total = jax.lax.fori_loop(0, num_terms - 1, add_term, (d, d))
    return jax.tree.map(lambda x: _times(step_size, x), total)
