"""Warping: look at an image through a flow."""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._types import Array, Float, Shaped
from auxjax.auxiliary._pixels import gather_pixels, to_float


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
      ValueError: The flow is not two numbers per pixel.

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
    batch, height, width, _ = image.shape
    if flow.shape != (batch, height, width, 2):
        raise ValueError(
            f"`flow` should have shape {(batch, height, width, 2)}. Found {flow.shape}."
        )
    image, flow = to_float(image), to_float(flow)
    dtype = jnp.float64 if jnp.float64 in (image.dtype, flow.dtype) else jnp.float32
    image, flow = image.astype(dtype), flow.astype(dtype)
    x = flow[..., 0] + jnp.arange(width, dtype=dtype)[None, None, :]
    y = flow[..., 1] + jnp.arange(height, dtype=dtype)[None, :, None]
    return _bilinear(image, x, y)


def _bilinear(
    image: Float[Array, "B H W C"], x: Float[Array, "B H W"], y: Float[Array, "B H W"]
) -> Float[Array, "B H W C"]:
    """The image at column x and row y, which need not be whole."""
    _, height, width, _ = image.shape
    # A pixel away from the frame and beyond, nothing changes any more.
    x, y = jnp.clip(x, -1, width), jnp.clip(y, -1, height)
    left = jnp.clip(jnp.floor(x), -1, width - 1)
    top = jnp.clip(jnp.floor(y), -1, height - 1)
    # The weights get their channel axis here and not by broadcasting each product, so
    # that the backward pass sums over channels twice and not eight times: on a CPU
    # those sums are most of its time.
    across, down = (
        jnp.broadcast_to(part[..., None], image.shape) for part in (x - left, y - top)
    )

    def pixel(row, column):
        row = jnp.clip(row, 0, height - 1).astype(jnp.int32)
        column = jnp.clip(column, 0, width - 1).astype(jnp.int32)
        return gather_pixels(image, row * width + column)

    def between(start, end, part):
        return start + part * (end - start)

    upper = between(pixel(top, left), pixel(top, left + 1), across)
    lower = between(pixel(top + 1, left), pixel(top + 1, left + 1), across)
    return between(upper, lower, down)
