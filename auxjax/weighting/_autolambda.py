"""Auto-λ: weights that minimise the primary tasks' loss one step ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optax

from auxjax._types import Array, Key, Number
from auxjax.jacobian import as_jacobian, unless_spoilt
from auxjax.meta import of_variables
from auxjax.weighting._autolambda_step import check, draw, learn, need_meta, start
from auxjax.weighting._checks import check_optimizer


def scale_by_autolambda(
    lookahead: Number | optax.Schedule | optax.GradientTransformation = 0.1,
    *,
    num_tasks: int = 2,
    primary: int | Sequence[int] | str = 0,
    init: Number | None = None,
    lambda_optimizer: optax.GradientTransformation | None = None,
    meta_gradient: str = "exact",
    epsilon: Number = 0.01,
    tasks_per_step: int | None = None,
    key: Key[Array, ""] | None = None,
    parametrisation: str = "raw",
    meta_objective: str = "loss",
    clip_at_zero: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by λᵢ, learned from the loss one step ahead.

        θ′ = θ + u(Σᵢ λᵢ ∇Lᵢ(θ))                                         (Eq. 4)
        λ ← λ − β ∂M(θ′)/∂λ,   M = Σ_{i∈primary} Lᵢ on another batch     (Eq. 5)

    and the step itself is made with the new λ (Eq. 6). The meta-gradient is exact: the
    weighted gradient is linear in λ, so with d = ∇M(θ′) it is ⟨(∂u/∂g)ᵀd, ∇Lᵢ(θ)⟩, one
    tangent pass for all tasks and no Hessian. λ is neither clipped nor normalised, and
    where it starts is a learning rate under an optimizer that feels a gradient's size.

    That λ is learned as it is can be changed. What is learned is then z, by the chain
    rule through λ(z), and all λ are 1 at the start:

        `"softmax"`  λ = T softmax(z), which sum to T as equal weights do
        `"exp"`      λᵢ = exp(zᵢ − z₀), where the first task's stays 1

    And the meta loss may be M = Σ_{i∈primary} log Lᵢ, which still has a slope when a
    primary loss on the second batch is nearly gone, and forgets its units.

    Here the optimizer that looks ahead is another than the one that trains, and its
    state follows the steps looked at. `autolambda` looks ahead with the real one.

    Args:
      lookahead: the step from θ to θ′: a learning rate or a schedule for plain SGD, or
        an Optax optimizer.
      num_tasks: T, main task included.
      primary: the tasks whose loss counts one step ahead: an index, several, or
        `"all"`. One of them is auxiliary learning, all of them multi-task learning.
      init: λ at the start, of every task; None: 0.1. It belongs to raw ones.
      lambda_optimizer: how λ follows its gradient; None: `optax.adam(1e-4)`.
      meta_gradient: `"exact"` or `"finite_difference"` (the paper's Eq. 7, of about
        the same price, for comparison).
      epsilon: the finite difference's: how far the parameters are moved.
      tasks_per_step: K′: so many tasks, drawn anew in every step, look ahead and learn
        their λ; that of the others, its moments and their count of steps stay as they
        are, and the step itself is made with all. None: all. (In the paper this saves
        memory. The linear map costs the same for any number of tasks.)
      key: of the draws; None: `jax.random.key(0)`.
      parametrisation: `"raw"`, `"softmax"` or `"exp"`. A task that does not look ahead
        keeps its λ; by softmax the others share what it leaves of T.
      meta_objective: `"loss"`, or `"log"`: of the primary losses' logarithms. One at
        or below zero counts as it is in that step.
      clip_at_zero: keep λ at or above 0: for auxiliary losses without an upper bound,
        on which a negative weight is ascent without end. Others than raw ones are
        there by themselves.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are λ `[T]`, and `z`
      what is learned in their place, or None. The update needs `params`, and
      `meta_losses=`: a function of the parameters that returns all T losses on a second
      batch, as in `meta_losses=lambda p: losses(p, other_batch)`. Price beside equal
      weighting: one forward and two backward passes and a tangent pass, whatever T.

    Raises:
      ValueError: for num_tasks < 2, a primary task that is none, another
        `meta_gradient`, `parametrisation` or `meta_objective`, an `init` of other than
        raw λ, an `epsilon` not above 0, `tasks_per_step` outside 1..T; from the update,
        where `params` or `meta_losses` is missing, `meta_losses` returns other than T
        losses, or the lookahead's step does not depend on its gradient.

    A λ that would become NaN or infinite stays as it was, its part of the state of
    `lambda_optimizer` too, and `skipped` counts it: one bad batch costs one step of λ.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> def losses(p, x):  # the second helps, the third is the first one's enemy
      ...     return jnp.sum((p - x)**2), jnp.sum(jnp.abs(p - x)), -jnp.sum((p - x)**2)
      >>> tx = optax.chain(
      ...     auxjax.scale_by_autolambda(
      ...         0.1, num_tasks=3, lambda_optimizer=optax.sgd(1.0)),
      ...     auxjax.sum_tasks(), optax.sgd(0.1))
      >>> params = jnp.zeros(2)
      >>> jac = auxjax.task_jacobian(losses, params, jnp.ones(2))
      >>> updates, state = tx.update(jac, tx.init(params), params,
      ...                            meta_losses=lambda p: losses(p, 0.9 * jnp.ones(2)))
      >>> [round(float(w), 2) for w in optax.tree.get(state, "weights")]
      [0.81, 0.46, -0.61]

    References:
      Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*, TMLR 2022, arXiv
      2202.03091: Eq. 4 to 7, "Swapping Training Data", "Stochastic Task Sampling".

    Paper and code:
      | | paper | released code | here |
      |---|---|---|---|
      | meta-gradient | Eq. 7, finite difference | the same, ε = 0.01/‖d‖ | exact |
      | λ's optimizer | SGD, Eq. 5 | Adam, 1e-4 (3e-5, 3e-4) | Adam, 1e-4 |
      | lookahead | SGD, Eq. 4 | momentum and weight decay | `autolambda` |
      | BatchNorm | | virtual passes move its statistics | they do not |
      | what is learned | λ | λ | `parametrisation="raw"`; the others are ours |
      | meta loss | sum of losses | the same | `meta_objective="loss"`; `"log"`: ours |
      | λ below 0 | allowed | | `clip_at_zero=False` |
    """
    settings = check(
        num_tasks=num_tasks,
        primary=primary,
        init=init,
        lambda_optimizer=lambda_optimizer,
        meta_gradient=meta_gradient,
        epsilon=epsilon,
        tasks_per_step=tasks_per_step,
        key=key,
        parametrisation=parametrisation,
        meta_objective=meta_objective,
        clip_at_zero=clip_at_zero,
    )
    ahead_of: Any = lookahead
    if callable(lookahead) or isinstance(lookahead, Number):
        ahead_of = optax.sgd(lookahead)  # type: ignore
    check_optimizer("lookahead", ahead_of)
    ahead_of = of_variables(ahead_of)

    def init_fn(params):
        return start(settings, ahead_of, params)

    def update_fn(
        updates,
        state,
        params=None,
        *,
        losses=None,
        meta_losses=None,
        task_mask=None,
        **extra_args,
    ):
        jac = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
        meta_losses = need_meta("scale_by_autolambda", params, meta_losses)
        jac, who = draw(settings, state, jac, task_mask)
        del extra_args  # they are the trained optimizer's, not the lookahead's
        ahead, state = learn(settings, ahead_of, jac, who, state, params, meta_losses)
        opt_state = unless_spoilt(ahead.opt_state, state.opt_state)
        state = state._replace(opt_state=opt_state)
        return jac.scale(state.weights).as_updates(), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
