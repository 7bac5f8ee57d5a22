"""Task affinity: what one task's step does to another task's loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Array, ArrayLike, Float, Mask, Number
from auxjax.diagnosis._checks import check_positive
from auxjax.diagnosis._measure import conjugate, shared
from auxjax.jacobian import (
    TaskJacobian,
    as_jacobian,
    check_task_mask,
    counterpart,
)


def task_affinity(
    jacobian: Any,
    learning_rate: Number,
    *,
    first_order: bool = False,
    where: Mask | None = None,
    losses: ArrayLike | None = None,
    task_mask: ArrayLike | None = None,
) -> Float[Array, "T T"]:
    r"""Z[i, j]: by which share a step of task i on the shared parameters lowers Lⱼ.

        Z_{i→j} = 1 − Lⱼ(θ_s − α ∇_{θ_s}Lᵢ, θⱼ) / Lⱼ(θ_s, θⱼ)
                ≈ α ⟨∇_{θ_s}Lᵢ, ∇_{θ_s}Lⱼ⟩ / Lⱼ(θ_s, θⱼ)           `first_order=True`

    on the same batch, the heads θⱼ as they are. Above 0 task i helps task j. Average it
    over batches and over training, as the paper does (`jnp.nanmean` leaves out who was
    absent), and hand the mean to `group_tasks`. Works under `jit` and `vmap`.

    A loss below 0 is divided by its absolute value, so that the sign keeps its meaning.

    Args:
      jacobian: a `TaskJacobian`; with `first_order`, stacked gradients as well.
      learning_rate: α. The exact value of a large step may have another sign than the
        first order: take the one that you train with. In half precision a small step
        is lost in rounding the parameters; its first order is not.
      first_order: the slope alone.
      where: the shared parameters θ_s; None: the leaves that at least two losses depend
        on (of a single task, all leaves).
      losses: `[T]`, for stacked gradients.
      task_mask: `[T]` (bool), which tasks are there; None: all.

    Returns:
      `[T, T]`, row i of the task that steps, column j of the task that is looked at,
      and Z_{i→i} on the diagonal; NaN where one of them is absent or a loss is 0.
      Price: T backward passes, T times the memory of the shared parameters, and T
      forward passes, one after another; with `first_order` none: all pairs are the
      Gramian, the T tangent passes `jac.jvp(row)` of T rows that are there anyway.

    Raises:
      ValueError: where stacked gradients are given without `first_order` or without
        losses; for a learning rate that is not above 0.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> def losses(p):  # at p = 2: 4, 8 and 1; slopes 4, 8 and −2
      ...     return p**2, 2 * p**2, (p - 3) ** 2
      >>> jac = auxjax.task_jacobian(losses, jnp.array(2.0))
      >>> auxjax.task_affinity(jac, 0.125)  # the first steps to 1.5
      Array([[ 0.4375  ,  0.4375  , -1.25    ],
             [ 0.75    ,  0.75    , -3.      ],
             [-0.265625, -0.265625,  0.4375  ]], dtype=float32)
      >>> auxjax.task_affinity(jac, 0.125, first_order=True)
      Array([[ 0.5 ,  0.5 , -1.  ],
             [ 1.  ,  1.  , -2.  ],
             [-0.25, -0.25,  0.5 ]], dtype=float32)

    References:
      Fifty et al., *Efficiently Identifying Task Groupings for Multi-Task Learning*
      (TAG), NeurIPS 2021, arXiv 2109.04617: the definition of inter-task affinity.

    Paper and code:
      | | paper | released code (CelebA) | here |
      |---|---|---|---|
      | the step | −α∇Lᵢ | with the optimizer's momentum | −α∇Lᵢ |
      | the value | 1 − L′/L | (1 − L′/L) / α | 1 − L′/L |
      | when | averaged over training | every tenth step | one batch |
      | θ_s | the shared trunk | the trunk's weights | `where=`, found by itself |
    """
    check_positive("learning_rate", learning_rate)
    jac = as_jacobian(jacobian, losses=losses)
    if jac.losses is None:
        raise ValueError(
            "`losses` should be given with stacked gradients, `[T]`. Found None."
        )
    num_tasks = jac.num_tasks
    mask = check_task_mask(task_mask, num_tasks)
    present = jnp.ones(num_tasks, bool) if mask is None else mask
    jac = jac if mask is None else jac.mask(mask)
    where = shared(jac, where)
    rate = jnp.asarray(learning_rate, jac.losses.dtype)
    if first_order:
        fallen = rate * jac.gramian(where).astype(rate.dtype)
    elif isinstance(jac, TaskJacobian):
        fallen = jac.losses[None] - _losses_after(jac, rate, where)
    else:
        raise ValueError(
            "`jacobian` should be a TaskJacobian, which can look ahead. Found stacked "
            "gradients: pass `auxjax.task_jacobian(losses, params, ...)`, or "
            "`first_order=True`."
        )
    size = jnp.abs(jac.losses)[None]
    counts = present[:, None] & present[None, :] & (size > 0)
    safe = jnp.where(counts, size, jnp.ones_like(size))
    return jnp.where(counts, fallen / safe, jnp.nan)


def _losses_after(jac: TaskJacobian, rate: jax.Array, where) -> jax.Array:
    """`[T, T]`, all losses behind each task's step on the shared leaves."""
    rows = jac.leaf_rows(where)
    leaves, structure = jax.tree.flatten(jac.params)

    def look(steps):  # one task's, `{leaf: its gradient}`
        moved = [
            _moved(x, steps[i], rate) if i in steps else x for i, x in enumerate(leaves)
        ]
        return jac.at(jax.tree.unflatten(structure, moved)).losses

    # One forward pass is compiled, whatever T.
    return jax.lax.map(look, {i: x for i, x in enumerate(rows) if x is not None})


def _moved(leaf: Any, gradient: jax.Array, rate: jax.Array) -> jax.Array:
    """θ − α g, in the parameters' dtype."""
    leaf = jnp.asarray(leaf)
    dtype = counterpart(leaf, rate.dtype)
    step = conjugate(gradient).astype(dtype) * rate.astype(dtype)
    return (leaf.astype(dtype) - step).astype(leaf.dtype)
