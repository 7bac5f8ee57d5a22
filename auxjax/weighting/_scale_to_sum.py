"""Applied weights that sum to a given number: a rule's scale, taken out of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Number
from auxjax.jacobian import (
    Jacobian,
    TaskJacobian,
    applied_weights,
    unscaled,
)
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import check_num_tasks, check_positive, weight_dtype


class ScaleToSumState(NamedTuple):
    """State of `scale_to_sum`, which has no weights of its own."""

    factor: jax.Array  # [] float, that all rows were scaled by in the last update
    applied: Any  # with `num_tasks`: [T] float, absolute weights behind it; else None


def scale_to_sum(
    total: Number | None = None,
    *,
    own_heads: bool = False,
    num_tasks: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales all rows by one factor, so that the weights applied so far sum to T.

        aᵢ = Π |scalings of row i so far|,   f = `total` / Σⱼ aⱼ,   row i ← f · row i

    Put it behind any weighting, logarithms included: which task counts how much stays
    as it was found, and how long the step is no longer depends on it. Weights that grow
    into the thousands, and the 1/L of a loss that goes to zero, are a learning rate
    that grows under an optimizer which feels a gradient's size (SGD); Adam hides it.

    What was applied is known from the Jacobian, which remembers its scalings. Where a
    rule scaled the shared leaves alone (`gcs`), or some of them, aᵢ is the mean over
    the numbers in the leaves that at least two losses depend on. Stacked gradients
    begin with weights of 1, whatever was done to them outside, and so do rows that a
    rule has made anew instead of scaling them.

    A task that is absent (`task_mask=`) or whose loss or weight is not finite is left
    out of the sum, and out of T: a task that waits hands its share to nobody. (With a
    number for `total` those that are there share all of it.) If all weights are 0 the
    factor is 1.

    Do not put it into the lookahead of Auto-λ: a λ below zero would let the sum cross
    zero. Behind `scale_by_autolambda` is right, or in `autolambda(aggregator=)`.

    Args:
      total: what the absolute weights shall sum to; None: the number of tasks that are
        there, as equal weights of 1 do.
      own_heads: give a leaf that one task alone depends on that task's own gradient,
        *without* any weight, this one included: all scalings so far are taken back
        there. A head is then trained as if its task were alone, whatever the trunk
        makes of it.
      num_tasks: T; given, the state holds the applied weights, to be logged.

    Returns:
      A row transform, Jacobian → Jacobian; its state has the `factor`, and `applied`
      `[T]` with `num_tasks` (an absent task's stays as it was). It has no `weights`:
      `task_metrics` gives the product of the rules' before it, and `applied` beside.
      Price: none of its own; with `own_heads` the heads' share of a backward pass.

    Raises:
      ValueError: for a `total` not above 0, num_tasks < 2; from the update, where the
        number of tasks is another, or for `own_heads` with stacked gradients, which do
        not tell who depends on what.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> def losses(p):
      ...     return jnp.sum(p["w"] ** 2), 100.0 * jnp.sum(p["w"]) + p["head"]
      >>> tx = optax.chain(
      ...     auxjax.scale_by_fixed([1.0, 7.0]), auxjax.scale_to_sum(own_heads=True),
      ...     auxjax.sum_tasks())
      >>> params = {"w": jnp.array([1.0]), "head": jnp.array(0.0)}
      >>> jac = auxjax.task_jacobian(losses, params)
      >>> gradient, state = tx.update(jac, tx.init(params), params)
      >>> float(state[1].factor), float(gradient["head"])  # 2 / (1 + 7)
      (0.25, 1.0)
      >>> gradient["w"].tolist()  # 0.25 (1 · 2 + 7 · 100)
      [175.5]
    """
    if total is not None:
        check_positive(total=total)
    if num_tasks is not None:
        check_num_tasks(num_tasks)

    def init_fn(params):
        dtype = weight_dtype(params)
        applied = None if num_tasks is None else jnp.ones(num_tasks, dtype)
        return ScaleToSumState(jnp.ones((), dtype), applied)

    def rule(jac, state, *, counted):
        dtype = state.factor.dtype
        sizes = applied_weights(jac).astype(dtype)
        counted = jnp.logical_and(counted, jnp.isfinite(sizes))
        factor = _factor(sizes, counted, total)
        applied = None
        if num_tasks is not None:
            applied = jnp.where(counted, factor * sizes, state.applied)
        scaled = jac.scale(jnp.broadcast_to(factor, sizes.shape))
        if own_heads:
            scaled = _with_own_heads(scaled)
        return scaled, ScaleToSumState(factor, applied)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


def _factor(sizes: jax.Array, counted: jax.Array, total: Number | None) -> jax.Array:
    """`total` over the sum of the weights that count; 1 where that is no number."""
    whole = jnp.sum(jnp.where(counted, sizes, jnp.zeros_like(sizes)))
    wanted = jnp.sum(counted, dtype=sizes.dtype) if total is None else total
    there = whole > 0
    factor = jnp.asarray(wanted, sizes.dtype) / jnp.where(there, whole, 1)
    usable = jnp.logical_and(there, jnp.isfinite(factor))
    return jnp.where(usable, factor, jnp.ones_like(factor))


def _with_own_heads(jac: Jacobian) -> TaskJacobian:
    """The Jacobian whose heads get their own gradients, or an error."""
    if not isinstance(jac, TaskJacobian):
        raise ValueError(
            "`own_heads` should be False with stacked gradients, which do not tell "
            "who depends on what. Found True: pass a TaskJacobian."
        )
    is_own = jax.tree.map(lambda shared: not shared, jac.shared_mask())
    return unscaled(jac, is_own)
