"""PSMGD: a rule's weights, found anew every k-th step and kept in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Number
from auxjax.aggregation._checks import check_integer, check_number
from auxjax.aggregation._ending import ending_in_weights, ends_in_weights
from auxjax.aggregation._seeds import anyone, own
from auxjax.jacobian import (
    Layout,
    as_jacobian,
    check_task_mask,
    leaf_weights,
    marked,
    scale_leaves,
    stays_finite,
    wide,
)


class PeriodicState(NamedTuple):
    """State of `periodic` and `cr_mogm`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float, kept: those of the leaves that the rule is about
    by_leaf: jax.Array  # [leaves, T] float, kept: of every leaf's rows
    known: jax.Array  # [T] bool, whose weights were found at least once
    inner_state: Any  # of the rule


def periodic(
    rule: optax.GradientTransformation,
    every: int,
    weights_ema: Number | Callable[[Any], Any] = 0.0,
    *,
    num_tasks: int = 2,
) -> optax.GradientTransformationExtraArgs:
    r"""Follows a rule's weights, which the rule finds anew every k-th step only.

        d = Σᵢ wᵢ∇Lᵢ,   w ← α w + (1 − α) ŵ  at steps 0, k, 2k, …,   ŵ: the rule's

    In the steps between it is one backward pass with the weights that are kept. If the
    rule costs p times equal weights, a step costs about 1 + p/k times on the average: p
    is about 10 for T = 40 on two cores, which makes it 2 for k = 10 and 1.5 for k = 20
    (`benchmarks/periodic.py`). With α = 0 every k-th step is the rule's own step.

    **Which rules.** Those that end in weights: the aggregators whose gradient is a
    combination of the rows (all but `graddrop`, `trimmed_mean`, and `moco` and
    `db_mtl`, which sum averages of the rows); the weightings by their short names
    (`gcs`, `dwa`, …) but `slgrad`, which weighs samples; row transforms with such an
    aggregator behind them in an `optax.chain`. Weights that a rule gives some leaves
    alone (`where=`, `groups=`; heads keep their own gradient) are kept leaf by leaf.
    What stands *before* `periodic` in a chain, `scale_by_…`, acts in every step; the
    optimizer belongs behind it.

    **What the rule remembers** changes when the rule runs, every k-th step: a horizon
    of n steps is one of n·k, a moving average sees every k-th gradient. The tasks have
    to be the same in every step: rows that are a batch's examples are not.

    **Absent tasks** (`task_mask=`) keep the weight that they have, and their rows are
    zero. A task that is there for the first time has none: the rule then runs at once,
    whatever step it is. A weight that would become NaN or infinite is passed on, so
    that `optax.apply_if_finite` sees it, but not kept.

    **Seeds under `vmap`.** A `lax.cond` whose condition is batched becomes a select,
    and every step would pay for both ways. Here seeds share one condition, whether any
    of them is at its k-th step: those that began together cost what one does.

    Args:
      rule: Jacobian → gradient.
      every: k.
      weights_ema: α, of the weights kept when new ones come in, in [0, 1], or a
        schedule of it over the count of updates. The first ones are taken as they are.
      num_tasks: T, main task included.

    Returns:
      An aggregator, Jacobian → gradient, whose state holds `weights` `[T]`. Price: one
      backward pass; every k-th step that of the rule and one more (the rows are not
      kept). Extra arguments are handed on to the rule.

    Raises:
      ValueError: for a rule that does not end in weights, `every` or `num_tasks` below
        1, α outside [0, 1]; from the update, for another number of tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.periodic(auxjax.mgda(), every=2)
      >>> state = tx.init(jnp.zeros(2))
      >>> first = jnp.array([[4.0, 0.0], [0.0, 2.0]])
      >>> d, state = tx.update(first, state)
      >>> [round(float(x), 3) for x in d]  # w = (0.2, 0.8)
      [0.8, 1.6]
      >>> d, state = tx.update(jnp.eye(2), state)  # the same w
      >>> [round(float(x), 3) for x in d]
      [0.2, 0.8]
      >>> d, state = tx.update(jnp.eye(2), state)
      >>> [round(float(x), 3) for x in d]
      [0.5, 0.5]

    References:
      Xu, Ju, Liu, Yang, *PSMGD: Periodic Stochastic Multi-Gradient Descent for Fast
      Multi-Objective Optimization*, AAAI 2025, arXiv 2412.10961 (abstract and released
      code). α: `cr_mogm`.

    Paper and code:
      | | released code | here |
      |---|---|---|
      | rule | MGDA, times T | any that ends in weights |
      | k | 8 | `every` |
      | heads | get the weights, too | as the rule has it: their own gradient |
      | α | in the log alone, the loss is made with ŵ | in the weights, 0 by default |
    """
    every = check_integer("every", every)
    num_tasks = check_integer("num_tasks", num_tasks)
    if not callable(weights_ema):
        check_number(
            "weights_ema", weights_ema, "in [0, 1]", lambda x: (x >= 0) & (x <= 1)
        )
    if not ends_in_weights(rule):
        raise ValueError(_refusal(rule))
    run = optax.with_extra_args_support(rule)

    def init_fn(params):
        return _start(params, num_tasks, run.init(params))

    @ending_in_weights
    def update_fn(
        updates,
        state,
        params=None,
        *,
        losses=None,
        task_mask=None,
        weights_since=None,
        **extra_args,
    ):
        jac = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
        mask = check_task_mask(task_mask, num_tasks)
        present = jnp.ones(num_tasks, bool) if mask is None else mask
        static: list[Any] = []  # what the rule says of the leaves while it is traced

        def find():
            given, mark = marked(jac)
            found: Any  # no updates, as Optax's types have it, but their weights
            found, inner_state = run.update(
                given.as_updates(),
                state.inner_state,
                params,
                losses=jac.losses,
                task_mask=mask,
                weights_since=mark,
                **extra_args,
            )
            static.append((found.group_of, found.main))
            new = found.by_leaf.astype(state.by_leaf.dtype)
            used, kept, known = _take_in(state, new, present, weights_ema)
            return used, kept, known, inner_state

        def keep():
            return state.by_leaf, state.by_leaf, state.known, state.inner_state

        if every == 1:
            used, kept, known, inner_state = find()
        else:
            unknown = jnp.any(jnp.logical_and(present, jnp.logical_not(state.known)))
            due = jnp.logical_or(state.count % every == 0, unknown)
            used, kept, known, inner_state = jax.lax.cond(
                anyone(due), lambda: own(due, find(), keep()), keep
            )
        if not static:  # without `jit` a branch that is not taken is not looked at
            jax.eval_shape(find)
        group_of, main = static[0]
        new_state = PeriodicState(
            count=state.count + 1,
            weights=kept[group_of.index(main)],
            by_leaf=kept,
            known=known,
            inner_state=inner_state,
        )
        jac = jac if mask is None else jac.mask(mask)
        return _weigh(jac, used, group_of, weights_since), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _start(params: Any, num_tasks: int, inner_state: Any) -> PeriodicState:
    """Nothing is known yet."""
    layout = Layout(params)
    leaves = [layout.dtypes[leaf] for leaf in layout.differentiable]
    ones = jnp.ones(num_tasks, wide(*leaves))
    return PeriodicState(
        count=jnp.zeros((), jnp.int32),
        weights=ones,
        by_leaf=jnp.ones((len(leaves), num_tasks), ones.dtype),
        known=jnp.zeros(num_tasks, bool),
        inner_state=inner_state,
    )


