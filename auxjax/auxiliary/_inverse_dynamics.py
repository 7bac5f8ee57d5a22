"""Inverse dynamics: predict the action from two consecutive latents."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from auxjax._types import Array, Float, Int, Shaped
from auxjax.auxiliary._masking import (
    check_same_shape,
    kept_rows,
    masked_mean,
    mean_of_rows,
)


def inverse_dynamics(
    prediction: Float[Array, "B K"],
    action: Int[Array, " B"] | Float[Array, "B K"],
    mask: Shaped[Array, " B"],
) -> Float[Array, ""]:
    """How badly the action between two observations was guessed.

    Discrete actions:   L = mean over the batch of −log softmax(prediction)[a]
    Continuous actions: L = mean over the batch of (1/K) ‖prediction − a‖²

    Args:
      prediction: Logits of K discrete actions, or a continuous action's K numbers.
      action: The action taken; integers mean discrete ones.
      mask: True where s' followed from s and a.

    Returns:
      A non-negative scalar; 0 if the mask keeps nothing.

    Raises:
      ValueError: The action's shape does not go with the prediction's.

    Example:
      >>> import jax.numpy as jnp
      >>> mask = jnp.array([True])
      >>> inverse_dynamics(jnp.zeros((1, 4)), jnp.array([2]), mask)  # log 4
      Array(1.3862944, dtype=float32)
      >>> inverse_dynamics(jnp.zeros((1, 2)), jnp.array([[1.0, 3.0]]), mask)
      Array(5., dtype=float32)

    References:
      Pathak, Agrawal, Efros, Darrell: Curiosity-driven Exploration by
      Self-supervised Prediction (2017), arXiv 1705.05363, Eqs. 2 and 3.
    """
    if jnp.issubdtype(action.dtype, jnp.integer):
        if action.shape != prediction.shape[:1]:
            raise ValueError(
                "a discrete `action` should be one integer per row of `prediction`, "
                f"shape {prediction.shape[:1]}. Found {action.shape}."
            )
        (logits,) = kept_rows(mask, prediction)
        # A reset's action may be a placeholder such as -1: no logit stands there.
        label = jnp.where(mask.astype(bool), action, 0)
        errors = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    else:
        check_same_shape("action", action, "prediction", prediction)
        prediction, action = kept_rows(mask, prediction, action)
        errors = mean_of_rows(jnp.square(prediction - action))
    return masked_mean(errors, mask)
