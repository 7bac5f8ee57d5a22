"""The shortest vector in the convex hull of the gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from auxjax._types import Array, Bool, Float, Shaped
from auxjax.aggregation._solvers._bounded import bounded_qp
from auxjax.aggregation._solvers._prepare import prepare, smallest_square


def min_norm_point(
    gramian: Shaped[Array, "T T"], present: Bool[Array, " T"] | None = None
) -> Float[Array, " T"]:
    r"""Solves min wᵀGw over the simplex {w ≥ 0, Σw = 1}, exactly.

    For any s > 0 it is the direction of the solution of a problem without equality:

        x = argmin_{x ≥ 0} ½ xᵀ(G + s 11ᵀ)x − s 1ᵀx,    w = x / Σx

    whose conditions (Gx)ᵢ ≥ s(1 − Σx), equal where xᵢ > 0, are those of w. With s near
    the smallest squared length neither term drowns the other.

    Args:
      gramian: G = JJᵀ.
      present: the task mask; absent tasks get 0. None: all are present.

    Returns:
      w. Among several solutions, one that does not depend on the tasks' order: equal
      weights for equal rows, and for a zero Gramian the uniform ones.
    """
    gramian, _, mask = prepare(gramian, present)
    squares = jax.lax.stop_gradient(jnp.diagonal(gramian))
    squares = jnp.maximum(squares, smallest_square(squares.dtype))
    s = 1.0 / jnp.maximum(jnp.sum(mask / squares), 1.0)  # of orthogonal rows: wᵀGw
    both = mask[:, None] * mask[None, :]
    x = bounded_qp(gramian + s * both, -s * mask, jnp.zeros_like(mask))
    total = jnp.sum(x)
    return x / jnp.where(total > 0, total, jnp.ones_like(total))
