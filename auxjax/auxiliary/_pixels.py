"""What the image losses share: one scale for pixels, one way to look them up."""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._types import Array, Float, Int, Shaped


def to_float(observation: Shaped[Array, "*S"]) -> Float[Array, "*S"]:
    """Observations as floats: uint8 is divided by 255, the rest is only cast.

    Args:
      observation: Any shape; bool, integer or float. MinAtar's bools become 0 and
        1, Atari's bytes numbers in [0, 1].

    Returns:
      The same shape in float32, or in float64 if that is what came in.

    Example:
      >>> import jax.numpy as jnp
      >>> to_float(jnp.array([0, 255], jnp.uint8))
      Array([0., 1.], dtype=float32)
    """
    if observation.dtype == jnp.float64:
        return observation
    floats = observation.astype(jnp.float32)
    return floats / 255 if observation.dtype == jnp.uint8 else floats


def gather_pixels(
    images: Shaped[Array, "B H W C"], index: Int[Array, " B *N"]
) -> Shaped[Array, "B *N C"]:
    """The pixels at the flat positions `row * W + column` of each image."""
    batch, height, width, channels = images.shape
    # One gather over the pixels of the whole batch: rows of C numbers, which a CPU
    # copies much faster than it would a gather for every image.
    first = jnp.arange(batch, dtype=index.dtype) * (height * width)
    flat = index + first.reshape((batch,) + (1,) * (index.ndim - 1))
    return jnp.take(images.reshape(-1, channels), flat, axis=0, mode="clip")
