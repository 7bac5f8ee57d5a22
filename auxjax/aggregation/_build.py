"""How an aggregator is made of the few lines that are its paper's own.

The rows of the shared parameters are written down once and handed to the method, which
returns one gradient; parameters that a single task owns (its head) keep the plain sum
of the rows, which is that task's own gradient, as the papers have it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Mask, Params
from auxjax.aggregation._ending import ending_in_weights
from auxjax.jacobian import (
    Jacobian,
    as_dtype,
    as_jacobian,
    as_real,
    check_task_mask,
    labels_of,
    layout_of,
    leaf_gramians,
    leaf_weights,
    marked,
    needs_no_rows,
    scale_leaves,
    unless_spoilt,
    wide,
)

Leaves = Sequence[jax.Array]
"""The rows of some leaves, each `[T, *param]`."""

Groups = str | Any | Callable[[Params], Any] | None
"""Which leaves are aggregated together: None: all; `"leaf"`: each one alone; a pytree
of labels that is a prefix of the parameters, or a function that makes one from them."""


def from_weights(
    weights: Callable[[jax.Array, jax.Array | None], jax.Array],
    *,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    """An aggregator Σ wᵢ∇Lᵢ whose weights follow from the Gramian.

    Args:
      weights: from the Gramian `[T, T]`, in float32 or better, and the task mask `[T]`
        (bool; None: all tasks are present) to w `[T]`. The weights of absent tasks are
        made 0 afterwards.
      where: the shared parameters; None: found by themselves.
      groups: which of them are aggregated together, each group with its own Gramian.
    """

    def weigh(gramian, present, state, losses):
        del losses
        return weights(gramian, present), state

    return from_gramian(weigh, where=where, groups=groups)


def from_gramian(
    weigh: Callable[..., tuple[jax.Array, Any]],
    *,
    init_group: Callable[[int], Any] = lambda _: (),
    where: Mask | None = None,
    groups: Groups = None,
    num_tasks: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """An aggregator Σ wᵢ∇Lᵢ that remembers something.

    Args:
      weigh: `weigh(gramian, present, state, losses) -> (weights, state)`: as `weights`
        in `from_weights`, with the group's state and the losses `[T]` or None. With
        `other_batches` the Gramian is that of all rows, `[B T, B T]`.
      init_group: from the number of a group to its first state.
      where: the shared parameters; None: found by themselves.
      groups: which of them are aggregated together.
      num_tasks: T, where the state's shape depends on it; None: any.

    Returns:
      As `from_rows`; the update says its weights instead, to whom asks by a mark. Of
      losses whose Gramian needs no rows none are written down.
    """

    def reduce(leaves, present, state, losses):
        w, state = weigh(gramian_of(leaves), present, state, losses)
        first = [leaf[: w.shape[0]] for leaf in leaves]
        return weighted_sum(w, first, present), state

    aggregator = from_rows(
        reduce,
        init_group=init_group,
        where=where,
        groups=groups,
        num_tasks=num_tasks,
    )

    def weights_of(jac, present, params, state, mark):
        """Each leaf's weights by the Gramian alone, and the next state."""
        gramians = leaf_gramians(jac, _shared(jac, where))
        labels = _labels(groups, params if params is not None else jac.row(0))
        owners = [
            None if gramian is None else (label,)
            for gramian, label in zip(gramians, labels, strict=True)
        ]
        new_state, weights = list(state), {}
        for number, label in enumerate(dict.fromkeys(labels)):
            own = [
                g for g, who in zip(gramians, owners, strict=True) if who == (label,)
            ]
            if own:
                w, after = weigh(_total(own), present, state[number], jac.losses)
                new_state[number] = unless_spoilt(after, state[number])
                if present is not None:
                    w = jnp.where(present, w, jnp.zeros_like(w))
                weights[(label,)] = w
        owners = [owners[leaf] for leaf in layout_of(jac).differentiable]
        return leaf_weights(jac, mark, weights, owners), tuple(new_state)

    @ending_in_weights
    def update_fn(updates, state, params=None, *, weights_since=None, **extra_args):
        jac, present = _of_the_update(updates, params, num_tasks, **extra_args)
        others = extra_args.get("other_batches")
        if weights_since is not None:
            if others:
                raise ValueError(
                    "A rule inside `periodic` or `cr_mogm` should be given one "
                    f"Jacobian. Found {len(others)} more."
                )
            return weights_of(jac, present, params, state, weights_since)
        if others or not needs_no_rows(jac, _shared(jac, where)):
            return aggregator.update(updates, state, params, **extra_args)
        here, mark = marked(jac)
        found, state = weights_of(here, present, params, state, mark)
        weighted = scale_leaves(jac, found.by_leaf, found.group_of)
        return weighted.vjp(jnp.ones(jac.num_tasks)), state

    return optax.GradientTransformationExtraArgs(aggregator.init, update_fn)


