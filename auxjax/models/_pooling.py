"""Pooling and resizing, in forms that are fast on a CPU and differentiate at will."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Array, Float
from auxjax.models._convolution_cpu import shifted_views


def max_pool(
    images: Float[Array, "*N H W C"],
    window: Sequence[int] = (2, 2),
    *,
    strides: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
) -> Float[Array, "*N H2 W2 C"]:
    """The largest value in each window.

    out[i, j, c] = max_{a, b} images[i·s + a, j·s + b, c]

    `lax.reduce_window` says the same, but its backward pass costs a quarter of a small
    CNN's step on a CPU. This is the maximum of as many strided views as the window has
    pixels, and what is kept for the backward pass is which of them was largest, a byte.
    Where several are, the first one's pixel takes the gradient.

    Args:
      images: Channels last; any number of leading axes.
      window: Rows and columns.
      strides: Steps in rows and in columns; the window's size unless given, so that
        windows do not overlap. Rows and columns that fill no window are dropped.
      padding: Rows above and below, columns left and right, which are never largest.

    Returns:
      The pooled images.

    Raises:
      ValueError: The window is larger than the image.

    Example:
      >>> import jax.numpy as jnp
      >>> image = jnp.array([[1.0, 2.0, 9.0], [3.0, 0.0, 9.0]])
      >>> max_pool(image[..., None]).tolist()  # the last column fills no window
      [[[3.0]]]
    """
    strides = tuple(window) if strides is None else tuple(strides)
    *lead, height, width, channels = images.shape
    padded = height + sum(padding[0]), width + sum(padding[1])
    if padded[0] < window[0] or padded[1] < window[1]:
        raise ValueError(
            f"the image should be at least as large as the window, {tuple(window)}. "
            f"Found {padded}."
        )
    images = images.reshape(-1, height, width, channels)
    if any(map(any, padding)):
        borders = ((0, 0), *padding, (0, 0))
        images = jnp.pad(images, borders, constant_values=-jnp.inf)
    out = _max_pool(images, tuple(window), strides)
    return out.reshape(*lead, *out.shape[1:])


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _max_pool(images, window, strides):
    return functools.reduce(jnp.maximum, shifted_views(images, window, strides))


@_max_pool.defjvp
def _max_pool_jvp(window, strides, primals, tangents):
    (images,), (slopes,) = primals, tangents
    largest, which = _largest(images, window, strides)
    tangent, *others = shifted_views(slopes, window, strides)
    for number, view in enumerate(others, 1):
        tangent = jnp.where(which == number, view, tangent)
    return largest, tangent


def _largest(images, window, strides):
    """The largest value in each window, and the first place where it stands.

    On a CPU in a loop over pieces of the batch. XLA would otherwise keep the images and
    compare them again in the backward pass; what a loop returns, it keeps.
    """

    def find(images):
        largest, *others = shifted_views(images, window, strides)
        which = jnp.zeros(largest.shape, jnp.int32 if len(others) > 254 else jnp.uint8)
        for number, view in enumerate(others, 1):
            which = jnp.where(view > largest, jnp.asarray(number, which.dtype), which)
            largest = jnp.maximum(view, largest)
        return largest, which

    cut = (n for n in range(2, 17) if len(images) % n == 0)
    pieces = next(cut, 1) if jax.default_backend() == "cpu" else 1
    pooled = jax.lax.map(find, images.reshape(pieces, -1, *images.shape[1:]))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), pooled)


def resize(
    images: Float[Array, "*N H W C"], size: Sequence[int]
) -> Float[Array, "*N H2 W2 C"]:
    """Bilinear interpolation to another size, the outermost pixels staying outermost.

    Rows and columns are interpolated one after the other, each by a matrix with two
    numbers per row. (PyTorch calls this `align_corners=True`.)

    Args:
      images: Channels last; any number of leading axes.
      size: Height and width asked for.

    Returns:
      The resized images.

    Example:
      >>> import jax.numpy as jnp
      >>> resize(jnp.array([[0.0, 1.0]])[..., None], (1, 5))[0, :, 0]
      Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    rows = jnp.asarray(_between(images.shape[-3], size[0]), images.dtype)
    columns = jnp.asarray(_between(images.shape[-2], size[1]), images.dtype)
    images = jnp.einsum("ph,...hwc->...pwc", rows, images)
    return jnp.einsum("qw,...pwc->...pqc", columns, images)


def _between(length: int, wanted: int) -> np.ndarray:
    """The matrix `[wanted, length]` of a linear interpolation."""
    places = np.linspace(0, length - 1, wanted)
    distances = np.abs(places[:, None] - np.arange(length))
    return np.maximum(1 - distances, 0)
