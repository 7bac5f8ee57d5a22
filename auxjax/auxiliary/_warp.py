"""Warping: look at an image through a flow."""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._types import Array, Float, Shaped

from ._pixels import gather_pixels, to_float


def warp(
    image: Shaped[Array, "B H W C"], flow: Float[Array, "B H W 2"]
) -> Float[Array, "B H W C"]:
    """Sample an image at x + flow(x), bilinearly.

    warp(I, f)[i, j] = I(i + f[i, j, 1], j + f[i, j, 0])

    Beyond the frame the nearest pixel of the border goes on for ever, so the result
    does not change there with the flow, and its derivative is zero. At whole positions,
    where bilinear interpolation has a kink, the derivative is the one to the right
    and downwards.

    Args:
        image: The image to look at; uint8 is scaled to [0, 1].
        flow: Displacements in pixels: (dx in columns, dy in rows).

    Returns:
        The image as seen from each pixel, in float32 (float64 if an input has it).

    Raises:
        ValueError: The flow is not two numbers a pixel.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.array([[0.0, 10.0, 20.0]])[None, :, :, None]
        >>> flow = jnp.full((1, 1, 3, 2), jnp.array([0.5, 0.0]))
        >>> warp(image, flow)[0, 0, :, 0]
        Array([ 5., 15., 20.], dtype=float32)

    References:
        Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial Transformer Networks
        (2015), arXiv 1506.02025, Eq. 5.
    """
    batch, height, width, channels = image.shape
    if flow.shape != (batch, height, width, 2):
        raise ValueError(
            f"`flow` should have shape {(batch, height, width, 2)}. Found {flow.shape}."
        )
    image, flow = to_float(image), to_float(flow)
    dtype = jnp.float64 if jnp.float64 in (image.dtype, flow.dtype) else jnp.float32
    image, flow = image.astype(dtype), flow.astype(dtype)

    # With one border pixel repeated on each side, any position has four neighbours
    # once it is brought to within a pixel of the frame.
    x = jnp.clip(
        flow[..., 0] + jnp.arange(width, dtype=dtype)[None, None, :], -1, width
    )
    y = jnp.clip(
        flow[..., 1] + jnp.arange(height, dtype=dtype)[None, :, None], -1, height
    )
    left = jnp.clip(jnp.floor(x), -1, width - 1)
    top = jnp.clip(jnp.floor(y), -1, height - 1)
    # The four neighbours lie side by side, so that one gather fetches all of them.
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    neighbours = jnp.concatenate(
        [
            padded[:, i : i + height + 1, j : j + width + 1]
            for i in (0, 1)
            for j in (0, 1)
        ],
        axis=-1,
    )
    index = (top.astype(jnp.int32) + 1) * (width + 1) + left.astype(jnp.int32) + 1
    pixels = gather_pixels(neighbours, index).reshape(
        batch, height, width, 2, 2, channels
    )
    right_part, low_part = (x - left)[..., None], (y - top)[..., None]
    upper = pixels[..., 0, 0, :] * (1 - right_part) + pixels[..., 0, 1, :] * right_part
    lower = pixels[..., 1, 0, :] * (1 - right_part) + pixels[..., 1, 1, :] * right_part
    return upper * (1 - low_part) + lower * low_part
