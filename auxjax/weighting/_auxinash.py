"""AuxiNash: the tasks bargain, and what each may ask for is learned."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Mask, Number
from auxjax.meta import implicit_meta_gradient
from auxjax.weighting._alias import summed
from auxjax.weighting._bargain import (
    auxinash_weights,
    check_powers,
    next_powers,
    powers_among,
)
from auxjax.weighting._build import row_transform, start_moments
from auxjax.weighting._checks import Vector, check_num_tasks, weight_dtype
from auxjax.weighting._meta_loss import (
    check_implicit,
    main_gradient,
    need_losses_elsewhere,
    need_meta,
)


class AuxiNashState(NamedTuple):
    """State of `scale_by_auxinash`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float, α of the last update
    preference: jax.Array  # [T] float, p, of the next one; sums to 1
    meta_gradient: jax.Array  # [T] float, ∂M/∂α when p last moved
    optimizer_state: Any  # of the optimizer of p, one copy per task
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_auxinash(
    num_tasks: int = 2,
    *,
    every: int = 25,
    optimizer: optax.GradientTransformation | None = None,
    preference: Vector = None,
    min_preference: Number = 1e-4,
    where: Mask | None = None,
    solver: str = "neumann",
    num_terms: int = 4,
    step_size: Number = 0.01,
    damping: Number = 0.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by αᵢ, the outcome of a bargain in which task i has the power pᵢ.

        J Jᵀ α = p / α,   α > 0

    With equal powers this is Nash-MTL; every task gets a share of the step along its
    own gradient, αᵢ⟨∇Lᵢ, Σα_j∇L_j⟩ = pᵢ. The powers follow the main task's loss M on
    other data, twice by the implicit function theorem:

        ∂M/∂p = (∂α/∂p)ᵀ ∂M/∂α,   ∂α/∂p = (G + diag(p/α²))⁻¹ diag(1/α)
        ∂M/∂αᵢ = −⟨v, ∇Lᵢ⟩,       v = (Σ αᵢ∇²Lᵢ)⁻¹ ∇M

    after which p is clipped at `min_preference` and scaled to sum to 1. The nearer θ is
    to where the gradients cancel, the larger α becomes: the authors clip the step.

    Args:
      num_tasks: T, main task included.
      every: p moves in every so many-th update.
      optimizer: how p follows its gradient; None: `clip_by_global_norm(1)`, then
        `sgd(5e-3, momentum=0.9)`, as in the released code. Where the series does not
        converge (a large α makes the curvature large), the clip bounds the harm.
      preference: p at the start; None: 1/T each.
      min_preference: the least power a task may have.
      where: the parameters whose gradients bargain; None: the leaves that at least two
        losses depend on. All of a row is scaled by its α.
      solver: `"neumann"` or `"cg"`; this and what follows as in
        `auxjax.meta.implicit_meta_gradient`.
      num_terms: terms of the series, or steps of conjugate gradients.
      step_size: of the series; it should be below 2 over the largest curvature.
      damping: added to the Hessian's diagonal.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are α of the
      last step; a p that moves counts from the next step on. The update needs `params`,
      a TaskJacobian, and `meta_losses=`, a function of the parameters that returns all
      T losses on other data, the main task's first. Price: T backward passes; when p
      moves, the main task's forward and backward pass, `num_terms` Hessian products and
      a tangent pass more. With a task mask those present bargain among themselves and
      keep what power they have together.

    Raises:
      ValueError: for num_tasks < 2, every < 1, powers that are not T numbers at or
        above `min_preference` > 0, and as `implicit_meta_gradient`; from the update,
        where something is missing or the gradients are stacked.

    A step of p that is not finite is not made; α stays as it was where the gradients
    are not finite.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> def losses(p):
      ...     return 0.5 * (p[0] - 4.0) ** 2, 0.5 * (p[1] - 2.0) ** 2
      >>> tx = auxjax.auxinash(2, where=[True, True])
      >>> params = [jnp.zeros(()), jnp.zeros(())]
      >>> jac = auxjax.task_jacobian(losses, params)
      >>> step, state = tx.update(jac, tx.init(params), params, meta_losses=losses)
      >>> [round(float(x), 4) for x in step]  # √½ along each, whatever their lengths
      [-0.7071, -0.7071]

    References:
      Shamsian et al., *Auxiliary Learning as an Asymmetric Bargaining Game*, ICML 2023,
      arXiv 2301.13501: Gα = p/α, and its Algorithm 1. Nash-MTL: Navon et al., arXiv
      2202.01017.

    Paper and code:
      | | released code | here |
      |---|---|---|
      | Σp | T | 1: α is √T times smaller |
      | α | 20 convex programs | Newton, to rounding |
      | the series | 4 terms, not times α = 1e-4, of the shared part | as `step_size` |
      | the step | clipped at norm 1 | chain `optax.clip_by_global_norm` |
    """
    check_num_tasks(num_tasks)
    implicit = check_implicit(every, solver, num_terms, step_size, damping)
    first = check_powers(preference, num_tasks, min_preference)
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(5e-3, momentum=0.9))
    learn = clipped if optimizer is None else optimizer

    def init_fn(params):
        start = jnp.asarray(first, weight_dtype(params))
        return AuxiNashState(
            count=jnp.zeros((), jnp.int32),
            weights=jnp.ones_like(start),
            preference=start,
            meta_gradient=jnp.zeros_like(start),
            optimizer_state=start_moments(learn, start),
        )

    def learned(jac, state, alpha, bargain, powers, among, params, meta_losses):
        """The powers and their optimizer's state, one step on, and ∂M/∂α."""
        d = main_gradient("scale_by_auxinash", meta_losses, params, jac)
        alpha = jnp.where(among, alpha, jnp.zeros_like(alpha))
        meta_gradient = implicit_meta_gradient(jac, alpha, d, **implicit)
        meta_gradient = meta_gradient.astype(alpha.dtype)
        (slope,) = jax.vjp(bargain, powers)[1](meta_gradient)
        p, moments = next_powers(learn, slope, state, powers, among, min_preference)
        return p, moments, meta_gradient

    def rule(jac, state, *, params, counted, meta_losses):
        jac = need_losses_elsewhere("scale_by_auxinash", jac)
        need_meta("scale_by_auxinash", params, meta_losses)
        dtype = state.weights.dtype
        gramian = jac.gramian(jac.shared_mask() if where is None else where)
        among = jnp.logical_and(counted, jnp.isfinite(jnp.diagonal(gramian)))
        both = jnp.logical_and(among[:, None], among[None])
        gramian = jnp.where(both, gramian, jnp.zeros_like(gramian))
        powers = powers_among(state.preference, among)

        def bargain(p):
            return auxinash_weights(gramian, p).astype(dtype)

        alpha = bargain(powers)
        sound = jnp.logical_and(among, jnp.all(jnp.isfinite(alpha)))
        alpha = jnp.where(sound, alpha, state.weights)
        count = state.count + 1
        p, optimizer_state, meta_gradient = jax.lax.cond(
            count % every == 0,
            lambda: learned(
                jac, state, alpha, bargain, powers, among, params, meta_losses
            ),
            lambda: (state.preference, state.optimizer_state, state.meta_gradient),
        )
        new_state = AuxiNashState(
            count, alpha, p, meta_gradient, optimizer_state, counted & ~among
        )
        return alpha, new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_auxinash)
def auxinash():
    """AuxiNash as an update: `chain(scale_by_auxinash(...), sum_tasks())`."""
