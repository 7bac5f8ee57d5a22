"""AuxiLearn: a network of the losses, learned through where training ends up."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Key, Number
from auxjax.meta import implicit_meta_gradient
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform, start_moments
from auxjax.weighting._checks import (
    check_at_least,
    check_finite,
    check_num_tasks,
    weight_dtype,
)
from auxjax.weighting._loss_network import first_layers, slopes, step
from auxjax.weighting._meta_loss import (
    check_implicit,
    main_gradient,
    need_losses_elsewhere,
    need_meta,
)


class AuxiLearnState(NamedTuple):
    """State of `scale_by_auxilearn`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float, ∂F/∂L of the last update
    meta_gradient: jax.Array  # [T] float, ∂M/∂weights when φ last moved
    network: Any  # φ: [T] float, or a list of layers, each (weight, bias)
    network_state: Any  # of the optimizer of φ; of the linear form one copy per task
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_auxilearn(
    num_tasks: int = 2,
    *,
    hidden: Sequence[int] = (),
    every: int = 50,
    optimizer: optax.GradientTransformation | None = None,
    init_weight: Number = 1.0,
    key: Key[Array, ""] | None = None,
    solver: str = "neumann",
    num_terms: int = 4,
    step_size: Number = 0.01,
    damping: Number = 0.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Trains on a learned function of the losses: row i is scaled by its slope ∂F/∂Lᵢ.

        F(θ, φ) = L_main(θ) + g(L(θ); φ)
        g = Σ_{i>0} φᵢLᵢ          linear, `hidden=()`
        g = an MLP of L           `hidden=(3,)`, say; softplus, no weight below 0

    φ follows the main task's loss M on other data, where training on F would end up,
    θ*(φ) = argmin F, by the implicit function theorem:

        ∂M/∂φ = −∂/∂φ ⟨∇_θF, v⟩ = −∂/∂φ Σᵢ (∂F/∂Lᵢ) ⟨∇Lᵢ, v⟩,   v = (∇²_θF)⁻¹∇M

    **T numbers carry all of it**: ⟨∇Lᵢ, v⟩ is one tangent pass for all tasks, and what
    is left is the derivative of a function of T losses. Clipping φ's weights at 0 keeps
    g monotone, a lower loss never makes it worse.

    Args:
      num_tasks: T, main task included.
      hidden: the widths of the MLP's hidden layers; `()`: linear.
      every: φ moves in every so many-th update; the others cost nothing more.
      optimizer: how φ follows its gradient; None: `optax.adam(1e-2)`.
      init_weight: φᵢ at the start, of the linear form.
      key: of the MLP's first weights, U(0, 2/fan in); None: `jax.random.key(0)`.
      solver: `"neumann"` or `"cg"`; this and what follows as in
        `auxjax.meta.implicit_meta_gradient`.
      num_terms: terms of the series, or steps of conjugate gradients.
      step_size: of the series; it should be below 2 over F's largest curvature.
      damping: added to the Hessian's diagonal.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with, and a φ that moves counts from the next step on. The
      update needs `params`, a TaskJacobian, and `meta_losses=`, a function of the
      parameters that returns all T losses on other data, the main task's first. Price
      when φ moves: that task's forward and backward pass, `num_terms` Hessian products
      and a tangent pass, whatever T; else none. It takes F of the plain losses: put it
      first in a chain. An absent task's loss counts as 0, and its φᵢ stays.

    Raises:
      ValueError: for num_tasks < 2, a width < 1, every < 1, and as
        `implicit_meta_gradient`; from the update, where something is missing or the
        gradients are stacked.

    A step of φ that is not finite is not made.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> def losses(p, x):  # ends up half way between x and the helper's 3
      ...     return 0.5 * (p - x) ** 2, 0.5 * (p - 3.0) ** 2
      >>> tx = auxjax.scale_by_auxilearn(
      ...     2, every=1, optimizer=optax.sgd(1.0), solver="cg")
      >>> params = jnp.array(2.0)
      >>> jac = auxjax.task_jacobian(losses, params, 1.0)
      >>> _, state = tx.update(  # other data say 1.5: the helper pulls too hard
      ...     jac, tx.init(params), params, meta_losses=lambda p: losses(p, 1.5))
      >>> state.network.tolist()  # θ* = (1 + 3φ) / (1 + φ): ∂M/∂φ = ½ · 2/(1 + φ)²
      [1.0, 0.75]

    References:
      Navon et al., *Auxiliary Learning by Implicit Differentiation*, ICLR 2021, arXiv
      2007.02693, Eq. 5, Algorithm 1 and 2.

    Paper and code:
      | | released code | here |
      |---|---|---|
      | g sees | each sample's losses | the batch's |
      | the series | 4 terms, not times α = 1e-4 | 4 terms, times α = 0.01 |
      | φ's optimizer | SGD 1e-3, momentum, decay, clipping | Adam 1e-2 |
      | linear, main task | has its φ too | is 1 |
    """
    check_num_tasks(num_tasks)
    check_finite(init_weight=init_weight)
    for width in hidden:
        check_at_least("hidden", width, 1)
    implicit = check_implicit(every, solver, num_terms, step_size, damping)
    learn = optax.adam(1e-2) if optimizer is None else optimizer

    def init_fn(params):
        dtype = weight_dtype(params)
        if hidden:
            start = jax.random.key(0) if key is None else key
            network = first_layers(start, (num_tasks, *hidden, 1), dtype)
        else:
            network = jnp.full(num_tasks, init_weight, dtype).at[0].set(1)
        begin: Any = learn.init if hidden else functools.partial(start_moments, learn)
        return AuxiLearnState(
            count=jnp.zeros((), jnp.int32),
            weights=jnp.ones(num_tasks, dtype),
            meta_gradient=jnp.zeros(num_tasks, dtype),
            network=network,
            network_state=begin(network),
        )

    def learned(jac, state, values, counted, params, meta_losses):
        """φ and its optimizer's state, one step on, and ∂M/∂weights."""
        d = main_gradient("scale_by_auxilearn", meta_losses, params, jac)
        meta_gradient = implicit_meta_gradient(
            jac,
            state.weights,
            d,
            slopes=lambda x: slopes(state.network, _inputs(x, counted, values.dtype)),
            **implicit,
        )
        meta_gradient = meta_gradient.astype(values.dtype)
        # ⟨weights(φ), ∂M/∂weights⟩ has the slope ∂M/∂φ in φ.
        slope = jax.grad(lambda phi: jnp.sum(slopes(phi, values) * meta_gradient))(
            state.network
        )
        before = (state.network, state.network_state)
        return *step(learn, slope, *before, counted), meta_gradient

    def rule(jac, state, *, params, counted, meta_losses):
        jac = need_losses_elsewhere("scale_by_auxilearn", jac)
        need_meta("scale_by_auxilearn", params, meta_losses)
        values = _inputs(jac.losses, counted, state.weights.dtype)
        weights = slopes(state.network, values)
        count = state.count + 1
        network, network_state, meta_gradient = jax.lax.cond(
            count % every == 0,
            lambda: learned(jac, state, values, counted, params, meta_losses),
            lambda: (state.network, state.network_state, state.meta_gradient),
        )
        new_state = AuxiLearnState(
            count, weights, meta_gradient, network, network_state
        )
        return weights, new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_auxilearn)
def auxilearn():
    """AuxiLearn as an update, ∇F: `chain(scale_by_auxilearn(...), sum_tasks())`."""


def _inputs(losses: jax.Array, counted: jax.Array, dtype: Any) -> jax.Array:
    """The losses as F sees them: an absent or broken one is 0."""
    return jnp.where(counted, losses.astype(dtype), 0)
