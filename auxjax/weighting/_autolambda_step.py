"""What both forms of Auto-λ share: one step ahead, and one step of λ."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import LossFn, Number, Params
from auxjax.jacobian import Jacobian, check_task_mask, evaluate, task_jacobian
from auxjax.meta import (
    Lookahead,
    exact_meta_gradient,
    finite_difference_meta_gradient,
    lookahead,
)
from auxjax.weighting._build import at_fault, move, start_moments
from auxjax.weighting._checks import (
    check_among,
    check_at_least,
    check_finite,
    check_num_tasks,
    check_optimizer,
    check_positive,
    check_task_indices,
    weight_dtype,
)
from auxjax.weighting._lambdas import PARAMETRISATIONS, lambdas
from auxjax.weighting._tasks import is_positive, log_of


class AutoLambdaState(NamedTuple):
    """State of `scale_by_autolambda` and `autolambda`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float, λ; raw, of any sign
    meta_gradient: jax.Array  # [T] float, ∂M(θ′)/∂λ of the last update
    skipped: jax.Array  # [] int32, updates that would have made λ non-finite
    nonfinite: jax.Array  # [T] int32, how often a task was not finite
    lambda_state: Any  # of `lambda_optimizer`, one copy per task
    opt_state: Any  # of the optimizer that looks ahead
    aggregator_state: Any  # of `aggregator`; empty for `scale_by_autolambda`
    z: Any = None  # [T] float, what is learned in place of a raw λ; else None


@dataclasses.dataclass(frozen=True)
class Settings:
    """What both factories take, checked."""

    num_tasks: int
    primary: tuple[int, ...]
    init: Number
    lambda_optimizer: optax.GradientTransformation
    meta_gradient: str
    epsilon: Number
    tasks_per_step: int
    key: Any
    parametrisation: str
    meta_objective: str
    clip_at_zero: bool


def check(
    *,
    num_tasks: int,
    primary: int | Sequence[int] | str = 0,
    init: Number | None = None,
    lambda_optimizer: optax.GradientTransformation | None = None,
    meta_gradient: str = "exact",
    epsilon: Number = 0.01,
    tasks_per_step: int | None = None,
    key: Any = None,
    parametrisation: str = "raw",
    meta_objective: str = "loss",
    clip_at_zero: bool = False,
) -> Settings:
    """The settings, or a ValueError that says which of them cannot be."""
    check_num_tasks(num_tasks)
    check_among("parametrisation", parametrisation, PARAMETRISATIONS)
    check_among("meta_objective", meta_objective, ("loss", "log"))
    check_among("meta_gradient", meta_gradient, ("exact", "finite_difference"))
    if init is not None and parametrisation != "raw":
        raise ValueError(
            f'`init` should be None with `parametrisation="{parametrisation}"`, whose '
            f"λ are 1 at the start. Found {init}."
        )
    if init is None:
        init = 0.1 if parametrisation == "raw" else 1.0
    check_finite(init=init)
    check_positive(epsilon=epsilon)
    if lambda_optimizer is not None:
        check_optimizer("lambda_optimizer", lambda_optimizer)
    if tasks_per_step is None:
        tasks_per_step = num_tasks
    check_at_least("tasks_per_step", tasks_per_step, 1)
    if tasks_per_step > num_tasks:
        raise ValueError(
            f"`tasks_per_step` should be at most {num_tasks}, the number of tasks. "
            f"Found {tasks_per_step}."
        )
    return Settings(
        num_tasks=num_tasks,
        primary=_indices(primary, num_tasks),
        init=init,
        lambda_optimizer=lambda_optimizer or optax.adam(1e-4),
        meta_gradient=meta_gradient,
        epsilon=epsilon,
        tasks_per_step=tasks_per_step,
        key=key,
        parametrisation=parametrisation,
        meta_objective=meta_objective,
        clip_at_zero=clip_at_zero,
    )


def _indices(primary: int | Sequence[int] | str, num_tasks: int) -> tuple[int, ...]:
    """The primary tasks, each once."""
    if isinstance(primary, str):
        if primary != "all":
            raise ValueError(
                f'`primary` should be "all", an index or several. Found {primary!r}.'
            )
        return tuple(range(num_tasks))
    try:
        given = tuple(operator.index(index) for index in np.atleast_1d(primary))
    except TypeError as error:
        raise ValueError(
            f'`primary` should be "all", an index or several. Found {primary!r}.'
        ) from error
    if not given or len(set(given)) != len(given):
        raise ValueError(
            f"`primary` should hold at least one task, each once. Found {primary}."
        )
    check_task_indices("primary", given, num_tasks)
    return given


def need_meta(rule: str, params: Any, meta_losses: Any) -> LossFn:
    """`meta_losses`, or an error that says what the update was not given."""
    if params is None:
        raise ValueError(
            f"`{rule}` needs the parameters. Found None: write "
            "`tx.update(jac, state, params, meta_losses=...)`."
        )
    if meta_losses is None:
        raise ValueError(
            f"`{rule}` needs the losses on a second batch. Pass "
            "`meta_losses=lambda p: losses(p, other_batch)` to `update`."
        )
    if not callable(meta_losses):
        raise ValueError(
            "`meta_losses` should be a function of the parameters, as the losses are "
            f"taken one step ahead. Found {type(meta_losses).__name__}."
        )
    return meta_losses


