"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from auxjax.models._model import RELU_GAIN, Model, dense, from_linen


def mlp(
    hidden: Sequence[int],
    out: int,
    *,
    flatten: int = 1,
    scale: float = 1.0,
    relu_out: bool = False,
    dtype: Any = jnp.float32,
) -> Model:
    """Linear layers with ReLUs between them.

    Weights start orthogonal, with gain √2 before a ReLU and `scale` in the last layer;
    biases start at 0.

    Args:
      hidden: Units of each hidden layer.
      out: Numbers out.
      flatten: How many of the input's last axes are flattened: 1 for vectors, 2 for
        images `[..., H, W]`, 3 for `[..., H, W, C]`.
      scale: Gain of the last layer's initial weights.
      relu_out: Whether a ReLU comes last too: a trunk, from which heads read.
      dtype: In which the layers compute; the parameters are float32.

    Returns:
      `init(key, inputs)` and `apply(params, inputs) -> [..., out]`.

    Raises:
      ValueError: `flatten` is below 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = mlp((100, 100, 100), 10, flatten=2)
      >>> params = model.init(jax.random.key(0), jnp.zeros((1, 28, 28)))
      >>> model.apply(params, jnp.zeros((5, 28, 28))).shape
      (5, 10)

    References:
      Du et al., *Adapting Auxiliary Losses Using Gradient Similarity*, arXiv
      1812.02224: three layers of 100 on rotated digits.
    """
    if flatten < 1:
        raise ValueError(f"`flatten` should be at least 1. Found {flatten}.")
    return from_linen(_MLP(tuple(hidden), out, flatten, scale, relu_out, dtype))


class _MLP(nn.Module):
    """The module behind `mlp`."""

    hidden: tuple[int, ...]
    out: int
    flatten: int
    scale: float
    relu_out: bool
    dtype: Any

    @nn.compact
    def __call__(self, inputs):
        x = inputs.reshape(*inputs.shape[: -self.flatten], -1).astype(self.dtype)
        for units in self.hidden:
            x = nn.relu(dense(units, RELU_GAIN, self.dtype)(x))
        x = dense(self.out, RELU_GAIN if self.relu_out else self.scale, self.dtype)(x)
        return nn.relu(x) if self.relu_out else x
