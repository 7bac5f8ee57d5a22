"""Numbers in groups: k-means on a line, exactly."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def group_on_a_line(
    values: jax.Array, among: jax.Array, num_groups: int
) -> tuple[jax.Array, jax.Array]:
    """The grouping of some numbers with the least sum of squares within the groups.

    On a line the groups of the best k-means are intervals of the sorted numbers, so
    that it is found by dynamic programming, in O(K T²), and not only nearly.

    Args:
      values: `[T]`.
      among: `[T]` (bool), which of them are grouped; they should be finite.
      num_groups: K, at most so many groups.

    Returns:
      The mean of each number's group `[T]`, and the group's index `[T]` (int32),
      counted upwards from 0 for the smallest; the others' are 0.
    """
    num = values.shape[0]
    order = jnp.lexsort((values, ~among))  # the others come last
    count = jnp.sum(among, dtype=jnp.int32)
    ordered = jnp.where(among, values, jnp.zeros_like(values))[order]
    within = _sums_of_squares(ordered)
    index = jnp.arange(num, dtype=jnp.int32)

    best, starts = within[0], []  # of the first j + 1 numbers, in one group
    for _ in range(num_groups - 1):
        # Those before i in the groups so far, those from i to j in one more.
        before = jnp.concatenate([jnp.zeros_like(best[:1]), best[:-1]])
        totals = before[:, None] + within
        starts.append(jnp.argmin(totals, axis=0).astype(jnp.int32))
        best = jnp.min(totals, axis=0)

    label, last = jnp.zeros(num, jnp.int32), count - 1
    for start in reversed(starts):
        first = start[jnp.maximum(last, 0)]
        label += (index >= first).astype(jnp.int32)
        last = first - 1
    label -= label[0]  # a group may be empty
    own = jnp.logical_and(label[:, None] == label[None, :], (index < count)[None, :])
    own = own.astype(values.dtype)
    total = jnp.sum(own * ordered[None, :], axis=1)
    means = total / jnp.maximum(jnp.sum(own, axis=1), 1.0)
    back = jnp.argsort(order)
    zero = jnp.zeros_like(label)
    return jnp.where(among, means[back], 0.0), jnp.where(among, label[back], zero)


def _sums_of_squares(ordered: jax.Array) -> jax.Array:
    """`[i, j]`: of the deviations of numbers i to j from their mean; ∞ for i > j.

    Number by number, so that nothing is subtracted from a sum of its like.
    """
    index = jnp.arange(ordered.shape[0], dtype=jnp.int32)

    def extend(carry, j):
        mean, square = carry  # of the numbers from i on, so far
        size = (j - index).astype(ordered.dtype)  # how many
        off = ordered[j] - mean
        larger = size / (size + 1.0)
        square = jnp.where(index < j, square + off * off * larger, 0.0)
        mean = jnp.where(index < j, mean + off / (size + 1.0), ordered[j])
        return (mean, square), jnp.where(index <= j, square, jnp.inf)

    start = (jnp.zeros_like(ordered), jnp.zeros_like(ordered))
    return jax.lax.scan(extend, start, index)[1].T
