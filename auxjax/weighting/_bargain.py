"""The bargaining problem: every task's share of a step is its power."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Array, Float, Number
from auxjax.jacobian import is_traced
from auxjax.weighting._build import move
from auxjax.weighting._checks import Vector, check_finite, vector, weight_dtype

NEWTON_STEPS = 50
STEP_SIZES = 2.0 ** -np.arange(20)


def auxinash_weights(
    gramian: Float[Array, "T T"], preference: Float[Array, " T"]
) -> Float[Array, " T"]:
    r"""The bargaining solution: α > 0 with αᵢ (Gα)ᵢ = pᵢ.

    Found as the minimum of ½ αᵀGα − Σ pᵢ log αᵢ by damped Newton steps, on a Gramian
    whose diagonal was scaled to 1. **It can be differentiated** in G and p: a last
    Newton step from the solution has exactly the implicit function theorem's
    derivative, ∂α/∂p = (G + diag(p/α²))⁻¹ diag(1/α). A task whose gradient is zero does
    not bargain. Where gradients oppose each other exactly there is no solution; a ridge
    of the size of rounding on the scaled diagonal keeps α finite.

    Args:
      gramian: G = J Jᵀ.
      preference: p, above 0.

    Returns:
      α `[T]`.
    """
    dtype = weight_dtype((gramian, preference))
    g, p = gramian.astype(dtype), preference.astype(dtype)
    num_tasks = p.shape[0]
    square = jnp.diagonal(g)
    length = jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))
    cosines = g / length[:, None] / length[None, :]
    ridge = 8 * num_tasks * float(jnp.finfo(dtype).eps)
    is_diagonal = np.eye(num_tasks, dtype=bool)
    cosines = jnp.where(is_diagonal, jnp.ones_like(cosines) * (1 + ridge), cosines)
    fixed, share = jax.lax.stop_gradient((cosines, p))
    beta = jax.lax.fori_loop(
        0, NEWTON_STEPS, lambda _, b: _newton(b, fixed, share), jnp.sqrt(share)
    )
    hessian = fixed + jnp.diag(share / beta**2)
    beta = beta - jnp.linalg.solve(hessian, _dot(cosines, beta) - p / beta)
    return beta / length


def _dot(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    return jnp.matmul(matrix, vector, precision="highest")


def _newton(beta: jax.Array, g: jax.Array, p: jax.Array) -> jax.Array:
    """The best multiple of β, then one Newton step as far as the objective falls."""

    def objective(b):
        log = jnp.log(jnp.where(b > 0, b, jnp.ones_like(b)))
        value = 0.5 * jnp.sum(b * _dot(g, b)) - jnp.sum(p * log)
        return jnp.where(jnp.all(b > 0), value, jnp.inf)

    square = jnp.sum(beta * _dot(g, beta))  # Σp at the solution
    tiny = jnp.finfo(beta.dtype).tiny
    beta = beta * jnp.sqrt(jnp.sum(p) / jnp.maximum(square, tiny))
    slope = _dot(g, beta) - p / beta
    step = -jnp.linalg.solve(g + jnp.diag(p / beta**2), slope)
    sizes = jnp.asarray(STEP_SIZES, beta.dtype)
    trials = beta[None] + sizes[:, None] * step[None]
    now = objective(beta)
    rounding = 8 * jnp.finfo(beta.dtype).eps * (1 + jnp.abs(now))
    enough = now + 1e-4 * sizes * jnp.sum(slope * step) + rounding
    falls = jax.vmap(objective)(trials) <= enough
    return jnp.where(jnp.any(falls), trials[jnp.argmax(falls)], beta)


def check_powers(
    preference: Vector, num_tasks: int, least: Number
) -> np.ndarray | jax.Array:
    """Powers that sum to 1."""
    check_finite(min_preference=least)
    if not is_traced(least) and not 0 < least <= 1 / num_tasks:
        raise ValueError(
            f"`min_preference` should be in (0, 1/{num_tasks}]. Found {least}."
        )
    given = [1.0] * num_tasks if preference is None else preference
    if is_traced(given):
        p = vector("preference", given, 1.0, num_tasks)
        return p / jnp.sum(p)
    p = np.asarray(given, dtype=np.float64)
    if p.shape == (num_tasks,) and np.all(np.isfinite(p)) and np.all(p > 0):
        p = p / p.sum()
        if is_traced(least) or np.all(p >= least * (1 - 1e-9)):
            return p
    raise ValueError(
        f"`preference` should be {num_tasks} numbers above 0, each at least "
        f"{least} of their sum. Found {preference}."
    )


def next_powers(
    learn: optax.GradientTransformation,
    slope: jax.Array,
    state: Any,
    powers: jax.Array,
    among: jax.Array,
    min_preference: Number,
) -> tuple[jax.Array, Any]:
    """One step of the powers `among`, who keep what they have together."""
    p = state.preference
    finite = jnp.all(jnp.logical_or(jnp.isfinite(slope), ~among))
    among = jnp.logical_and(among, finite)
    moved, moments, _ = move(learn, slope, state.optimizer_state, powers, among)
    least = jnp.asarray(min_preference, p.dtype)
    moved = powers_among(jnp.maximum(moved, least), among)
    moved = moved * jnp.sum(jnp.where(among, p, jnp.zeros_like(p)))
    return jnp.where(among, moved, p), moments


def powers_among(p: jax.Array, present: jax.Array) -> jax.Array:
    """The powers of those present over their sum; 1/T for the others: not to be 0."""
    there = jnp.where(present, p, jnp.zeros_like(p))
    total = jnp.sum(there)
    share = there / jnp.where(total > 0, total, jnp.ones_like(total))
    return jnp.where(present, share, jnp.full_like(p, 1 / p.shape[0]))
