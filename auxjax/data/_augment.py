"""Augmentations: pure functions of a key, jitted.

Shapes never change, and how far to zoom, where to crop and whether to flip are drawn
for each picture apart: a batch is a `vmap`, and an epoch with them is still one scan.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import SupportsFloat, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._numbers import integer
from auxjax._types import Array, Float, Key, Shaped
from auxjax.data._scenes import Scenes

__all__ = ["augment_scenes", "random_crop_flip", "rotate"]

SCALES = (1.0, 1.2, 1.5)


def augment_scenes(
    key: Key[Array, ""],
    scenes: Scenes,
    *,
    scales: Sequence[SupportsFloat] = SCALES,
    flip: bool = True,
    disparity: bool = False,
) -> Scenes:
    """Zooms in at random, crops back to the size, and mirrors every second picture.

    A picture magnified s times is what a camera sees that is s times as near: depth is
    divided by s (`disparity`, its inverse, multiplied). Mirrored, the first component
    of a normal changes its sign.

    Images are interpolated bilinearly. Labels, depth and normals take the nearest
    pixel: between a chair and the wall behind it there is no surface halfway, between
    two normals no unit vector, and next to an invalid pixel no number at all. So
    invalid pixels (label −1, depth 0, normal 0) stay exactly that.

    Args:
      key: one for the batch; each picture draws on its own.
      scenes: images `[n, H, W, 3]` and what belongs to them; None stays None.
      scales: the magnifications, each as likely, at least 1.
      flip: whether to mirror.
      disparity: whether `scenes.depth` is inverse depth.

    Returns:
      The scenes, of the same shapes and dtypes.

    Raises:
      ValueError: `scales` is empty or has a number below 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from auxjax.data import Scenes
      >>> scenes = Scenes(
      ...     images=jnp.ones((1, 6, 6, 3)),
      ...     label=jnp.zeros((1, 6, 6), jnp.int32),
      ...     depth=jnp.full((1, 6, 6, 1), 3.0),
      ... )
      >>> out = augment_scenes(jax.random.key(0), scenes, scales=[1.5])
      >>> out.images.shape, float(out.depth.max())
      ((1, 6, 6, 3), 2.0)

    References:
      Liu, Johns, Davison: End-to-End Multi-Task Learning with Attention (2019),
      arXiv 1803.10704. Its code interpolates normals bilinearly, which shortens them.
    """
    factors = tuple(float(scale) for scale in scales)
    if not factors or min(factors) < 1:
        raise ValueError(
            "`scales` should be one number or more, each at least 1. "
            f"Found {list(factors)}."
        )
    return _augment(key, scenes, scales=factors, flip=flip, disparity=disparity)


@functools.partial(jax.jit, static_argnames=("scales", "flip", "disparity"))
def _augment(key, scenes, *, scales, flip, disparity):
    count, height, width = scenes.images.shape[:3]

    def one(key, scene):
        keys = jax.random.split(key, 3)
        sizes = jnp.asarray(scales, jnp.float32)
        scale = sizes[jax.random.randint(keys[0], (), 0, len(sizes))]
        corner = jax.random.uniform(keys[1], (2,), jnp.float32)
        mirror = jax.random.bernoulli(keys[2]) & flip
        rows, columns = (
            _window(size, scale, share, turn)
            for size, share, turn in zip(
                (height, width), corner, (jnp.bool_(False), mirror), strict=True
            )
        )
        crop = jax.tree.map(lambda x: _nearest(x, rows, columns), scene)
        factor = scale if disparity else 1 / scale
        normal = crop.normal
        if normal is not None:
            sign = jnp.where(mirror, -1, 1).astype(normal.dtype)
            normal = normal.at[..., 0].multiply(sign)
        return crop._replace(
            images=_bilinear(scene.images, rows, columns),
            depth=crop.depth * factor.astype(crop.depth.dtype),
            normal=normal,
        )

    return jax.vmap(one)(jax.random.split(key, count), scenes)


def _window(size, scale, share, mirror):
    """Where a crop's pixels lie along one axis of the picture.

    Whole numbers are middles of pixels. At scale 1 they are 0, 1, 2, … exactly.
    """
    start = share * (size - size / scale)
    index = jnp.arange(size, dtype=jnp.float32)
    index = jnp.where(mirror, size - 1 - index, index)
    # Written as a sum so that at scale 1 nothing is rounded.
    return start + (index + 0.5 * (1 - scale)) / scale


def _nearest(image, rows, columns):
    rows, columns = (
        jnp.clip(jnp.round(at), 0, size - 1).astype(jnp.int32)
        for at, size in zip((rows, columns), image.shape[:2], strict=True)
    )
    return image[rows][:, columns]


def _bilinear(image, rows, columns):
    """Rows first, then columns; beyond the border its last pixel goes on."""
    floats = _floats(image)
    for axis, at in enumerate((rows, columns)):
        size = image.shape[axis]
        at = jnp.clip(at, 0, size - 1)
        low = jnp.floor(at).astype(jnp.int32)
        part = (at - low.astype(at.dtype)).astype(floats.dtype)
        part = jnp.expand_dims(part, [i for i in range(image.ndim) if i != axis])
        one = jnp.take(floats, low, axis=axis)
        two = jnp.take(floats, jnp.minimum(low + 1, size - 1), axis=axis)
        floats = one + part * (two - one)
    return _back(floats, image.dtype)


def random_crop_flip(
    key: Key[Array, ""],
    images: Shaped[Array, "B H W C"],
    *,
    padding: SupportsIndex = 4,
    flip: bool = True,
) -> Shaped[Array, "B H W C"]:
    """Shifts each image by up to `padding` pixels, and mirrors every second one.

    The usual augmentation of CIFAR: zeros are put around, and a crop of the old size
    is taken anywhere.

    Args:
      key: one for the batch; each image draws on its own.
      images: of any dtype.
      padding: pixels on each side.
      flip: whether to mirror.

    Returns:
      As many images, of the same shape and dtype.

    Raises:
      ValueError: `padding` is negative.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> images = jnp.ones((5, 8, 8, 3), jnp.uint8)
      >>> random_crop_flip(jax.random.key(0), images, padding=2).shape
      (5, 8, 8, 3)

    References:
      He, Zhang, Ren, Sun: Deep Residual Learning (2015), arXiv 1512.03385, §4.2.
    """
    padding = integer("padding", padding, 0)
    return _crop_flip(key, images, padding=padding, flip=flip)


@functools.partial(jax.jit, static_argnames=("padding", "flip"))
def _crop_flip(key, images, *, padding, flip):
    def one(key, image):
        crop_key, flip_key = jax.random.split(key)
        around = jnp.pad(image, [(padding, padding), (padding, padding), (0, 0)])
        at = jax.random.randint(crop_key, (2,), 0, 2 * padding + 1, jnp.int32)
        crop = jax.lax.dynamic_slice(around, (at[0], at[1], 0), image.shape)
        mirror = jax.random.bernoulli(flip_key) & flip
        return jnp.where(mirror, crop[:, ::-1], crop)

    return jax.vmap(one)(jax.random.split(key, images.shape[0]), images)


def rotate(
    images: Shaped[Array, "B H W C"], degrees: SupportsFloat
) -> Shaped[Array, "B H W C"]:
    """Turns images counter-clockwise about their middle.

    Multiples of 90° move pixels and change none. Other angles interpolate bilinearly,
    and zeros come in from outside.

    Args:
      images: of any dtype; uint8 and other whole numbers are rounded.
      degrees: the same for all.

    Returns:
      As many images, of the same shape and dtype.

    Raises:
      ValueError: a turn by 90° or 270° of images that are not square.

    Example:
      >>> import jax.numpy as jnp
      >>> image = jnp.array([[1, 2], [3, 4]])[None, :, :, None]
      >>> rotate(image, 90)[0, :, :, 0]
      Array([[2, 4],
           [1, 3]], dtype=int32)
    """
    height, width = images.shape[1:3]
    turns, rest = divmod(float(degrees), 90)
    if rest == 0:
        if turns % 2 and height != width:
            raise ValueError(
                "`images` should be square to be turned by 90° or 270°. "
                f"Found {height}×{width}."
            )
        return jnp.rot90(images, int(turns) % 4, axes=(1, 2))
    return _turn(images, float(degrees))


@functools.partial(jax.jit, static_argnums=1)
def _turn(images, degrees):
    # Where each pixel comes from: the inverse turn. Rows point down.
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    height, width = images.shape[1:3]
    middle = (height - 1) / 2, (width - 1) / 2
    down, right = np.meshgrid(
        np.arange(height) - middle[0], np.arange(width) - middle[1], indexing="ij"
    )
    rows = cosine * down + sine * right + middle[0]
    columns = cosine * right - sine * down + middle[1]
    return _back(_weighted(_floats(images), rows, columns), images.dtype)


def _weighted(floats, rows, columns):
    """Bilinear at fixed places, zero outside: four gathers with constant weights."""
    height, width = floats.shape[1:3]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    total = jnp.zeros_like(floats)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = top + row, left + column
        weight = (1 - np.abs(rows - y)) * (1 - np.abs(columns - x))
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        weight = jnp.asarray(np.where(inside, weight, 0)[None, ..., None], floats.dtype)
        y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        total = total + weight * floats[:, y, x]
    return total


def _floats(images: Shaped[Array, "*S"]) -> Float[Array, "*S"]:
    return images if images.dtype == jnp.float64 else images.astype(jnp.float32)


def _back(floats: Float[Array, "*S"], dtype) -> Shaped[Array, "*S"]:
    """To the dtype that came in, by rounding where it has no fractions."""
    if not jnp.issubdtype(dtype, jnp.floating):
        floats = jnp.round(floats)
    return floats.astype(dtype)