def from_rows(
    reduce: Callable[..., tuple[Leaves, Any]],
    *,
    init_group: Callable[[int], Any] = lambda _: (),
    where: Mask | None = None,
    groups: Groups = None,
    num_tasks: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """An aggregator that looks at the rows themselves.

    Args:
      reduce: `reduce(leaves, present, state, losses) -> (gradients, state)`: from the
        rows of one group (a list of `[T, *param]`, real: a complex parameter has a last
        axis of two; those of absent tasks are 0), the task mask `[T]` or None, the
        group's state, and the losses `[T]` or None, to one gradient per leaf.
      init_group: from the number of a group to its first state.
      where: the shared parameters; None: found by themselves.
      groups: which of them are aggregated together.
      num_tasks: T, where the state's shape depends on it; None: any.

    Returns:
      An aggregating transformation; its state is a tuple, one entry per group, which
      stays as it was in a step that would put a NaN or an infinity into it. Its update
      takes `other_batches=`, Jacobians of the same tasks whose rows `reduce` sees below
      the first ones.
    """

    def init_fn(params):
        labels = _labels(groups, params)
        return tuple(init_group(i) for i in range(len(dict.fromkeys(labels))))

    def update_fn(updates, state, params=None, *, other_batches=(), **extra_args):
        jac, present = _of_the_update(updates, params, num_tasks, **extra_args)
        mask = _shared(jac, where)
        rows = jac.leaf_rows(mask)
        for other in other_batches:
            below = zip(rows, other.leaf_rows(mask), strict=True)
            rows = [None if x is None else jnp.concatenate([x, y]) for x, y in below]
        labels = _labels(groups, params if params is not None else jac.row(0))
        grads: list[Any] = list(rows)
        if any(x is None for x in rows):  # they keep the plain sum
            grads = jax.tree.leaves(jac.vjp(jnp.ones(jac.num_tasks)))
        new_state = list(state)
        for number, label in enumerate(dict.fromkeys(labels)):
            own = {
                i: x for i, x in enumerate(rows) if x is not None and labels[i] == label
            }
            if own:
                leaves = [as_real(x) for x in own.values()]
                aggregated, after = reduce(leaves, present, state[number], jac.losses)
                new_state[number] = unless_spoilt(after, state[number])
                for (i, x), grad in zip(own.items(), aggregated, strict=True):
                    grads[i] = as_dtype(grad, x.dtype)
        return jax.tree.unflatten(jac.structure, grads), tuple(new_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _shared(jac: Jacobian, where: Mask | None) -> Mask:
    """The leaves that are aggregated."""
    return jac.shared_mask() if where is None else where


def _total(gramians: Sequence[Any]) -> jax.Array:
    """Their sum, in the widest dtype."""
    dtype = wide(*(g.dtype for g in gramians))
    return functools.reduce(jnp.add, [g.astype(dtype) for g in gramians])


def _of_the_update(
    updates, params, num_tasks, *, losses=None, task_mask=None, **others
) -> tuple[Jacobian, jax.Array | None]:
    """What the update was given as a Jacobian, masked; and the mask `[T]` or None."""
    del others
    jac = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
    present = check_task_mask(task_mask, jac.num_tasks)
    return (jac if present is None else jac.mask(present)), present


def gramian_of(leaves: Leaves) -> jax.Array:
    """J Jᵀ `[T, T]` of some rows, in float32 or better."""
    num_tasks = leaves[0].shape[0]
    dtype = wide(*(leaf.dtype for leaf in leaves))
    total = jnp.zeros((num_tasks, num_tasks), dtype)
    for leaf in leaves:
        flat = leaf.reshape(num_tasks, -1).astype(dtype)
        total += jnp.matmul(flat, flat.T, precision="highest")
    return total


def weighted_sum(
    weights: jax.Array, leaves: Leaves, present: jax.Array | None = None
) -> list[jax.Array]:
    """Σ wᵢ∇Lᵢ, leaf by leaf; absent tasks count nothing."""
    if present is not None:
        weights = jnp.where(present, weights, jnp.zeros_like(weights))

    def contract(leaf):
        dtype = wide(leaf.dtype)
        flat = leaf.reshape(leaf.shape[0], -1).astype(dtype)
        total = jnp.matmul(weights.astype(dtype), flat, precision="highest")
        return total.reshape(leaf.shape[1:]).astype(leaf.dtype)

    return [contract(leaf) for leaf in leaves]


def _labels(groups: Groups, params: Params) -> list[Hashable]:
    """One label for each leaf of the parameters."""
    if groups is None:
        return [None] * len(jax.tree.leaves(params))
    if isinstance(groups, str):
        if groups != "leaf":
            raise ValueError(
                '`groups` should be None, "leaf", a pytree of labels or a function. '
                f"Found {groups!r}."
            )
        return list(range(len(jax.tree.leaves(params))))
    tree = labels_of(groups, params)
    try:
        full = jax.tree.map(
            lambda label, part: jax.tree.map(lambda _: label, part), tree, params
        )
    except ValueError as error:
        raise ValueError(
            "`groups` should be a pytree of labels that is a prefix of the parameters. "
            f"Found {jax.tree.structure(tree)} for {jax.tree.structure(params)}."
        ) from error
    return jax.tree.leaves(full)
