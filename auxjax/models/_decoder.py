"""Decoders: from latents back to an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from auxjax._types import Array, Float
from auxjax.models._convolution import Conv, Implementation
from auxjax.models._encoder import NATURE_SMALLEST
from auxjax.models._model import (
    RELU_GAIN,
    Model,
    dense,
    from_linen,
    orthogonal,
    side_by_side,
)


def decoder(
    observation_shape: Sequence[int],
    channels: int | None = None,
    *,
    scale: float = 1.0,
    implementation: Implementation = "auto",
    dtype: Any = jnp.float32,
) -> Model:
    """A network from latents to an image as large as the observation.

    Vectors and small images come out of one linear layer. An image of 36×36 and more
    starts as a grid a twelfth of its size with 64 channels (7×7 for 84×84) and grows
    by a factor of 3, then of 4: each time a 3×3 convolution makes all the pixels of a
    block at once, as channels, and `depth_to_space` lays them out. That is a transposed
    convolution in values, and costs about as much as the encoder.

    Args:
      observation_shape: `(H, W, C)` or `(N,)`.
      channels: Numbers per pixel; C unless given. 2 for an optical flow.
      scale: Gain of the last layer's initial weights.
      implementation: How to convolve; see `convolve`.
      dtype: In which the layers compute; the parameters are float32.

    Returns:
      `init(key, *latents)` and `apply(params, *latents) -> [..., H, W, channels]`;
      several latents are concatenated along their last axis.

    Raises:
      ValueError: The shape is neither a vector's nor an image's.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow = decoder((10, 10, 4), 2)
      >>> latent = next_latent = jnp.zeros((5, 8))
      >>> params = flow.init(jax.random.key(0), latent, next_latent)
      >>> flow.apply(params, latent, next_latent).shape
      (5, 10, 10, 2)

    References:
      Shi et al.: Real-Time Single Image and Video Super-Resolution Using an Efficient
      Sub-Pixel Convolutional Neural Network (2016), arXiv 1609.05158.
    """
    shape = tuple(observation_shape)
    if len(shape) not in (1, 3):
        raise ValueError(
            f"`observation_shape` should be (H, W, C) or (N,). Found {shape}."
        )
    if channels is not None:
        shape = (*shape[:-1], channels)
    if len(shape) == 1 or min(shape[:2]) < NATURE_SMALLEST:
        return from_linen(_LinearDecoder(shape, scale, dtype))
    return from_linen(_SubPixelDecoder(shape, scale, implementation, dtype))


def depth_to_space(
    images: Float[Array, "*N H W D"], block: int
) -> Float[Array, "*N H2 W2 C"]:
    """Lay each pixel's channels out as a block: `[H, W, b·b·C]` to `[H·b, W·b, C]`."""
    *lead, height, width, depth = images.shape
    blocks = images.reshape(-1, height, width, block, block, depth // block**2)
    blocks = blocks.swapaxes(2, 3)  # row, row in block, column, column in block
    return blocks.reshape(*lead, height * block, width * block, depth // block**2)


class _LinearDecoder(nn.Module):
    """One linear layer, for what is small."""

    shape: tuple[int, ...]
    scale: float
    dtype: Any

    @nn.compact
    def __call__(self, *latents):
        x = side_by_side(*latents, dtype=self.dtype)
        x = dense(math.prod(self.shape), self.scale, self.dtype)(x)
        return x.reshape(*x.shape[:-1], *self.shape)


class _SubPixelDecoder(nn.Module):
    """Grows a small grid of features into a large image."""

    shape: tuple[int, ...]
    scale: float
    implementation: Implementation
    dtype: Any

    @nn.compact
    def __call__(self, *latents):
        height, width, channels = self.shape
        rows, columns = math.ceil(height / 12), math.ceil(width / 12)
        x = side_by_side(*latents, dtype=self.dtype)
        x = dense(rows * columns * 64, RELU_GAIN, self.dtype)(x)
        x = nn.relu(x).reshape(*x.shape[:-1], rows, columns, 64)
        x = nn.relu(self._grow(x, 3, 16, RELU_GAIN))
        x = self._grow(x, 4, channels, self.scale)
        return x[..., :height, :width, :]

    def _grow(self, images, factor, channels, scale):
        return depth_to_space(
            Conv(
                channels * factor**2,
                (3, 3),
                padding="SAME",
                implementation=self.implementation,
                dtype=self.dtype,
                kernel_init=orthogonal(scale),
            )(images),
            factor,
        )
