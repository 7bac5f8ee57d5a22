"""DB-MTL: gradients of the logarithms, averaged, and all as long as the longest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Mask, Number
from auxjax.aggregation._build import weighted_sum
from auxjax.aggregation._checks import check_integer, check_number
from auxjax.jacobian import (
    Jacobian,
    Layout,
    as_dtype,
    as_jacobian,
    as_real,
    check_task_mask,
    wide,
)


class DBMTLState(NamedTuple):
    """State of `db_mtl`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float, α/‖ĝᵢ‖ of the last update
    averages: Any  # ĝ: for each leaf [T, *param] float, or None; empty without `beta`


def db_mtl(
    num_tasks: int = 2,
    *,
    beta: Number | Callable[[Any], Any] = 0.9,
    log: bool = True,
    eps: Number = 1e-8,
    where: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Balances the losses by logarithms, and the gradients by the longest of them.

        gᵢ = ∇ log(Lᵢ + ε)
        ĝᵢ ← β ĝᵢ + (1 − β) gᵢ                                           (Eq. 1)
        d = α Σᵢ ĝᵢ / (‖ĝᵢ‖ + ε),   α = maxᵢ ‖ĝᵢ‖                        (Eq. 2)

    on the shared parameters; a head gets its task's own gᵢ. The step is long while any
    task has far to go, and every task has the same share in it.

    A loss at or below −ε (or NaN, or infinite) has no logarithm: its gradient is taken
    as it is in that step. A task that is absent (`task_mask=`) adds nothing, and its
    average stays; so it does where a number of the gradient is not finite, which is
    passed on all the same.

    Args:
      num_tasks: T, main task included.
      beta: β, in [0, 1), or a schedule of it over the count of updates. A plain 0 needs
        no memory.
      log: take logarithms; False: of the losses as they are, which nobody has to know.
      eps: ε.
      where: the shared parameters, as in `optax.masked`; None: those that at least
        two losses depend on.

    Returns:
      An aggregator, Jacobian → gradient; its state's `weights` are `[T]`. Price: T
      backward passes; with `beta` it keeps T times the parameters (those in `where`).
      Stacked gradients need `losses=` `[T]` as an extra argument of the update.

    Raises:
      ValueError: for β outside [0, 1), ε < 0; from the update, for another number of
        tasks, or where the losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.db_mtl(beta=0.0)
      >>> grads = jnp.array([[3.0, 0.0], [0.0, 40.0]])
      >>> state = tx.init(jnp.zeros(2))
      >>> d, state = tx.update(grads, state, losses=jnp.array([1.0, 10.0]))
      >>> [round(float(x), 3) for x in d]  # of lengths 3 / 1 and 40 / 10
      [4.0, 4.0]

    References:
      Lin, Jiang, Ye, Zhang, Chen, Chen, Liu, Tsang, Kwok, *Dual-Balancing for
      Multi-Task Learning*, arXiv 2308.12029: Algorithm 1, Eq. 1 and 2.

    Paper and code:
      | | Algorithm 1 | LibMTL | here |
      |---|---|---|---|
      | β | constant, or β / √k | β / k^σ, k = 1, 2, … | `beta=`, a number or schedule |
      | ĝ at first | 0 | 0 | 0 |
      | heads | ∇ log L | ∇ log L | ∇ log L |

      `beta=lambda k: 0.9 / (k + 1) ** 0.5` is the last of the paper's grid.
    """
    num_tasks = check_integer("num_tasks", num_tasks)
    check_number("eps", eps, "finite and at least 0", lambda x: 0 <= x < float("inf"))
    if not callable(beta):
        check_number("beta", beta, "in [0, 1)", lambda x: (x >= 0) & (x < 1))
    remembers = callable(beta) or isinstance(beta, jax.Array) or beta != 0

    def init_fn(params):
        layout = Layout(params)
        dtype = wide(*(layout.dtypes[i] for i in layout.differentiable))
        wanted = dict(zip(layout.differentiable, layout.mask(where), strict=True))

        def zeros(leaf):
            if not remembers or not wanted.get(leaf, False):
                return None
            like = as_real(jnp.zeros(layout.shapes[leaf], layout.dtypes[leaf]))
            return jnp.zeros((num_tasks, *like.shape), dtype)

        return DBMTLState(
            count=jnp.zeros((), jnp.int32),
            weights=jnp.ones(num_tasks, dtype),
            averages=[zeros(leaf) for leaf in range(len(layout.shapes))],
        )

    def update_fn(
        updates, state, params=None, *, losses=None, task_mask=None, **extra_args
    ):
        del extra_args
        jac = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
        present = check_task_mask(task_mask, num_tasks)
        jac = jac if present is None else jac.mask(present)
        jac = _of_logarithms(jac, eps) if log else jac
        rows = jac.leaf_rows(jac.shared_mask() if where is None else where)
        dtypes = {i: x.dtype for i, x in enumerate(rows) if x is not None}
        shared = list(dtypes)

        decay = beta(state.count) if callable(beta) else beta
        old = [state.averages[i] for i in shared]
        new = [
            _follow(average, as_real(rows[i]), decay)
            for i, average in zip(shared, old, strict=True)
        ]
        here = jnp.ones(num_tasks, bool) if present is None else present
        weights = _as_long_as_the_longest(new, here, eps, state.weights.dtype)
        summed = weighted_sum(weights, new, present)  # Eq. 2

        grads: list[Any] = [None] * len(rows)
        if len(shared) < len(rows):  # heads, and what has no gradient
            grads = jax.tree.leaves(jac.vjp(jnp.ones(num_tasks)))
        averages = list(state.averages)
        sound = jnp.logical_and(here, _are_finite(new, num_tasks))
        for i, gradient, before, after in zip(shared, summed, old, new, strict=True):
            grads[i] = as_dtype(gradient, dtypes[i])
            if before is not None:
                averages[i] = jnp.where(_column(sound, after), after, before)
        kept = jnp.where(sound & jnp.isfinite(weights), weights, state.weights)
        after = DBMTLState(state.count + 1, kept, averages)
        return jax.tree.unflatten(jac.structure, grads), after

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _of_logarithms(jac: Jacobian, eps: Number) -> Jacobian:
    """Row i over Lᵢ + ε, where that has a logarithm."""
    if jac.losses is None:
        raise ValueError(
            "`db_mtl` needs the losses for their logarithms. Found stacked gradients "
            "alone: pass `losses=` `[T]` to `update`, a TaskJacobian, or `log=False`."
        )
    raised = jac.losses + jnp.asarray(eps, jac.losses.dtype)
    usable = jnp.logical_and(raised > 0, jnp.isfinite(raised))
    return jac.scale(jnp.where(usable, 1 / jnp.where(usable, raised, 1), 1))


def _follow(average: jax.Array | None, rows: jax.Array, decay: Any) -> jax.Array:
    """One step of ĝ, or g itself where nothing is remembered."""
    if average is None:
        return rows
    decay = jnp.asarray(decay, average.dtype)
    return decay * average + (1 - decay) * rows.astype(average.dtype)  # Eq. 1


def _as_long_as_the_longest(
    leaves: list[jax.Array], here: jax.Array, eps: Number, dtype: Any
) -> jax.Array:
    """α / (‖ĝᵢ‖ + ε) `[T]`; 0 for a gradient of zero and for absent tasks."""
    squares = jnp.zeros(here.shape, dtype)
    for leaf in leaves:
        flat = leaf.reshape(here.shape[0], -1).astype(dtype)
        squares += jnp.sum(flat * flat, axis=1)
    norms = jnp.sqrt(jnp.where(here, squares, 0))
    longer = norms + jnp.asarray(eps, dtype)
    moves = norms != 0
    return jnp.where(moves, jnp.max(norms) / jnp.where(moves, longer, 1), 0)


def _are_finite(leaves: list[jax.Array], num_tasks: int) -> jax.Array:
    """`[T]` bools: whose rows are."""
    finite = jnp.ones(num_tasks, bool)
    for leaf in leaves:
        flat = leaf.reshape(num_tasks, -1)
        finite = jnp.logical_and(finite, jnp.all(jnp.isfinite(flat), axis=1))
    return finite


def _column(flags: jax.Array, like: jax.Array) -> jax.Array:
    """`[T]` to `[T, 1, …]`."""
    return flags.reshape((-1,) + (1,) * (like.ndim - 1))
