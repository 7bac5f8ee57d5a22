"""What every weighting does alike: absent tasks, bad batches, the weights' optimizer.

A task that is absent, or whose loss or gradient is NaN or infinite, adds nothing to
what a rule remembers, and what it remembers of that task stays as it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from auxjax._optax import with_mixed_dtypes
from auxjax.aggregation import making_rows
from auxjax.jacobian import Jacobian, as_jacobian, check_task_mask, stays_finite


def row_transform(
    init_fn: Callable[[Any], Any],
    rule: Callable[..., tuple[Any, Any]],
    *,
    num_tasks: int | None = None,
    makes_rows: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """A row transform, Jacobian → Jacobian, of what is the rule's own.

    With `task_mask=` `[T]` (bool) in the update, the rows of absent tasks are zero,
    whatever they held, and what the state holds for them stays as it was: every field
    of shape `[T, ...]`.

    A task whose loss is not finite is passed on as it is, so that whoever stands behind
    the aggregator (`optax.apply_if_finite`, a loss scale) sees it; but it counts as
    absent in all that is remembered, and `nonfinite` counts how often that was.

    Args:
      init_fn: `init(params) -> state`, a NamedTuple with `weights` `[T]`, whose field
        `nonfinite` is left to this function.
      rule: `rule(jac, state, *, ...) -> (weights, state)`: from the Jacobian, masked,
        and the last state to weights `[T]` that the rows are scaled by, and the next
        state, whose `nonfinite` may hold `[T]` bools: the tasks that the rule found not
        to be finite by itself. A Jacobian in place of the weights is handed on as it
        is. Behind the star the rule names what it needs:

        | name | what it is |
        |---|---|
        | `params` | the parameters, or None |
        | `task_mask` | `[T]` bools, or None |
        | `present` | `[T]` bools, that mask or all |
        | `counted` | `[T]` bools, those present whose loss is finite where known |
        | any other | the update's extra argument, or None where it was not given |

      num_tasks: the T that the rule was built for; None: any.
      makes_rows: whether the rule hands on other rows than those it was given, scaled.
    """
    wanted = list(inspect.signature(rule).parameters)[2:]

    def init(params):
        state = init_fn(params)
        if hasattr(state, "weights"):
            count = jnp.zeros(state.weights.shape, jnp.int32)
            state = state._replace(nonfinite=count)
        # No buffer twice, and none of the user's: a step may donate its state.
        return jax.tree.map(jnp.copy, state)

    def update(updates, state, params=None, *, task_mask=None, **extra_args):
        losses = extra_args.get("losses")
        jac = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
        mask = check_task_mask(task_mask, jac.num_tasks)
        present = jnp.ones(jac.num_tasks, bool) if mask is None else mask
        jac = jac if mask is None else jac.mask(mask)
        counted = present
        if jac.losses is not None:
            counted = jnp.logical_and(present, jnp.isfinite(jac.losses))
        known = {**extra_args, "params": params, "task_mask": mask}
        known |= {"present": present, "counted": counted}
        scaled, after = rule(jac, state, **{name: known.get(name) for name in wanted})
        if not isinstance(scaled, Jacobian):
            scaled = jac.scale(scaled)
        return scaled.as_updates(), _settle(after, state, present, counted)

    update = making_rows(update) if makes_rows else update
    return optax.GradientTransformationExtraArgs(init, update)


def _settle(new: Any, old: Any, present: jax.Array, counted: jax.Array) -> Any:
    """The new state, with the old entries of absent tasks and where NaN came in."""
    if not hasattr(old, "weights"):
        return new  # a state that keeps nothing of single tasks
    bad_loss = jnp.logical_and(present, jnp.logical_not(counted))
    spoilt = jnp.zeros_like(bad_loss) if new.nonfinite is None else new.nonfinite
    fields = {}
    for name in new._fields:
        after, before = getattr(new, name), getattr(old, name)
        is_of_tasks = isinstance(after, jax.Array) and after.shape[:1] == present.shape
        if is_of_tasks and name != "nonfinite":
            sound = stays_finite(after, before)
            takes = jnp.logical_and(over_tasks(present, after), sound)
            fields[name] = jnp.where(takes, after, before)
            spoilt = jnp.logical_or(spoilt, ~rowwise_all(sound))
    spoilt = jnp.logical_and(spoilt, present)
    broken = at_fault(bad_loss, spoilt).astype(jnp.int32)
    return new._replace(**fields, nonfinite=old.nonfinite + broken)


def at_fault(bad_loss: jax.Array, spoilt: jax.Array) -> jax.Array:
    """Who is counted `[T]`: a loss that is not finite explains what else went wrong."""
    return jnp.where(jnp.any(bad_loss), bad_loss, spoilt)


def over_tasks(among: jax.Array, like: Any) -> jax.Array:
    """`among` `[T]` with axes of length 1 behind it, to meet an array `[T, ...]`."""
    return among.reshape((-1,) + (1,) * (jnp.ndim(like) - 1))


def start_moments(optimizer: optax.GradientTransformation, x: jax.Array) -> Any:
    """The state of an optimizer that moves weights `[T]`: one copy per task.

    An optimizer keeps numbers of all its parameters together (Adam counts its steps); a
    task that is absent now and then needs its own. Leaves are `[T, ...]`.
    """
    return jax.vmap(optimizer.init, in_axes=None, axis_size=x.shape[0])(x)


def move(
    optimizer: optax.GradientTransformation,
    slope: jax.Array,
    state: Any,
    x: jax.Array,
    among: jax.Array,
) -> tuple[jax.Array, Any, jax.Array]:
    """One step on weights `[T]`, of the tasks `among` whose slope is finite.

    Copy i of the optimizer is shown the slopes of all of them (the others' are 0),
    makes its step for task i, and stays as it was where task i does not move.

    Args:
      optimizer: what moves the weights.
      slope: `[T]`.
      state: from `start_moments`.
      x: the weights `[T]`.
      among: `[T]` (bool).

    Returns:
      The new weights and state; and `[T]` bools: the tasks `among` that did not move,
      as a number of theirs would not have stayed finite.
    """
    usable = jnp.logical_and(among, jnp.isfinite(slope))
    slope = jnp.where(usable, slope, jnp.zeros_like(slope))
    learn = with_mixed_dtypes(optimizer).update
    steps, after = jax.vmap(lambda own: learn(slope, own, x), axis_size=x.shape[0])(
        state
    )
    moved = x + jnp.diagonal(jnp.asarray(steps))
    sound = [stays_finite(moved, x)]
    for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        sound.append(rowwise_all(stays_finite(new, old)))
    takes = jnp.logical_and(usable, jnp.all(jnp.stack(sound), axis=0))

    def choose(new, old):
        return jnp.where(over_tasks(takes, new), new, old)

    state = jax.tree.map(choose, after, state)
    return choose(moved, x), state, jnp.logical_and(among, ~takes)


def rowwise_all(flags: jax.Array) -> jax.Array:
    """`[T, ...]` bools to `[T]`."""
    return jnp.all(flags, axis=tuple(range(1, flags.ndim)))
