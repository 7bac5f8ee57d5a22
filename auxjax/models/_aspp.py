"""DeepLab's head: the same features seen at several distances."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from auxjax.models._convolution import Conv
from auxjax.models._stateful import HE_NORMAL, ConvNorm, Norm


class DeepLabHead(nn.Module):
    """Atrous spatial pyramid pooling, a 3×3 and a 1×1 convolution.

    Branches of `channels` each: a 1×1 convolution, 3×3 ones that are spread by the
    rates (three in the paper), and one number per channel for the whole image.

    Attributes:
      out: Numbers per pixel.
      channels: Of every branch.
      rates: Their dilations.
      norm: "batch" or "group".
      dtype: In which the layers compute.

    References:
      Chen et al.: Rethinking Atrous Convolution for Semantic Image Segmentation
      (2017), arXiv 1706.05587, Figure 5.
    """

    out: int
    channels: int = 256
    rates: tuple[int, ...] = (12, 24, 36)
    norm: Norm = "batch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features, *, train: bool):
        """`[..., H, W, I]` to `[..., H, W, out]`."""

        def layer(name, images, size, dilation=1):
            return ConvNorm(
                self.channels,
                size,
                dilation=dilation,
                norm=self.norm,
                dtype=self.dtype,
                name=name,
            )(images, train=train)

        whole = layer("whole", jnp.mean(features, axis=(-3, -2), keepdims=True), 1)
        branches = [
            layer("point", features, 1),
            *(layer(f"rate{i + 1}", features, 3, r) for i, r in enumerate(self.rates)),
            jnp.broadcast_to(whole, (*features.shape[:-1], self.channels)),
        ]
        x = layer("project", jnp.concatenate(branches, axis=-1), 1)
        x = layer("conv", x, 3)
        last = Conv(
            self.out, (1, 1), kernel_init=HE_NORMAL, dtype=self.dtype, name="out"
        )
        return last(x)
