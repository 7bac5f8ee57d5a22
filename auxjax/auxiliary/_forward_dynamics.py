"""Forward dynamics: predict the next latent from the latent and the action."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from auxjax._types import Array, Float, Shaped
from auxjax.auxiliary._masking import (
    check_same_shape,
    kept_rows,
    masked_mean,
    mean_of_rows,
)


def forward_dynamics(
    predicted: Float[Array, "B D"],
    next_latent: Float[Array, "B D"],
    mask: Shaped[Array, " B"],
    *,
    stop_target_gradient: bool = True,
) -> Float[Array, ""]:
    """Mean squared error of the predicted next latent.

    L = mean over the batch of (1/D) ‖φ̂(s') − φ(s')‖²

    Args:
      predicted: φ̂(s'), what the model makes of φ(s) and a.
      next_latent: φ(s'), the encoder's view of what came.
      mask: True where s' followed from s and a.
      stop_target_gradient: Whether φ(s') is a constant. If it is not, the encoder
        can lower this loss by mapping every observation to the same point.

    Returns:
      A non-negative scalar; 0 if the mask keeps nothing.

    Raises:
      ValueError: The shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> predicted = jnp.array([[1.0, 3.0], [0.0, 0.0]])
      >>> next_latent = jnp.array([[1.0, 1.0], [9.0, 9.0]])
      >>> forward_dynamics(predicted, next_latent, jnp.array([True, False]))
      Array(2., dtype=float32)

    References:
      Pathak, Agrawal, Efros, Darrell: Curiosity-driven Exploration by
      Self-supervised Prediction (2017), arXiv 1705.05363, Eq. 5. The paper's loss
      is ½‖·‖², D/2 times this one: the mean does not grow with the latent's size.
    """
    check_same_shape("predicted", predicted, "next_latent", next_latent)
    if stop_target_gradient:
        next_latent = jax.lax.stop_gradient(next_latent)
    predicted, next_latent = kept_rows(mask, predicted, next_latent)
    return masked_mean(mean_of_rows(jnp.square(predicted - next_latent)), mask)
