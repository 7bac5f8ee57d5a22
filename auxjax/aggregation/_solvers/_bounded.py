"""A convex quadratic with lower bounds: most small problems come down to it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Array, Float
from auxjax.aggregation._solvers._prepare import dot

MAX_TURNS = 5
"""Linear systems per task and proximal step, at most; about one is usual."""


def bounded_qp(
    matrix: Float[Array, "T T"], linear: Float[Array, " T"], lower: Float[Array, " T"]
) -> Float[Array, " T"]:
    r"""Solves min ½ vᵀMv + bᵀv subject to v ≥ u, with M positive semi-definite.

    The unknowns are first scaled so that M has a unit diagonal: gradients of very
    different lengths then cost no digits. Where M is singular, a proximal term picks
    one solution, the same whatever the order of the tasks.

    Args:
      matrix: M.
      linear: b. Rows of zeros in M should have b ≥ 0 there: v = u then.
      lower: u.

    Returns:
      v, differentiable in all three wherever it is (strict complementarity).
    """
    diagonal = jax.lax.stop_gradient(jnp.diagonal(matrix))
    empty = diagonal <= jnp.finfo(matrix.dtype).tiny
    scale = jax.lax.rsqrt(jnp.where(empty, jnp.ones_like(diagonal), diagonal))
    unit = jnp.where(
        _both(~empty),
        matrix * _outer(scale),
        jnp.eye(len(diagonal), dtype=matrix.dtype),
    )
    linear = jnp.where(empty, jnp.zeros_like(linear), linear * scale)
    return scale * _solve(unit, linear, lower / scale)


@jax.custom_jvp
def _solve(matrix, linear, lower):
    """The problem with a unit diagonal, by proximal steps (Rockafellar 1976).

    Each step adds ½ ridge ‖v − vₖ‖², which makes it definite and its solution unique.
    Large ridges first: what they leave undone is small, and so is then the noise that
    a small ridge would blow up in the directions that M does not see.
    """
    eps = float(jnp.finfo(matrix.dtype).eps)
    ridges = [*np.geomspace(0.1, eps**0.5, 3), *3 * [_noise(matrix)]]

    def step(carry, ridge):
        point, free = carry
        return _proximal_step(matrix, linear, lower, ridge, point, free), None

    free = dot(matrix, lower) + linear < 0
    ridges = jnp.asarray(ridges, matrix.dtype)
    (point, _), _ = jax.lax.scan(step, (lower, free), ridges)
    return jnp.maximum(point, lower)


@_solve.defjvp
def _solve_jvp(primals, tangents):
    """Free entries keep (Mv + b)ᵢ = 0, the others keep vᵢ = uᵢ."""
    matrix, linear, lower = primals
    d_matrix, d_linear, d_lower = tangents
    point = _solve(matrix, linear, lower)
    free = point > lower
    fixed = jnp.where(free, jnp.zeros_like(lower), d_lower)
    slope = dot(d_matrix, point) + d_linear + dot(matrix, fixed)
    return point, fixed + _solve_free(matrix, _noise(matrix), free, -slope)


def _proximal_step(matrix, linear, lower, ridge, centre, free):
    """Solves the problem with ½ ridge ‖v − centre‖² added, by an active set.

    Solve for the free entries as if they had no bound. If that leads below a bound, go
    only as far as there and hold the entry that hits it; else free the entry with the
    steepest descent (Lawson & Hanson 1974, chapter 23). Each point is feasible and
    better than the one before, so this ends: where rounding stops it, too.

    Args:
      matrix: with a unit diagonal.
      linear: b.
      lower: u.
      ridge: above the noise in the eigenvalues.
      centre: a feasible point.
      free: which entries of it may leave their bound; the others are at it.

    Returns:
      The solution and its free entries.
    """
    eps = float(jnp.finfo(matrix.dtype).eps)
    index = jnp.arange(len(linear))
    far = jnp.full_like(linear, jnp.inf)

    def slope_at(point, caution):
        """Zero where it may be nothing but rounding."""
        slope = dot(matrix, point) + linear + ridge * (point - centre)
        noise = dot(jnp.abs(matrix), jnp.abs(point)) + jnp.abs(linear)
        return jnp.where(
            jnp.abs(slope) > caution * eps * noise, slope, jnp.zeros_like(slope)
        )

    def cond(carry):
        *_, done, turn = carry
        return ~done & (turn < MAX_TURNS * len(linear))

    def body(carry):
        point, free, entered, _, turn = carry
        start = jnp.where(free, centre, lower)
        target = start - _solve_free(matrix, ridge, free, slope_at(start, 2))
        below = free & (target < lower)
        hits = jnp.any(below)

        gap = jnp.where(below, point - target, jnp.ones_like(point))
        share = jnp.where(below, (point - lower) / gap, far)
        first = below & (index == jnp.argmin(share))
        moved = point + jnp.minimum(jnp.min(share), 1.0) * (target - point)
        free_or_hit = free & ~first
        moved = jnp.where(free_or_hit, jnp.maximum(moved, lower), lower)

        slope = slope_at(moved, 8)
        falling = ~free & (slope < 0)
        steepest = falling & (index == jnp.argmin(jnp.where(falling, slope, far)))

        done = jnp.where(hits, jnp.any(first & entered), ~jnp.any(falling))
        free = jnp.where(hits, free_or_hit, free | steepest)
        return moved, free, steepest & ~hits, done, turn + 1

    nobody, no = jnp.zeros_like(free), jnp.asarray(False)
    start = (centre, free, nobody, no, jnp.asarray(0, jnp.int32))
    point, free, *_ = jax.lax.while_loop(cond, body, start)
    return point, free


def _solve_free(matrix, ridge, free, right):
    """Solves (M + ridge) x = right for the free entries; 0 for the others."""
    zeros, ones = jnp.zeros_like(right), jnp.ones_like(right)
    diagonal = jnp.where(free, ones * ridge, ones)
    system = jnp.where(_both(free), matrix, jnp.zeros_like(matrix)) + jnp.diag(diagonal)
    return jnp.linalg.solve(system, jnp.where(free, right, zeros))


def _noise(matrix):
    """The noise in the eigenvalues of a matrix with a unit diagonal."""
    return 4 * matrix.shape[0] * float(jnp.finfo(matrix.dtype).eps)


def _outer(x):
    return x[:, None] * x[None, :]


def _both(x):
    return x[:, None] & x[None, :]
