"""PCGrad: a gradient that conflicts with another loses the conflicting part."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Key, Mask
from auxjax.aggregation._build import Groups, from_gramian
from auxjax.aggregation._keys import keys_of_groups, visiting_orders
from auxjax.aggregation._spectrum import divide, dot, everybody, unit_gramian


class PCGradState(NamedTuple):
    """State of `pcgrad`, one per group."""

    key: jax.Array  # [] typed key, split at every update


def pcgrad_weights(
    gramian: Float[Array, "T T"],
    key: Key[Array, ""] | None = None,
    *,
    present: Bool[Array, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""The weights of the original rows in PCGrad's sum of projected gradients.

    Each gᵢ starts as the row ∇Lᵢ and meets the other *original* rows one by one,

        gᵢ ← gᵢ − min(0, ⟨gᵢ, ∇Lⱼ⟩) / ‖∇Lⱼ‖² ∇Lⱼ                      (Algorithm 1)

    It stays a combination of rows, gᵢ = Σⱼ Cᵢⱼ ∇Lⱼ, so only C `[T, T]` is kept, and
    the weights are its column sums.

    Args:
      gramian: J Jᵀ.
      key: for the order in which each task meets the others; None: 0..T-1.
      present: the task mask; None: all.

    Returns:
      w `[T]`, each at least 0, and at least 1 for a task that is present.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> rows = jnp.array([[1.0, 0.0], [-2.0, 2.0]])  # they conflict
      >>> auxjax.pcgrad_weights(rows @ rows.T).tolist()  # 1 + 2, 1 + ¼
      [3.0, 1.25]

    References:
      Yu et al., *Gradient Surgery for Multi-Task Learning*, NeurIPS 2020, arXiv
      2001.06782, Algorithm 1.
    """
    norms, cosines = unit_gramian(gramian, present)
    c = _operate(cosines, visiting_orders(key, gramian.shape[0]))
    weights = divide(dot(norms, c), norms, otherwise=1.0)
    return jnp.where(everybody(present, gramian), weights, 0.0)


def pcgrad(
    *,
    key: Array | None = None,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Projects conflicting gradients onto each other's normal planes, and sums them.

    See `pcgrad_weights` for the formula. The result is the **sum** of the projected
    gradients, as in Algorithm 1: without conflict it is `sum_tasks()`.

    Args:
      key: a typed key for the order in which each task meets the others, drawn anew
        at every update; None: `jax.random.key(0)`. It lives in the state: the same
        state gives the same update. With two tasks there is but one order.
      where: the shared parameters, as in `optax.masked`; None: those that at least
        two losses depend on. Elsewhere the rows are summed.
      groups: which parameters are operated on together; None: all; `"leaf"`: each
        leaf alone; a pytree of labels or a function that makes one. Each group has a
        state and orders of its own.

    Returns:
      An aggregator, Jacobian → gradient: T backward passes and O(T³) small numbers;
      no row is copied.

    Raises:
      ValueError: where `key` is not a typed key.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.pcgrad()
      >>> grads = jnp.array([[1.0, 0.0], [-2.0, 2.0]])
      >>> tx.update(grads, tx.init(jnp.zeros(2)))[0].tolist()  # [½, ½] + [0, 2]
      [0.5, 2.5]

    References:
      Yu et al., *Gradient Surgery for Multi-Task Learning*, NeurIPS 2020, arXiv
      2001.06782, Algorithm 1.
    """
    key_of = keys_of_groups(key)

    def weigh(gramian, present, state, losses):
        del losses
        next_key, now = jax.random.split(state.key)
        return pcgrad_weights(gramian, now, present=present), PCGradState(next_key)

    return from_gramian(
        weigh,
        init_group=lambda number: PCGradState(key_of(number)),
        where=where,
        groups=groups,
    )


@jax.jit  # so that it is compiled once where nobody else does
def _operate(cosines: jax.Array, orders: jax.Array) -> jax.Array:
    """C `[T, T]` in unit gradients: row i for a gradient of norm 1."""

    def one(task, order):
        def meet(c, other):
            overlap = dot(cosines[other], c)  # ⟨gᵢ, uⱼ⟩
            conflict = jnp.where(other == task, 0.0, jnp.minimum(overlap, 0.0))
            return c.at[other].add(-conflict), None

        start = jnp.zeros_like(cosines[0]).at[task].set(1.0)
        return jax.lax.scan(meet, start, order)[0]

    return jax.vmap(one)(jnp.arange(cosines.shape[0]), orders)