def _weigh(jac: Any, used: jax.Array, group_of: Any, weights_since: Any) -> Any:
    """The gradient Σ wᵢ∇Lᵢ; or, for who asks (`weights_since`), the weights."""
    if weights_since is not None:
        weights = {g: used[group_of.index(g)] for g in dict.fromkeys(group_of)}
        return leaf_weights(jac, weights_since, weights, group_of)
    return scale_leaves(jac, used, group_of).vjp(jnp.ones(jac.num_tasks))


def _take_in(state: PeriodicState, new: jax.Array, present: jax.Array, ema: Any):
    """The weights of this step and those that are kept, both `[leaves, T]`."""
    old = state.by_leaf
    alpha = ema(state.count) if callable(ema) else ema
    alpha = jnp.asarray(alpha, old.dtype)
    mixed = alpha * old + (1.0 - alpha) * new
    used = jnp.where(state.known[None], mixed, new)
    sound = jnp.all(stays_finite(used, old), axis=0)
    takes = jnp.logical_and(present, sound)
    return used, jnp.where(takes[None], used, old), jnp.logical_or(state.known, takes)


def _refusal(rule: Any) -> str:
    found = getattr(getattr(rule, "update", None), "__qualname__", repr(rule))
    return (
        "`rule` should end in weights, so that its gradient is Σ wᵢ∇Lᵢ: an aggregator "
        "other than `db_mtl`, `graddrop`, `moco` and `trimmed_mean` (`upgrad()`, "
        "`mgda()`, `cagrad()`, `nash_mtl()`, …), a weighting by its short name "
        "(`gcs()`, `dwa()`, …; not `slgrad()`), or row transforms with such an "
        "aggregator behind them in an `optax.chain`. An optimizer belongs behind "
        "`periodic`. Found "
        f"{found.split('.')[0]!r}."
    )
