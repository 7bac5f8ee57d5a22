"""Large batches in small pieces: every task's own gradient is accumulated."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Params
from auxjax.jacobian import as_jacobian, check_task_mask, counterpart, wide


class AccumulateState(NamedTuple):
    """State of `accumulate_tasks`."""

    mini_step: jax.Array  # [] int32, micro-batches seen since the last step
    rows: Any  # leaves [T, *param] float, the sum of their gradients; [0]: a constant
    losses: jax.Array  # [T] float, the sum of their losses
    counts: jax.Array  # [T] int32, in how many of them each task was present
    inner_state: Any  # of the accumulated transformation


def accumulate_tasks(
    inner: optax.GradientTransformation,
    every: int,
    *,
    num_tasks: int = 2,
    mean_over: str = "all",
) -> optax.GradientTransformationExtraArgs:
    r"""Takes a step every `every` micro-batches, with the mean of each task's gradient.

        J̄ = 1/k Σ_{j≤k} J_j,   u = inner(J̄)

    A rule that is not linear in the gradients (nearly all are not: gating, PCGrad,
    CAGrad, …) has to see the *tasks'* gradients of the whole batch.
    `optax.MultiSteps` around the optimizer accumulates updates after the rule, which
    is another method; around rule and optimizer it fails, since it keeps sums of the
    parameters' shape.

    **Absent tasks.** With `task_mask=` `[T]` (bool) in an update, the gradients and
    losses of that piece's absent tasks are left out of the sums, whatever they hold.
    The k-th update hands on who was there in any of the pieces. A piece without a task
    counts as one whose gradient is zero, as a batch's mean of a loss that is summed
    over the few labels would have it; `mean_over="present"` divides by the number of
    pieces in which the task was there instead.

    Args:
      inner: what takes the step: `optax.chain(rule, optimizer)`.
      every: k, how many micro-batches make one step.
      num_tasks: T, main task included.
      mean_over: `"all"` the pieces, or those in which a task was `"present"`.

    Returns:
      A transformation whose updates are zero but every k-th time. It stores T times
      the parameters. Rules inside see stacked gradients, which do not tell the shared
      parameters: pass `where=` to those that ask for them. Extra arguments of the k-th
      update are handed on, `losses=` is the mean of the k.

    Raises:
      ValueError: for `every` below 1 or another `mean_over`; from the update, for
        another number of tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = auxjax.accumulate_tasks(optax.chain(auxjax.gcs(), optax.sgd(1.0)), 2)
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> first = jnp.array([[2.0, 0.0], [-6.0, 0.0]])  # alone it would be turned off
      >>> second = jnp.array([[2.0, 0.0], [10.0, 2.0]])
      >>> updates, state = tx.update(first, state, params)
      >>> updates
      Array([0., 0.], dtype=float32)
      >>> updates, state = tx.update(second, state, params)
      >>> updates  # of the means [2, 0] and [2, 1]
      Array([-4., -1.], dtype=float32)
    """
    try:
        operator.index(every)
    except TypeError as error:
        raise ValueError(f"`every` should be an integer. Found {every!r}.") from error
    if every < 1:
        raise ValueError(f"`every` should be at least 1. Found {every}.")
    if mean_over not in ("all", "present"):
        raise ValueError(
            f'`mean_over` should be "all" or "present". Found {mean_over!r}.'
        )
    transform = optax.with_extra_args_support(inner)

    def init_fn(params):
        rows = _no_rows(params, num_tasks)
        dtype = wide(*(x.dtype for x in jax.tree.leaves(rows)))
        return AccumulateState(
            mini_step=jnp.zeros((), jnp.int32),
            rows=rows,
            losses=jnp.zeros(num_tasks, dtype),
            counts=jnp.zeros(num_tasks, jnp.int32),
            inner_state=transform.init(params),
        )

    def update_fn(
        updates, state, params=None, *, losses=None, task_mask=None, **extra_args
    ):
        jac = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
        mask = check_task_mask(task_mask, num_tasks)
        if mask is not None:
            jac = jac.mask(mask)
        present = jnp.ones(num_tasks, bool) if mask is None else mask
        own = jac.rows()
        rows = jax.tree.map(
            lambda a, x: a + x.astype(a.dtype) if _is_number(x) else a, state.rows, own
        )
        values = jnp.zeros(num_tasks) if jac.losses is None else jac.losses
        total = state.losses + values.astype(state.losses.dtype)
        counts = state.counts + present.astype(jnp.int32)
        step = state.mini_step + 1

        def mean(a):
            if mean_over == "all":
                return a / every
            pieces = jnp.maximum(counts, 1).reshape((-1,) + (1,) * (a.ndim - 1))
            return a / pieces.astype(a.dtype)

        def take():
            means = jax.tree.map(
                lambda a, x: mean(a).astype(x.dtype) if _is_number(x) else x, rows, own
            )
            more = dict(extra_args)
            if jac.losses is not None:
                more["losses"] = mean(total)
            if mask is not None:  # else all are there, in this piece at least
                more["task_mask"] = counts > 0
            return transform.update(means, state.inner_state, params, **more)

        is_last = step == every
        updates, inner_state = _only_if(is_last, take, state.inner_state)

        def restart(a):
            return jnp.where(is_last, jnp.zeros_like(a), a)

        return updates, AccumulateState(
            mini_step=restart(step),
            rows=jax.tree.map(restart, rows),
            losses=restart(total),
            counts=restart(counts),
            inner_state=inner_state,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _no_rows(params: Params, num_tasks: int) -> Any:
    """Zeros to which gradients are added, in single precision or better."""

    def zeros(x):
        if not _is_number(x):
            return jnp.zeros(0)
        x = jnp.asarray(x)
        dtype = counterpart(x, wide(x.dtype))
        return jnp.zeros((num_tasks, *x.shape), dtype)

    return jax.tree.map(zeros, params)


def _only_if(is_last: jax.Array, take: Callable[[], Any], inner_state: Any) -> Any:
    """The step, or one of zero. What is no number does not go through `lax.cond`."""
    like = jax.eval_shape(take)[0]
    leaves, treedef = jax.tree.flatten(like)
    moves = [_is_number(x) for x in leaves]

    def step():
        updates, state = take()
        pairs = zip(jax.tree.leaves(updates), moves, strict=True)
        return [x for x, moving in pairs if moving], state

    def wait():
        pairs = zip(leaves, moves, strict=True)
        return [jnp.zeros(x.shape, x.dtype) for x, moving in pairs if moving], (
            inner_state
        )

    updates, state = jax.lax.cond(is_last, step, wait)
    moved = iter(updates)
    full = [
        next(moved) if moving else np.zeros(x.shape, x.dtype)
        for x, moving in zip(leaves, moves, strict=True)
    ]
    return jax.tree.unflatten(treedef, full), state


def _is_number(x: Any) -> bool:
    """Whether a leaf has a gradient; integers, bools and keys are constants."""
    dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    return jnp.issubdtype(dtype, jnp.inexact)
