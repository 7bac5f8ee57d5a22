"""The bargaining problem: every task's share of a step is its power."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Array, Float
from auxjax.weighting._checks import weight_dtype

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
