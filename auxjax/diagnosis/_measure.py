"""What one batch tells of the tasks: inner products, and now and then all pairs."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from auxjax._types import Mask
from auxjax.jacobian import Jacobian


class Sample(NamedTuple):
    """One batch. What does not count is 0 or a number without meaning."""

    inner_products: jax.Array  # [T] float, ⟨g_main, gᵢ⟩
    counted: jax.Array  # [T] bool, whose inner product counts
    broken: Any  # [T] bool, who was there and was not finite
    cosines: Any = None  # [T, T] float; None without pairs
    norms: Any = None  # [T] float; None without pairs
    paired: Any = None  # [T] bool, who takes part in the pairs; None without them


def shared(jac: Jacobian, where: Mask | None) -> Mask | None:
    """The leaves that count: those given, else those that two tasks share."""
    if where is not None:
        return where
    return jac.shared_mask() if jac.num_tasks > 1 else None


def measure(
    jac: Jacobian,
    present: jax.Array,
    where: Mask | None,
    pairs: bool,
    other: Jacobian | None = None,
) -> Sample:
    """The sample of a batch.

    Args:
      jac: of the batch, masked.
      present: `[T]` (bool), the tasks that are there.
      where: the leaves that count; None: the shared ones.
      pairs: whether cosines and norms are wanted.
      other: take the main task's gradient from this one, of other data.
    """
    where = shared(jac, where)
    there = present
    if jac.losses is not None:
        there = jnp.logical_and(present, jnp.isfinite(jac.losses))
    gramian = jac.gramian(where) if pairs else None
    if other is not None:
        direction = jax.tree.map(conjugate, other.row(0))
        dots = jac.jvp(direction, where)
    else:
        dots = jac.gramian_row(0, where) if gramian is None else gramian[0]
    counted, bad = among(there, dots)
    lost = jnp.logical_and(present, ~there)
    # A loss that is not finite explains what else went wrong.
    broken = jnp.where(jnp.any(lost), lost, bad)
    sample = Sample(jnp.where(counted, dots, jnp.zeros_like(dots)), counted, broken)
    if gramian is None:
        return sample
    return sample._replace(**_pairs(gramian, there))


def among(there: jax.Array, dots: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whose inner product with the main task counts; who was there and spoilt it."""
    bad = jnp.logical_and(there, ~jnp.isfinite(dots))
    is_main = jnp.arange(dots.shape[0]) == 0
    bad = jnp.where(bad[0], is_main, bad)  # then the others' are its fault
    return there & there[0] & ~bad[0] & ~bad, bad


def _pairs(gramian: jax.Array, there: jax.Array) -> dict[str, jax.Array]:
    squares = jnp.diagonal(gramian)
    paired = jnp.logical_and(there, jnp.isfinite(squares))
    norms = jnp.sqrt(jnp.where(paired, squares, jnp.zeros_like(squares)))
    both = norms[:, None] * norms[None, :]
    counts = paired[:, None] & paired[None, :] & (both > 0)
    safe = jnp.where(counts, both, jnp.ones_like(both))
    products = jnp.where(counts, gramian, jnp.zeros_like(gramian))
    cosines = jnp.clip(products / safe, -1, 1)  # 0 where a gradient is 0
    return {"cosines": cosines, "norms": norms, "paired": paired}


def conjugate(x: Any) -> Any:
    """What `jvp` wants of a complex gradient; others as they are."""
    return jnp.conj(x) if jnp.issubdtype(x.dtype, jnp.complexfloating) else x
