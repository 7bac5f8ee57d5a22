"""Heads: small networks that read one or several latents."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from auxjax._types import Array, Float, Shaped
from auxjax.models._model import RELU_GAIN, Model, dense, from_linen, side_by_side


def linear_head(out: int, *, scale: float = 1.0, dtype: Any = jnp.float32) -> Model:
    """One linear layer with orthogonal weights.

    Args:
      out: Numbers out.
      scale: Gain of the initial weights. Small (0.01) for a policy's logits, so that
        the first policy is nearly uniform; 1 for a value.
      dtype: In which the layer computes; the parameters are float32.

    Returns:
      `init(key, *inputs)` and `apply(params, *inputs) -> [..., out]`; several inputs
      are concatenated along their last axis.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> head = linear_head(3, scale=0.01)
      >>> params = head.init(jax.random.key(0), jnp.zeros((1, 8)))
      >>> head.apply(params, jnp.zeros((5, 8))).shape
      (5, 3)
    """
    return from_linen(_Head((), out, scale, dtype))


def mlp_head(
    hidden: int, out: int, *, scale: float = 1.0, dtype: Any = jnp.float32
) -> Model:
    """One hidden layer of ReLUs, then a linear layer.

    Args:
      hidden: Units of the hidden layer.
      out: Numbers out.
      scale: Gain of the last layer's initial weights.
      dtype: In which the layers compute; the parameters are float32.

    Returns:
      `init(key, *inputs)` and `apply(params, *inputs) -> [..., out]`; several inputs
      are concatenated along their last axis.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> inverse = mlp_head(16, 3)  # which of 3 actions led from φ to φ'?
      >>> latent = next_latent = jnp.zeros((5, 8))
      >>> params = inverse.init(jax.random.key(0), latent, next_latent)
      >>> inverse.apply(params, latent, next_latent).shape
      (5, 3)
    """
    return from_linen(_Head((hidden,), out, scale, dtype))


def embed_action(
    action: Shaped[Array, "*N"], num_actions: int | None = None
) -> Float[Array, " ..."]:
    """An action as numbers a network can read.

    Args:
      action: Integers `[...]`, discrete; or floats `[..., K]`, continuous.
      num_actions: How many discrete actions there are.

    Returns:
      One-hot rows `[..., num_actions]` in float32; continuous actions unchanged.

    Raises:
      ValueError: `num_actions` is missing for discrete actions.

    Example:
      >>> import jax.numpy as jnp
      >>> embed_action(jnp.array([2, 0]), 3)
      Array([[0., 0., 1.],
             [1., 0., 0.]], dtype=float32)
    """
    if not jnp.issubdtype(action.dtype, jnp.integer):
        return action
    if num_actions is None:
        raise ValueError(
            "`num_actions` should be given for discrete actions. Found None."
        )
    return jax.nn.one_hot(action, num_actions, dtype=jnp.float32)


class _Head(nn.Module):
    """The module behind the heads."""

    hidden: tuple[int, ...]
    out: int
    scale: float
    dtype: Any

    @nn.compact
    def __call__(self, *inputs):
        x = side_by_side(*inputs, dtype=self.dtype)
        for units in self.hidden:
            x = nn.relu(dense(units, RELU_GAIN, self.dtype)(x))
        return dense(self.out, self.scale, self.dtype)(x)
