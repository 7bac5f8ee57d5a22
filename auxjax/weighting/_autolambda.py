"""Auto-λ: weights that minimise the primary tasks' loss one step ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optax

from auxjax._types import Array, Key, Number
from auxjax.aggregation import sum_tasks
from auxjax.jacobian import as_jacobian, unless_spoilt
from auxjax.meta import of_variables
from auxjax.weighting._autolambda_step import (
    check,
    draw,
    learn,
    need_meta,
    start,
)
from auxjax.weighting._checks import check_optimizer


def scale_by_autolambda(
    lookahead: Number | optax.Schedule | optax.GradientTransformation = 0.1,
    *,
    num_tasks: int = 2,
    primary: int | Sequence[int] | str = 0,
    init: Number = 0.1,
    lambda_optimizer: optax.GradientTransformation | None = None,
    meta_gradient: str = "exact",
    epsilon: Number = 0.01,
    tasks_per_step: int | None = None,
    key: Key[Array, ""] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by λᵢ, learned from the loss one step ahead.

        θ′ = θ + u(Σᵢ λᵢ ∇Lᵢ(θ))                                         (Eq. 4)
        λ ← λ − β ∂M(θ′)/∂λ,   M = Σ_{i∈primary} Lᵢ on another batch     (Eq. 5)

    and the step itself is made with the new λ (Eq. 6). The meta-gradient is exact: the
    weighted gradient is linear in λ, so with d = ∇M(θ′) it is ⟨(∂u/∂g)ᵀd, ∇Lᵢ(θ)⟩, one
    tangent pass for all tasks and no Hessian. λ is neither clipped nor normalised.

    Here the optimizer that looks ahead is another than the one that trains, and its
    state follows the steps looked at. `autolambda` looks ahead with the real one.

    Args:
      lookahead: the step from θ to θ′: a learning rate or a schedule for plain SGD, or
        an Optax optimizer.
      num_tasks: T, main task included.
      primary: the tasks whose loss counts one step ahead: an index, several, or
        `"all"`. One of them is auxiliary learning, all of them multi-task learning.
      init: λ at the start, of every task.
      lambda_optimizer: how λ follows its gradient; None: `optax.adam(1e-4)`.
      meta_gradient: `"exact"` or `"finite_difference"` (the paper's Eq. 7, of about
        the same price, for comparison).
      epsilon: the finite difference's: how far the parameters are moved.
      tasks_per_step: K′: so many tasks, drawn anew in every step, look ahead and learn
        their λ; that of the others, its moments and their count of steps stay as they
        are, and the step itself is made with all. None: all. (In the paper this saves
        memory. The linear map costs the same for any number of tasks.)
      key: of the draws; None: `jax.random.key(0)`.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are λ `[T]`. The
      update needs `params`, and `meta_losses=`: a function of the parameters that
      returns all T losses on a second batch, as in
      `meta_losses=lambda p: losses(p, other_batch)`. Price beside equal weighting: one
      forward and two backward passes and a tangent pass, whatever T.

    Raises:
      ValueError: for num_tasks < 2, a primary task that is none, another
        `meta_gradient`, an `epsilon` not above 0, `tasks_per_step` outside 1..T; from
        the update, where `params` or `meta_losses` is missing, `meta_losses` returns
        other than T losses, or the lookahead's step does not depend on its gradient.

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


def autolambda(
    optimizer: optax.GradientTransformation,
    *,
    reuse_lookahead: bool = False,
    aggregator: optax.GradientTransformation | None = None,
    num_tasks: int = 2,
    primary: int | Sequence[int] | str = 0,
    init: Number = 0.1,
    lambda_optimizer: optax.GradientTransformation | None = None,
    meta_gradient: str = "exact",
    epsilon: Number = 0.01,
    tasks_per_step: int | None = None,
    key: Key[Array, ""] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Auto-λ around an optimizer, whose real state takes the step looked at.

    As `scale_by_autolambda`, with θ′ = θ + u(Σ λᵢ∇Lᵢ) the very step that the optimizer
    would make now: its momentum, Adam's moments, weight decay, clipping. Where
    `optax.chain(scale_by_autolambda(...), sum_tasks(), optimizer)` is wanted with all
    of that, write `autolambda(optimizer, ...)`.

    Args:
      optimizer: any Optax optimizer, gradient → update.
      reuse_lookahead: take θ′ as the step, so that λ acts one step later and one
        backward pass is saved.
      aggregator: how the scaled rows become the gradient of the step itself; None:
        their sum, `sum_tasks()`. The lookahead always takes the sum.
      num_tasks: T, main task included.
      primary: the tasks whose loss counts one step ahead.
      init: λ at the start, of every task.
      lambda_optimizer: how λ follows its gradient; None: `optax.adam(1e-4)`.
      meta_gradient: `"exact"` or `"finite_difference"`.
      epsilon: the finite difference's: how far the parameters are moved.
      tasks_per_step: so many tasks, drawn anew in every step, learn their λ; None: all.
      key: of the draws; None: `jax.random.key(0)`.

    Returns:
      A whole optimizer, Jacobian → update, which takes `meta_losses=` and `params` as
      `scale_by_autolambda` does; other extra arguments go to `optimizer`. About three
      times equal weighting, 2⅓ times with `reuse_lookahead`, whatever T.

    Raises:
      ValueError: as `scale_by_autolambda`; for `reuse_lookahead` with an aggregator,
        since the lookahead was not aggregated by it.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> def losses(p, x):
      ...     return jnp.sum((p - x) ** 2), jnp.sum(jnp.abs(p - x))
      >>> tx = auxjax.autolambda(optax.sgd(0.1, momentum=0.9))
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> jac = auxjax.task_jacobian(losses, params, jnp.ones(2))
      >>> updates, state = tx.update(jac, state, params,
      ...                            meta_losses=lambda p: losses(p, 0.9 * jnp.ones(2)))
      >>> [round(float(w), 4) for w in state.weights]  # Adam's first step: 1e-4 each
      [0.1001, 0.1001]

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, Eq. 4 to 7.
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
    )
    if reuse_lookahead and aggregator is not None:
        raise ValueError(
            "`reuse_lookahead` should be False with an `aggregator`. Found True: the "
            "step looked at is of the plain sum."
        )
    check_optimizer("optimizer", optimizer)
    train = of_variables(optimizer)
    aggregate = optax.with_extra_args_support(aggregator or sum_tasks())

    def init_fn(params):
        state = start(settings, train, params)
        return state._replace(aggregator_state=aggregate.init(params))

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
        meta_losses = need_meta("autolambda", params, meta_losses)
        if num_tasks == 2 and not reuse_lookahead:
            jac = jac.materialize()  # two rows are less than what follows
        jac, who = draw(settings, state, jac, task_mask)
        ahead, state = learn(
            settings, train, jac, who, state, params, meta_losses, **extra_args
        )
        if reuse_lookahead:
            return ahead.updates, state._replace(opt_state=ahead.opt_state)
        gradient, aggregator_state = aggregate.update(
            jac.scale(state.weights).as_updates(),
            state.aggregator_state,
            params,
            losses=jac.losses,
            task_mask=task_mask,
            **extra_args,
        )
        updates, opt_state = train.update(  # Eq. 6
            gradient, state.opt_state, params, **extra_args
        )
        return updates, state._replace(
            opt_state=opt_state, aggregator_state=aggregator_state
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
