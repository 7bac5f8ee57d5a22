"""GradDrop: element by element, only one sign survives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Array, Float, Key, Mask
from auxjax.aggregation._build import Groups, from_rows
from auxjax.aggregation._checks import check_number
from auxjax.aggregation._keys import keys_of_groups


class GradDropState(NamedTuple):
    """State of `graddrop`, one per group."""

    key: jax.Array  # [] typed key, split at every update


def graddrop_rows(
    rows: Float[Array, " T *param"],
    key: Key[Array, ""],
    leak: Float[Array, " T"] | None = None,
) -> Float[Array, " *param"]:
    r"""One gradient from the rows of one parameter: one sign per element is kept.

        P = ½ (1 + Σᵢ gᵢ / Σᵢ |gᵢ|)                                          (Eq. 1)
        Mᵢ = 1[P > U] 1[gᵢ > 0] + 1[P < U] 1[gᵢ < 0],   U ~ Uniform(0, 1)    (Eq. 2)
        g = Σᵢ (ℓᵢ + (1 − ℓᵢ) Mᵢ) gᵢ

    element by element; U is shared by the tasks. E[g] keeps the sign of Σ gᵢ, and where
    the tasks agree nothing is dropped.

    Args:
      rows: `[T, *param]`.
      key: for U.
      leak: ℓ `[T]` in [0, 1], how much of each row passes in any case; None: zeros.

    Returns:
      `[*param]`, in the rows' dtype; summed in float32 or better. Numbers that are not
      finite pass.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> rows = jnp.array([[1.0, 3.0, 0.0], [2.0, 0.0, -1.0]])  # no element conflicts
      >>> auxjax.graddrop_rows(rows, jax.random.key(0)).tolist()
      [3.0, 3.0, -1.0]

    References:
      Chen et al., *Just Pick a Sign: Optimizing Deep Multitask Models with Gradient
      Sign Dropout*, NeurIPS 2020, arXiv 2010.06808, Algorithm 1.
    """
    g = rows.astype(jnp.float64 if rows.dtype == jnp.float64 else jnp.float32)
    size = jnp.sum(jnp.abs(g), axis=0)
    relative = jnp.sum(g, axis=0) / jnp.where(size > 0, size, 1.0)
    purity = 0.5 * (1.0 + relative)  # Eq. 1
    u = jax.random.uniform(key, purity.shape, purity.dtype)
    positive = jnp.logical_and((purity > u)[None], g > 0)
    negative = jnp.logical_and((purity < u)[None], g < 0)
    kept = jnp.logical_or(positive, negative)  # Eq. 2
    # XLA makes a choice of a product with 0 or 1, and would drop a NaN under `jit`.
    passed = jnp.logical_or(kept, ~jnp.isfinite(g)).astype(g.dtype)
    if leak is not None:
        column = leak.astype(g.dtype).reshape((-1,) + (1,) * (g.ndim - 1))
        passed = column + (1.0 - column) * passed
    return jnp.sum(passed * g, axis=0).astype(rows.dtype)


def graddrop(
    leak: Sequence[Any] | Array | np.ndarray | None = None,
    *,
    key: Array | None = None,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps, element by element, only the positive or only the negative gradients.

    Which ones is drawn with the probability that the tasks vote for; see
    `graddrop_rows` for the formula.

    Args:
      leak: ℓ `[T]`, how much of each row passes in any case, in [0, 1]; a main task
        with ℓ = 1 is never dropped. None: zeros.
      key: a typed key for the draws, new at every update; None: `jax.random.key(0)`.
        It lives in the state: the same state gives the same update.
      where: the shared parameters; None: those that at least two losses depend on.
        Elsewhere the rows are summed.
      groups: makes no difference but to the draws, since elements are independent.

    Returns:
      An aggregator, Jacobian → gradient: T backward passes and T× the memory.

    Raises:
      ValueError: for a `leak` outside [0, 1], a `key` that is not a typed key; from
        the update, where `leak` has not one entry per task.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.graddrop(leak=[1.0, 1.0])  # everything leaks: the sum
      >>> grads = jnp.array([[1.0, -1.0], [3.0, 2.0]])
      >>> tx.update(grads, tx.init(jnp.zeros(2)))[0].tolist()
      [4.0, 1.0]

    References:
      Chen et al., *Just Pick a Sign: Optimizing Deep Multitask Models with Gradient
      Sign Dropout*, NeurIPS 2020, arXiv 2010.06808, Algorithm 1.

    Paper and code:
      | | paper | TorchJD | here |
      |---|---|---|---|
      | drops | gradients of an activation, times its sign | rows of J | rows of J |
      | U is compared with | f(P), any increasing f | `f=`, identity | P |
    """
    key_of = keys_of_groups(key)
    num_tasks = None
    if leak is not None:
        check_number(
            "leak",
            leak,
            "numbers in [0, 1], one per task",
            lambda x: x.ndim == 1 and np.all((x >= 0) & (x <= 1)),
        )
        num_tasks = len(leak)

    def reduce(leaves, present, state, losses):
        del losses
        next_key, now = jax.random.split(state.key)
        grads = []
        for number, rows in enumerate(leaves):
            if present is not None:
                column = present.reshape((-1,) + (1,) * (rows.ndim - 1))
                rows = jnp.where(column, rows, jnp.zeros_like(rows))
            own = jax.random.fold_in(now, number)
            leaks = None if leak is None else jnp.asarray(leak, float)
            grads.append(graddrop_rows(rows, own, leaks))
        return grads, GradDropState(next_key)

    return from_rows(
        reduce,
        init_group=lambda number: GradDropState(key_of(number)),
        where=where,
        groups=groups,
        num_tasks=num_tasks,
    )