def learn(
    settings: Settings,
    optimizer: optax.GradientTransformation,
    jac: Jacobian,
    who: tuple[jax.Array, jax.Array],
    state: AutoLambdaState,
    params: Params,
    meta_losses: LossFn,
    **extra_args: Any,
) -> tuple[Lookahead, AutoLambdaState]:
    """The step looked at, and the state with the new λ; `opt_state` is as it was."""
    present, drawn = who
    is_raw, among = settings.parametrisation == "raw", drawn > 0

    def of(z):
        return lambdas(settings.parametrisation, z, among, state.weights)

    z = state.weights if is_raw else state.z
    weights, chain = (z, None) if is_raw else jax.vjp(of, z)
    ahead = lookahead(  # Eq. 4
        jac, weights * drawn, optimizer, state.opt_state, params, **extra_args
    )
    meta = task_jacobian(
        lambda p: (_meta_loss(p, meta_losses, settings, jac),), ahead.params
    )
    d = meta.row(0)
    if settings.meta_gradient == "exact":
        slope = exact_meta_gradient(jac, ahead, d, where=meta.depends(0))
    else:
        slope = finite_difference_meta_gradient(jac, ahead, d, epsilon=settings.epsilon)
    slope = jnp.where(among, slope.astype(drawn.dtype), 0)
    z, lambda_state, kept_back = move(  # Eq. 5
        settings.lambda_optimizer,
        slope if chain is None else chain(slope)[0],
        state.lambda_state,
        z,
        among,
    )
    weights = of(z)
    if settings.clip_at_zero:
        weights = jnp.where(among, jnp.maximum(weights, 0), weights)
    if not is_raw:  # an exponential may be too large, and then all stays
        stays = ~jnp.all(jnp.isfinite(weights))
        old = (state.z, state.lambda_state, state.weights)
        new = (z, lambda_state, weights)
        kept = jax.tree.map(lambda a, b: jnp.where(stays, a, b), old, new)
        (z, lambda_state, weights) = kept
        kept_back = jnp.logical_or(kept_back, jnp.logical_and(among, stays))
    broken = kept_back
    if jac.losses is not None:
        bad_loss = jnp.logical_and(present, ~jnp.isfinite(jac.losses))
        broken = at_fault(bad_loss, kept_back)
    return ahead, state._replace(
        count=state.count + 1,
        weights=weights,
        z=None if is_raw else z,
        meta_gradient=slope,
        skipped=state.skipped + jnp.any(kept_back).astype(jnp.int32),
        nonfinite=state.nonfinite + broken.astype(jnp.int32),
        lambda_state=lambda_state,
    )


def _meta_loss(
    params: Params, meta_losses: LossFn, settings: Settings, jac: Jacobian
) -> jax.Array:
    """Σ_{i∈primary} Lᵢ, or log Lᵢ: the other tasks' losses are dead code."""
    names, values = evaluate(meta_losses, params, names=jac.names)
    if len(names) != jac.num_tasks:
        raise ValueError(
            f"`meta_losses` should return {jac.num_tasks} losses, one per task "
            f"({', '.join(jac.names)}). Found {len(names)} ({', '.join(names)})."
        )
    chosen = [values[i] for i in settings.primary]
    wide = weight_dtype(chosen)
    chosen = [x.astype(wide) for x in chosen]
    if settings.meta_objective == "log":  # where there is one
        chosen = [
            jnp.where(is_positive(x), log_of(x, is_positive(x)), x) for x in chosen
        ]
    return sum(chosen, jnp.zeros((), wide))


def draw(
    settings: Settings, state: AutoLambdaState, jac: Jacobian, task_mask: Any
) -> tuple[Jacobian, tuple[jax.Array, jax.Array]]:
    """The rows of the tasks that are present; who that is, and 1 or 0: who learns."""
    num_tasks, dtype = settings.num_tasks, state.weights.dtype
    drawn = jnp.ones(num_tasks, dtype)
    if settings.tasks_per_step < num_tasks:
        key = jax.random.key(0) if settings.key is None else settings.key
        order = jax.random.permutation(jax.random.fold_in(key, state.count), num_tasks)
        drawn = (order < settings.tasks_per_step).astype(dtype)
    present = check_task_mask(task_mask, num_tasks)
    if present is None:
        return jac, (jnp.ones(num_tasks, bool), drawn)
    return jac.mask(present), (present, drawn * present.astype(dtype))


def start(
    settings: Settings, optimizer: optax.GradientTransformation, params: Params
) -> AutoLambdaState:
    """The state before the first step."""
    weights = jnp.full(settings.num_tasks, settings.init, weight_dtype(params))
    return AutoLambdaState(
        count=jnp.zeros((), jnp.int32),
        weights=weights,
        meta_gradient=jnp.zeros_like(weights),
        skipped=jnp.zeros((), jnp.int32),
        nonfinite=jnp.zeros(settings.num_tasks, jnp.int32),
        lambda_state=start_moments(settings.lambda_optimizer, weights),
        opt_state=optimizer.init(params),
        aggregator_state=optax.EmptyState(),
        z=None if settings.parametrisation == "raw" else jnp.zeros_like(weights),
    )
