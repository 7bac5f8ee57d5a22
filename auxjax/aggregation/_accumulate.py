"""Large batches in small pieces: every task's own gradient is accumulated."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax.jacobian import as_jacobian, wide


class AccumulateState(NamedTuple):
    """State of `accumulate_tasks`."""

    mini_step: jax.Array  # [] int32, micro-batches seen since the last step
    rows: Any  # leaves [T, *param] float, the sum of their gradients
    losses: jax.Array  # [T] float, the sum of their losses
    inner_state: Any  # of the accumulated transformation


def accumulate_tasks(
    inner: optax.GradientTransformation, every: int, *, num_tasks: int = 2
) -> optax.GradientTransformationExtraArgs:
    r"""Takes a step every `every` micro-batches, with the mean of each task's gradient.

        J̄ = 1/k Σ_{j≤k} J_j,   u = inner(J̄)

    A rule that is not linear in the gradients (nearly all are not: gating, PCGrad,
    CAGrad, …) has to see the *tasks'* gradients of the whole batch.
    `optax.MultiSteps` around the optimizer accumulates updates after the rule, which
    is another method; around rule and optimizer it fails, since it keeps sums of the
    parameters' shape.

    Args:
      inner: what takes the step: `optax.chain(rule, optimizer)`.
      every: k, how many micro-batches make one step.
      num_tasks: T, main task included.

    Returns:
      A transformation whose updates are zero but every k-th time. It stores T times
      the parameters. Rules inside see stacked gradients, which do not tell the shared
      parameters: pass `where=` to those that ask for them. Extra arguments of the k-th
      update are handed on, `losses=` is the mean of the k.

    Raises:
      ValueError: for `every` below 1; from the update, for another number of tasks.

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
    transform = optax.with_extra_args_support(inner)

    def init_fn(params):
        def zeros(x):
            dtype = wide(jnp.result_type(x))
            return jnp.zeros((num_tasks, *jnp.shape(x)), dtype)

        rows = jax.tree.map(zeros, params)
        dtype = wide(*(x.dtype for x in jax.tree.leaves(rows)))
        return AccumulateState(
            mini_step=jnp.zeros((), jnp.int32),
            rows=rows,
            losses=jnp.zeros(num_tasks, dtype),
            inner_state=transform.init(params),
        )

    def update_fn(updates, state, params=None, *, losses=None, **extra_args):
        jac = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
        own = jac.rows()
        rows = jax.tree.map(lambda a, x: a + x.astype(a.dtype), state.rows, own)
        values = jnp.zeros(num_tasks) if jac.losses is None else jac.losses
        total = state.losses + values.astype(state.losses.dtype)
        step = state.mini_step + 1

        def take():
            mean = jax.tree.map(lambda a, x: (a / every).astype(x.dtype), rows, own)
            if jac.losses is not None:
                extra_args["losses"] = total / every
            return transform.update(mean, state.inner_state, params, **extra_args)

        def wait():
            like = jax.eval_shape(take)[0]
            zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
            return zero, state.inner_state

        is_last = step == every
        updates, inner_state = jax.lax.cond(is_last, take, wait)
        return updates, AccumulateState(
            mini_step=jnp.where(is_last, 0, step),
            rows=jax.tree.map(lambda a: jnp.where(is_last, 0, a), rows),
            losses=jnp.where(is_last, 0, total),
            inner_state=inner_state,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
