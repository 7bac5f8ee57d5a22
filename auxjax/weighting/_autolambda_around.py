"""Auto-λ around an optimizer: the step looked at is the real one."""

from __future__ import annotations

from collections.abc import Sequence

import optax

from auxjax._types import Array, Key, Number
from auxjax.aggregation import sum_tasks
from auxjax.jacobian import as_jacobian
from auxjax.meta import of_variables
from auxjax.weighting._autolambda_step import check, draw, learn, need_meta, start
from auxjax.weighting._checks import check_optimizer


def autolambda(
    optimizer: optax.GradientTransformation,
    *,
    reuse_lookahead: bool = False,
    aggregator: optax.GradientTransformation | None = None,
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
      init: λ at the start, of every task; None: 0.1, with raw ones.
      lambda_optimizer: how λ follows its gradient; None: `optax.adam(1e-4)`.
      meta_gradient: `"exact"` or `"finite_difference"`.
      epsilon: the finite difference's: how far the parameters are moved.
      tasks_per_step: so many tasks, drawn anew in every step, learn their λ; None: all.
      key: of the draws; None: `jax.random.key(0)`.
      parametrisation: `"raw"`, `"softmax"` or `"exp"`.
      meta_objective: `"loss"` or `"log"`, of the primary tasks.
      clip_at_zero: keep λ at or above 0.

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
        parametrisation=parametrisation,
        meta_objective=meta_objective,
        clip_at_zero=clip_at_zero,
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
