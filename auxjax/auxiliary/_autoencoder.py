"""Autoencoder: reconstruct the observation from its latent."""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._types import Array, Float, Shaped
from auxjax.auxiliary._masking import (
    check_same_shape,
    kept_rows,
    masked_mean,
    mean_of_rows,
)


def autoencoder(
    reconstruction: Float[Array, " B *S"],
    observation: Shaped[Array, " B *S"],
    mask: Shaped[Array, " B"],
) -> Float[Array, ""]:
    """Mean squared error per pixel (or per entry of a vector observation).

    L = mean over the batch of (1/P) ‖ŝ − s‖², with P = H·W·C entries

    Args:
      reconstruction: ŝ, decoded from φ(s).
      observation: s; bool, uint8 (compared as s / 255) or float.
      mask: True where s may be learned from.

    Returns:
      A non-negative scalar; 0 if the mask keeps nothing.

    Raises:
      ValueError: The shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> observation = jnp.array([[True, False]])
      >>> autoencoder(jnp.array([[0.5, 0.5]]), observation, jnp.array([True]))
      Array(0.25, dtype=float32)

    References:
      Hinton, Salakhutdinov: Reducing the Dimensionality of Data with Neural
      Networks, Science 313 (2006).
    """
    check_same_shape("reconstruction", reconstruction, "observation", observation)
    reconstruction, observation = kept_rows(mask, reconstruction, observation)
    return masked_mean(mean_of_rows(jnp.square(reconstruction - observation)), mask)
