"""What several methods ask of a Gramian: norms, cosines, eigenvectors.

In unit gradients uᵢ = ∇Lᵢ / ‖∇Lᵢ‖ all numbers are near 1, whatever the scale of the
losses: rows of 1e-10 beside rows of 1e10 cost no precision. An absent task has norm 0,
as a gradient of zero has, and cosine 0 with everybody, itself included.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

NOISE = 10
"""So many times T·ε, relative to the largest, is what rounding leaves of a zero."""


class Spectrum(NamedTuple):
    """The eigenvalues of a Gramian that are more than rounding."""

    values: jax.Array  # [T], ascending; 1 where it is not kept
    vectors: jax.Array  # [T, T], a column each
    kept: jax.Array  # [T] bool; the kept ones come last


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """A small product, in full precision on every device."""
    return jnp.matmul(a, b, precision="highest")


def divide(a: jax.Array, b: jax.Array, otherwise: float = 0.0) -> jax.Array:
    """The quotient a / b, but `otherwise` where b is 0."""
    return jnp.where(b != 0, a / jnp.where(b != 0, b, 1.0), otherwise)


def noise_of(matrix: jax.Array) -> float:
    """What counts as 0 beside 1 in sums over T tasks."""
    return NOISE * matrix.shape[0] * float(jnp.finfo(matrix.dtype).eps)


def everybody(present: jax.Array | None, gramian: jax.Array) -> jax.Array:
    """The task mask as bools `[T]`."""
    return jnp.ones(gramian.shape[0], bool) if present is None else present


def only(present: jax.Array, gramian: jax.Array) -> jax.Array:
    """The Gramian with zeros in the rows and columns of absent tasks."""
    both = jnp.logical_and(present[:, None], present[None, :])
    return jnp.where(both, gramian, 0.0)


def share(present: jax.Array, gramian: jax.Array) -> jax.Array:
    """`[T]`: equal weights of the present tasks, which sum to 1."""
    here = present.astype(gramian.dtype)
    return here / jnp.maximum(jnp.sum(here), 1.0)


def unit_gramian(
    gramian: jax.Array, present: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """The norms `[T]` and the Gramian `[T, T]` of the unit gradients: cosines."""
    square = jnp.diagonal(gramian)
    here = jnp.logical_and(everybody(present, gramian), square > 0)
    norms = jnp.sqrt(jnp.where(here, square, 0.0))
    cosines = divide(divide(gramian, norms[:, None]), norms[None, :])
    cosines = jnp.clip(only(here, cosines), -1.0, 1.0)
    itself = jnp.eye(gramian.shape[0], dtype=bool)
    return norms, jnp.where(itself, here.astype(gramian.dtype)[:, None], cosines)


def spectrum(matrix: jax.Array) -> Spectrum:
    """Eigenvalues and eigenvectors; what is only rounding is marked."""
    values, vectors = jnp.linalg.eigh(matrix)
    kept = values > noise_of(matrix) * jnp.max(values)
    return Spectrum(jnp.where(kept, values, 1.0), vectors, kept)


def cosine_weights(cosines: jax.Array, wanted: jax.Array) -> jax.Array:
    """β = (U Uᵀ)⁺ p `[T]`: the direction Σ βᵢuᵢ has products with the uᵢ like p.

    Where no direction has (more tasks than dimensions, opposed tasks), it is the
    least-squares answer, as the pseudo-inverse has it; zeros where even that vanishes.
    """
    values, vectors, kept = spectrum(cosines)
    along = dot(vectors.T, wanted)
    noise = noise_of(cosines) * jnp.max(jnp.abs(wanted))
    kept = jnp.logical_and(kept, jnp.abs(along) > noise)
    return dot(vectors, jnp.where(kept, along / values, 0.0))
