"""Either kind of Jacobian: what rules are given, and rows that are written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import ArrayLike, LossFn, Params, StackedGradients
from auxjax.jacobian._build import task_jacobian
from auxjax.jacobian._stacked import StackedJacobian
from auxjax.jacobian._task_jacobian import TaskJacobian

Jacobian = TaskJacobian | StackedJacobian


def as_jacobian(
    updates: Any,
    params: Params | None = None,
    *,
    num_tasks: int | None = None,
    losses: ArrayLike | None = None,
) -> Jacobian:
    """What a rule calls first: anything with a task axis, as a Jacobian.

    Args:
      updates: a `TaskJacobian`, or stacked gradients with leaves `[T, *param]` (or
        what a row transform made of them).
      params: the parameters, where the rule was given them; they make the check of
        the task axis exact.
      num_tasks: the T that the rule was built for; None: any.
      losses: `[T]`, for stacked gradients; a `TaskJacobian` has its own.

    Returns:
      A `TaskJacobian` or a `StackedJacobian`: the same methods either way.

    Raises:
      ValueError: where there is no task axis (a gradient that is already summed), or
        T is not `num_tasks`.
    """
    if isinstance(updates, TaskJacobian):
        _check_num_tasks(updates.num_tasks, num_tasks, updates.names)
        return updates
    scales = ()
    if isinstance(updates, StackedJacobian):
        scales = updates._scales
        known, updates = updates.losses, updates.grads
        losses = losses if known is None else known
    leading = _leading_axis(updates, params)
    _check_num_tasks(leading, num_tasks, None)
    if losses is not None:
        losses = jnp.asarray(losses)
        if losses.shape != (leading,):
            raise ValueError(
                f"`losses` should have shape ({leading},), one per task. "
                f"Found {losses.shape}."
            )
    return StackedJacobian(updates, losses, leading, _scales=scales)


def _check_num_tasks(found: int, expected: int | None, names: Any) -> None:
    if expected is not None and found != expected:
        who = f" ({', '.join(names)})" if names else ""
        raise ValueError(
            f"`num_tasks` should be {found}, the number of losses{who}, main task "
            f"included. Found {expected}. Pass `num_tasks={found}` to the rule."
        )


def _leading_axis(updates: Any, params: Params | None) -> int:
    """T, if every leaf is `[T, *param]`."""
    paths, treedef = jax.tree_util.tree_flatten_with_path(updates)
    if not paths:
        raise ValueError("`updates` should hold at least one gradient. Found none.")
    shapes = [tuple(np.shape(leaf)) for _, leaf in paths]
    tails: list[tuple[int, ...] | None] = [None] * len(shapes)
    if params is not None:
        if jax.tree.structure(params) != treedef:
            raise ValueError(
                "`updates` should be a TaskJacobian, or have the structure of the "
                f"parameters, {jax.tree.structure(params)}. Found {treedef}."
            )
        tails = [tuple(np.shape(p)) for p in jax.tree.leaves(params)]
    lead = shapes[0][0] if shapes[0] else 0
    for (path, _), shape, tail in zip(paths, shapes, tails, strict=True):
        right = bool(shape) and shape[0] == lead and tail in (None, shape[1:])
        if not right:
            expected = "[T, *param]" if tail is None else f"(T, {str(tail)[1:-1]})"
            raise ValueError(
                f"`updates` should have a leading task axis, {expected}, at "
                f"`{jax.tree_util.keystr(path)}`. Found shape {shape}: this looks like "
                "a gradient that is already summed over the tasks. Pass "
                "`auxjax.task_jacobian(losses, params, ...)`, or stacked gradients "
                "from `auxjax.task_grads(losses)(params, ...)`."
            )
    return lead


def task_grads(
    losses: LossFn,
    has_aux: bool = False,
    *,
    chunk_size: int | None = None,
    main: str | None = None,
) -> Callable[..., tuple[Any, StackedGradients]]:
    """Makes `f(params, *args) -> (losses, grads)` with one gradient per task, stacked.

    T backward passes and T times the parameters' memory: prefer
    `auxjax.task_jacobian`, which every rule accepts as well and most need no more
    of. A task's row never runs another task's decoder; tasks whose programs are alike
    are pulled back together by one `vmap`.

    Args:
      losses: as in `auxjax.task_jacobian`.
      has_aux: whether `losses` returns `(losses, aux)`.
      chunk_size: pull at most so many alike rows back at once; bounds the memory of
        the backward pass.
      main: the main task's name, as in `auxjax.task_jacobian`.

    Returns:
      A function like `jax.value_and_grad`'s: it returns the losses `[T]` (with
      `has_aux`, a pair of them and aux) and a pytree with leaves `[T, *param]`.

    Raises:
      ValueError: where `chunk_size` is less than 1, or a loss is no scalar.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> grads = auxjax.task_grads(lambda p: (jnp.sum(p**2), jnp.sum(p)))
      >>> grads(jnp.array([1.0, 2.0]))
      (Array([5., 3.], dtype=float32), Array([[2., 4.],
           [1., 1.]], dtype=float32))
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"`chunk_size` should be at least 1. Found {chunk_size}.")

    def f(params: Params, *args: Any):
        jac = task_jacobian(losses, params, *args, has_aux=has_aux, main=main)
        values = (jac.losses, jac.aux) if has_aux else jac.losses
        return values, jac.rows(chunk_size=chunk_size)

    return f
