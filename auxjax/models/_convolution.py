"""Convolution, computed in the way that is fast where it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from auxjax._types import Array, Float
from auxjax.models._convolution_cpu import convolve_cpu, convolve_patches
from auxjax.models._model import RELU_GAIN, orthogonal
from auxjax.models._pooling import max_pool

Implementation = Literal["auto", "patches", "cpu", "conv"]
"""Patches times a matrix; XLA's convolution with derivatives for a CPU; as it is; or
what suits the backend."""

Padding = Literal["VALID", "SAME"] | Sequence[tuple[int, int]]
"""None, so that stride 1 keeps the size, or rows above and below, columns beside."""


def convolve(
    images: Float[Array, "*N H W I"],
    kernel: Float[Array, "h w I O"],
    *,
    strides: Sequence[int] = (1, 1),
    padding: Padding = "VALID",
    dilation: Sequence[int] = (1, 1),
    implementation: Implementation = "auto",
) -> Float[Array, "*N H2 W2 O"]:
    """Convolve images with a kernel (without flipping it, as networks do).

    out[i, j, o] = Σ_{a, b, c} images[i·s + a·d, j·s + b·d, c] · kernel[a, b, c, o]

    Args:
      images: Channels last; any number of leading axes.
      kernel: Height, width, channels in, channels out.
      strides: Steps in rows and in columns.
      padding: "VALID" (none), "SAME" (zeros, so that stride 1 keeps the size), or how
        many zeros `((above, below), (left, right))`.
      dilation: Distance d of the pixels that the kernel sees, in rows and columns.
      implementation: How; the values are the same. "patches" cuts out what the kernel
        sees at each place and multiplies by a matrix. "conv" is
        `jax.lax.conv_general_dilated`; on a CPU its backward pass is no slower by
        itself, but 3 to 50 times slower inside a `scan`, and training loops are
        scans. "cpu" is the same with derivatives that are as fast as itself.
        "auto" takes conv unless JAX's default backend is a CPU; there it takes cpu,
        and patches for a kernel of a single pixel.

    Returns:
      The filtered images.

    Raises:
      ValueError: The implementation is unknown, or the kernel larger than the image.

    Example:
      >>> import jax.numpy as jnp
      >>> image = jnp.arange(4.0).reshape(1, 4, 1)
      >>> difference = jnp.array([-1.0, 1.0]).reshape(1, 2, 1, 1)
      >>> convolve(image, difference)[0, :, 0]
      Array([1., 1., 1.], dtype=float32)
    """
    if implementation not in ("auto", "patches", "cpu", "conv"):
        raise ValueError(
            "`implementation` should be 'auto', 'patches', 'cpu' or 'conv'. "
            f"Found {implementation!r}."
        )
    *lead, height, width, channels = images.shape
    seen = tuple(
        (k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)
    )
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads((height, width), seen, strides, padding)
    padded = height + sum(padding[0]), width + sum(padding[1])
    if padded[0] < seen[0] or padded[1] < seen[1]:
        raise ValueError(
            f"the image should be at least as large as the kernel, {seen}. "
            f"Found {padded}."
        )
    images = images.reshape(-1, height, width, channels)
    if implementation == "auto":
        implementation = _suitable(kernel)
    if implementation == "conv":
        run = jax.lax.conv_general_dilated
        numbers = ("NHWC", "HWIO", "NHWC")
        out = run(images, kernel, strides, padding, (1, 1), dilation, numbers)
    else:
        run = convolve_cpu if implementation == "cpu" else convolve_patches
        out = run(images, kernel, strides, padding, dilation)
    return out.reshape(*lead, *out.shape[1:])


def _suitable(kernel: Float[Array, "h w I O"]) -> Implementation:
    """The one place that decides."""
    if jax.default_backend() != "cpu":
        return "conv"
    # For a single pixel, patches are no more than a product of matrices.
    return "patches" if kernel.shape[:2] == (1, 1) else "cpu"


class Conv(nn.Module):
    """`convolve` as a layer: parameters `kernel` `[h, w, I, O]` and `bias` `[O]`.

    Attributes:
      features: Channels out.
      kernel_size: Height and width of the kernel.
      strides: Steps in rows and in columns.
      padding: "VALID", "SAME", or how many zeros; see `convolve`.
      implementation: "auto", "patches", "cpu" or "conv"; see `convolve`.
      dtype: In which the layer computes; the parameters are float32.
      kernel_init: Initialiser of the kernel.
      dilation: Distance of the pixels that the kernel sees, in rows and columns.
      use_bias: Whether there is a bias; none is needed before a normalisation.
      pool: The window of a max pooling that comes before the bias: the same as one
        that comes after it, with fewer sums, and less to keep.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Padding = "VALID"
    implementation: Implementation = "auto"
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = orthogonal(RELU_GAIN)
    dilation: tuple[int, int] = (1, 1)
    use_bias: bool = True
    pool: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, images):
        """Filter the images `[..., H, W, I]`."""
        shape = (*self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        out = convolve(
            images.astype(self.dtype),
            kernel.astype(self.dtype),
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            implementation=self.implementation,
        )
        if self.pool != (1, 1):
            out = max_pool(out, self.pool)
        if not self.use_bias:
            return out
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        bias = bias.astype(self.dtype)
        return out + bias.reshape((1,) * (out.ndim - 1) + (-1,))
