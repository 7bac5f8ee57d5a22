"""Weights that balance every task's gain: Nash's bargain and its relatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from auxjax._types import Array, Bool, Float, Number, Shaped
from auxjax.aggregation._solvers._prepare import (
    dot,
    is_zero_row,
    prepare,
    smallest_square,
)

MAX_STEPS = 100


def fair_point(
    gramian: Shaped[Array, "T T"],
    power: Number = 1.0,
    present: Bool[Array, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""Solves Gw = w^−p for w > 0, entry by entry.

    It is where ½ wᵀGw − Σᵢ ∫ wᵢ^−p is least, a strictly convex function. Where 0 lies
    in the convex hull of the gradients there is no solution; w then grows until Gw
    cannot be told from 0, and so does not Jᵀw.

    Args:
      gramian: G = JJᵀ.
      power: p > 0.
      present: the task mask; absent tasks get 0. None: all are present.

    Returns:
      w, differentiable. Rows of zeros, which no weight can help, get 0.
    """
    gramian, scale, mask = prepare(gramian, present)
    power = jnp.asarray(power, gramian.dtype)
    alive = (mask > 0) & ~is_zero_row(gramian)
    eye = jnp.eye(len(mask), dtype=gramian.dtype)
    gramian = jnp.where(alive[:, None] & alive[None, :], gramian, eye)
    w = _solve(gramian, power) * scale ** (-1 / (1 + power))
    return jnp.where(alive, w, jnp.zeros_like(w))


@jax.custom_jvp
def _solve(gramian, power):
    """Newton's method in wᵢ(1 + relative stepᵢ), damped so that it always descends."""
    eps = jnp.finfo(gramian.dtype).eps
    least = smallest_square(gramian.dtype) ** jnp.minimum(2 / (1 + power), 1.0)

    def residual(w):
        """1 − wᵖ Gw, and how large its rounding may be."""
        wp = w**power
        noise = 8 * eps * (1 + wp * dot(jnp.abs(gramian), w))
        left = 1 - wp * dot(gramian, w)
        # As good as zero, or as infinity: α beyond 10 asks for such weights.
        done = ((w <= least) & (left < 0)) | ((w >= 1 / least) & (left > 0))
        return jnp.where(done, jnp.zeros_like(left), left), noise

    def cond(carry):
        _, left, noise, turn = carry
        return jnp.any(jnp.abs(left) > noise) & (turn < MAX_STEPS)

    def body(carry):
        w, left, _, turn = carry
        relative = _newton(gramian, power, w, left)
        # Down by a share m, a term's curvature grows by (1 − m)^−(p+1); with this
        # step the slope along it stays negative.
        m = jnp.max(jnp.maximum(-relative, jnp.zeros_like(relative)))
        damped = jnp.minimum(-jnp.expm1(-jnp.log1p(power * m) / power), 0.9)
        step = jnp.where(m > 0, damped / jnp.where(m > 0, m, 1.0), 1.0)
        step = jnp.minimum(step, 10 / jnp.maximum(jnp.max(relative), 10.0))
        w = jnp.clip(w * (1 + step * relative), least, 1 / least)
        return w, *residual(w), turn + 1

    w = jnp.diagonal(gramian) ** (-1 / (1 + power))  # exact for orthogonal rows
    square = dot(w, dot(gramian, w))
    square = jnp.maximum(square, 8 * eps * dot(w, dot(jnp.abs(gramian), w)))
    w = w * (jnp.sum(w ** (1 - power)) / square) ** (1 / (1 + power))
    turn = jnp.asarray(0, jnp.int32)
    return jax.lax.while_loop(cond, body, (w, *residual(w), turn))[0]


@_solve.defjvp
def _solve_jvp(primals, tangents):
    """From Gw = w^−p: (G + p w^−(p+1)) dw = −dG w − w^−p log w dp."""
    gramian, power = primals
    d_gramian, d_power = tangents
    w = _solve(gramian, power)
    left = -(w**power) * dot(d_gramian, w) - jnp.log(w) * d_power
    return w, w * _newton(gramian, power, w, left)


def _newton(gramian, power, w, left):
    """The relative step dw/w that makes up for what is left of 1 − wᵖ Gw."""
    size, eps = len(w), float(jnp.finfo(gramian.dtype).eps)
    a = w ** ((1 + power) / 2)
    root = w ** ((1 - power) / 2)
    system = a[:, None] * gramian * a[None, :]
    ridge = 4 * size * eps * jnp.diagonal(system)
    step = jnp.linalg.solve(system + jnp.diag(ridge + power), root * left)
    return step / root
