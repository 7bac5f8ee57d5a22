"""Egomotion: predict how an image was turned and shifted."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from auxjax._types import Array, Float, Int, Key, Shaped
from auxjax.auxiliary._masking import (
    check_same_shape,
    kept_rows,
    masked_mean,
    mean_of_rows,
)
from auxjax.auxiliary._pixels import gather_pixels


def egomotion(
    prediction: Float[Array, "B K"],
    target: Float[Array, "B K"],
    mask: Shaped[Array, " B"],
) -> Float[Array, ""]:
    """Mean squared error of the predicted transformation.

    L = mean over the batch of (1/K) ‖prediction − target‖²

    Args:
      prediction: What the model makes of φ(s) and φ(transformed s).
      target: The transformation: (cos, sin, dx, dy) from `random_transform`.
      mask: True where s may be learned from.

    Returns:
      A non-negative scalar; 0 if the mask keeps nothing.

    Raises:
      ValueError: The shapes differ.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> image = jnp.eye(4)[None, :, :, None]
      >>> moved, target = random_transform(jax.random.key(0), image)
      >>> egomotion(target + 1, target, jnp.array([True]))
      Array(1., dtype=float32)

    References:
      Agrawal, Carreira, Malik: Learning to See by Moving (2015), arXiv 1505.01596.
      The paper sorts each component of the motion into bins and classifies; here
      the four numbers are regressed.
    """
    check_same_shape("prediction", prediction, "target", target)
    prediction, target = kept_rows(mask, prediction, target)
    return masked_mean(mean_of_rows(jnp.square(prediction - target)), mask)


def random_transform(
    key: Key[Array, ""], images: Shaped[Array, "B H W C"], *, max_shift: int = 2
) -> tuple[Shaped[Array, "B H W C"], Float[Array, "B 4"]]:
    """Turn each image by a multiple of 90°, then shift it by whole pixels.

    The pixels land exactly on the grid: nothing is interpolated, which would be
    meaningless for the symbols of a grid world. Turns are counter-clockwise as
    `numpy.rot90`'s, and by 0 or 180° only if the image is not square. A shift (dx, dy)
    moves the content dx columns right and dy rows down and fills with zeros.

    Args:
      key: Random key.
      images: Any dtype, which is kept.
      max_shift: The largest |dx| and |dy|, in pixels; each is uniform.

    Returns:
      The moved images, and the targets (cos, sin, dx / max_shift, dy / max_shift) in
      float32, each within [−1, 1].

    Raises:
      ValueError: The shift is negative, or can push everything out of the frame.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> image = jnp.arange(4).reshape(1, 2, 2, 1)
      >>> moved, target = random_transform(jax.random.key(1), image, max_shift=0)
      >>> moved[0, :, :, 0]  # a quarter turn clockwise
      Array([[2, 0],
             [3, 1]], dtype=int32)
      >>> target
      Array([[ 0., -1.,  0.,  0.]], dtype=float32)

    References:
      Agrawal, Carreira, Malik: Learning to See by Moving (2015), arXiv 1505.01596.
    """
    batch, height, width, _ = images.shape
    if not 0 <= max_shift < min(height, width):
        raise ValueError(
            f"`max_shift` should be at least 0 and less than {min(height, width)}, the "
            f"image's shorter side. Found {max_shift}."
        )
    turn_key, shift_key = jax.random.split(key)
    quarters = jax.random.randint(turn_key, (batch,), 0, 4)
    if height != width:
        quarters = quarters // 2 * 2
    cos = jnp.array([1, 0, -1, 0], jnp.int32)[quarters]
    sin = jnp.array([0, 1, 0, -1], jnp.int32)[quarters]
    shift = jax.random.randint(shift_key, (batch, 2), -max_shift, max_shift + 1)
    dx, dy = shift[:, 0], shift[:, 1]

    moved = _move(images, cos, sin, dx, dy)
    scale = max(max_shift, 1)  # with no shift at all, 0 / 1
    target = jnp.stack([cos * scale, sin * scale, dx, dy], axis=1)
    return moved, target.astype(jnp.float32) / scale


def _move(
    images: Shaped[Array, "B H W C"],
    cos: Int[Array, " B"],
    sin: Int[Array, " B"],
    dx: Int[Array, " B"],
    dy: Int[Array, " B"],
) -> Shaped[Array, "B H W C"]:
    """Look up, for each pixel of the result, the pixel of the image that goes there."""
    _, height, width, _ = images.shape
    cos, sin, dx, dy = (x[:, None, None] for x in (cos, sin, dx, dy))
    row = jnp.arange(height)[None, :, None] - dy  # undo the shift: [B, H, 1]
    column = jnp.arange(width)[None, None, :] - dx  # [B, 1, W]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    # Undo the turn about the centre, in half pixels so that the centre is an integer.
    u, v = 2 * row - (height - 1), 2 * column - (width - 1)
    from_row = (cos * u + sin * v + height - 1) // 2
    from_column = (cos * v - sin * u + width - 1) // 2
    pixels = gather_pixels(images, from_row * width + from_column)
    return jnp.where(inside[..., None], pixels, jnp.zeros((), images.dtype))
