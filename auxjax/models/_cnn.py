"""A small convolutional network for digits and the like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from auxjax.models._convolution import Conv, Implementation
from auxjax.models._model import RELU_GAIN, Model, dense, from_linen


def cnn(
    out: int,
    *,
    channels: Sequence[int] = (32, 64),
    hidden: int = 128,
    scale: float = 1.0,
    relu_out: bool = False,
    implementation: Implementation = "auto",
    dtype: Any = jnp.float32,
) -> Model:
    """3×3 convolutions with 2×2 max pooling after each, then one hidden layer.

    Weights start orthogonal, with gain √2 before a ReLU and `scale` in the last layer;
    biases start at 0.

    Args:
      out: Numbers out.
      channels: Filters of each convolution, which keeps its input's size.
      hidden: Units of the hidden layer.
      scale: Gain of the last layer's initial weights.
      relu_out: Whether a ReLU comes last too: a trunk, from which heads read.
      implementation: How to convolve; see `convolve`.
      dtype: In which the layers compute; the parameters are float32.

    Returns:
      `init(key, images)` and `apply(params, images) -> [..., out]` for images
      `[..., H, W, C]`, H and W at least 2 to the number of convolutions.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = cnn(10, channels=(4, 8), hidden=16)
      >>> params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> model.apply(params, jnp.zeros((5, 8, 8, 1))).shape
      (5, 10)
    """
    return from_linen(
        _CNN(tuple(channels), hidden, out, scale, relu_out, implementation, dtype)
    )


class _CNN(nn.Module):
    """The module behind `cnn`."""

    channels: tuple[int, ...]
    hidden: int
    out: int
    scale: float
    relu_out: bool
    implementation: Implementation
    dtype: Any

    @nn.compact
    def __call__(self, images):
        lead = images.shape[:-3]
        x = images
        for filters in self.channels:
            x = Conv(
                filters,
                (3, 3),
                padding="SAME",
                implementation=self.implementation,
                dtype=self.dtype,
                pool=(2, 2),
            )(x)
            x = nn.relu(x)  # the same as before the pooling; on a quarter of the pixels
        x = nn.relu(dense(self.hidden, RELU_GAIN, self.dtype)(x.reshape(*lead, -1)))
        x = dense(self.out, RELU_GAIN if self.relu_out else self.scale, self.dtype)(x)
        return nn.relu(x) if self.relu_out else x
