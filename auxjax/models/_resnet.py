"""Residual networks, torchvision's form: ResNet-18 and ResNet-50, dilated if asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from auxjax.models._pooling import max_pool
from auxjax.models._stateful import (
    ConvNorm,
    Norm,
    StatefulModel,
    check_norm,
    scaled,
    stateful_from_linen,
)

Stem = Literal["imagenet", "cifar", "half"]
"""A 7×7 convolution of stride 2 and 3×3 max pooling of stride 2; a 3×3 convolution; a
3×3 convolution of stride 2."""


@dataclasses.dataclass(frozen=True)
class Design:
    """What tells one residual network from another.

    Attributes:
      bottleneck: Whether blocks are 1×1, 3×3, 1×1 convolutions and not two 3×3.
      blocks: Of each of the four stages.
      channels: Of each stage's 3×3 convolutions; its output has four times as many
        with bottlenecks.
      stem: What comes first.
      dilate: For stages 2, 3 and 4, whether the kernels are spread twice as far
        instead of the image being halved.
      width: Factor on all channels.
      norm: "batch" or "group".
      dtype: In which the layers compute.
    """

    bottleneck: bool
    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    stem: str = "imagenet"
    dilate: tuple[bool, ...] = (False, False, False)
    width: float = 1.0
    norm: Any = "batch"
    dtype: Any = jnp.float32

    def __post_init__(self):
        """Checks what a user may have written."""
        check_norm(self.norm)
        if self.stem not in ("imagenet", "cifar", "half"):
            raise ValueError(
                f"`stem` should be 'imagenet', 'cifar' or 'half'. Found {self.stem!r}."
            )
        if len(self.dilate) != 3:
            raise ValueError(
                f"`dilate` should say so for stages 2, 3 and 4. Found {self.dilate}."
            )

    def features(self, stage: int) -> int:
        """Channels that come out of a stage, 0 to 3."""
        channels = scaled(self.channels[stage], self.width)
        return 4 * channels if self.bottleneck else channels


def resnet18(
    num_classes: int | None = None,
    *,
    stem: Stem = "imagenet",
    dilate: Sequence[bool] = (False, False, False),
    width: float = 1.0,
    norm: Norm = "batch",
    dtype: Any = jnp.float32,
) -> StatefulModel:
    """ResNet-18: eight blocks of two 3×3 convolutions.

    Args:
      num_classes: How many logits; None for the features alone.
      stem: "imagenet" (7×7 of stride 2, pooled), or for small images "cifar" (3×3)
        or "half" (3×3 of stride 2).
      dilate: For stages 2, 3 and 4, whether to keep the image's size and spread the
        kernels instead. The parameters are the same.
      width: Factor on all channels.
      norm: "batch", or "group": no state, nothing shared between a batch's images.
      dtype: In which the layers compute; the parameters are float32.

    Returns:
      `init(key, images) -> (params, state)` with `params["trunk"]` and, with classes,
      `params["head"]`. `apply(params, state, images, train) -> (output, state)`
      for images `[..., H, W, C]`: logits `[..., num_classes]`, or without classes the
      feature map `[..., H / 32, W / 32, 512]`, rounded up, larger if dilated.

    Raises:
      ValueError: The stem or the norm is unknown, or `dilate` not three long.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = resnet18(10, stem="cifar", width=1 / 16)
      >>> images = jnp.zeros((2, 8, 8, 3))
      >>> params, state = jax.eval_shape(model.init, jax.random.key(0), images)
      >>> train = lambda *args: model.apply(*args, train=True)
      >>> logits, state = jax.eval_shape(train, params, state, images)
      >>> logits.shape
      (2, 10)

    References:
      He et al.: Deep Residual Learning (2015), arXiv 1512.03385, Table 1. Dilation:
      Yu et al.: Dilated Residual Networks (2017), arXiv 1705.09914.
    """
    blocks = (2, 2, 2, 2)
    design = Design(
        False,
        blocks,
        stem=stem,
        dilate=_flags(dilate),
        width=width,
        norm=norm,
        dtype=dtype,
    )
    return stateful_from_linen(_ResNet(design, num_classes))


def resnet50(
    num_classes: int | None = None,
    *,
    stem: Stem = "imagenet",
    dilate: Sequence[bool] = (False, False, False),
    width: float = 1.0,
    norm: Norm = "batch",
    dtype: Any = jnp.float32,
) -> StatefulModel:
    """ResNet-50: sixteen bottlenecks, with the stride on their 3×3 convolution.

    Args:
      num_classes: As for `resnet18`.
      stem: As for `resnet18`.
      dilate: As for `resnet18`; DeepLab's trunk dilates stages 3 and 4.
      width: As for `resnet18`.
      norm: As for `resnet18`.
      dtype: As for `resnet18`.

    Returns:
      As `resnet18`; the feature map has 2048 channels.

    Raises:
      ValueError: As `resnet18`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = resnet50(dilate=(False, True, True))
      >>> image = jnp.zeros((1, 288, 384, 3))
      >>> params, state = jax.eval_shape(model.init, jax.random.key(0), image)
      >>> out, _ = jax.eval_shape(
      ...     lambda *args: model.apply(*args, train=True), params, state, image
      ... )
      >>> out.shape
      (1, 36, 48, 2048)

    References:
      As `resnet18`. The stride's place: Goyal et al. (2017), arXiv 1706.02677.
    """
    blocks = (3, 4, 6, 3)
    design = Design(
        True,
        blocks,
        stem=stem,
        dilate=_flags(dilate),
        width=width,
        norm=norm,
        dtype=dtype,
    )
    return stateful_from_linen(_ResNet(design, num_classes))


def _flags(dilate: Sequence[bool]) -> Any:
    return tuple(bool(flag) for flag in dilate)


class Block(nn.Module):
    """A residual block: convolutions, to which its input is added.

    Attributes:
      design: Of the network.
      channels: Of the 3×3 convolutions; four times as many come out of a bottleneck.
      stride: Step of the first 3×3 convolution.
      dilation: Of the first 3×3 convolution.
      dilation2: Of the second, where there is one.
      project: Whether the input passes through a 1×1 convolution, because its size
        or its channels change.
    """

    design: Design
    channels: int
    stride: int = 1
    dilation: int = 1
    dilation2: int = 1
    project: bool = False

    @nn.compact
    def __call__(self, images, *, train: bool):
        """`[..., H, W, I]` to `[..., H / stride, W / stride, O]`, rounded up."""

        def layer(name, features, size, **options):
            norm, dtype = self.design.norm, self.design.dtype
            return ConvNorm(
                features, size, norm=norm, dtype=dtype, name=name, **options
            )

        spread = {"stride": self.stride, "dilation": self.dilation}
        if self.design.bottleneck:
            out = 4 * self.channels
            x = layer("reduce", self.channels, 1)(images, train=train)
            x = layer("conv", self.channels, 3, **spread)(x, train=train)
            x = layer("expand", out, 1, activation=None)(x, train=train)
        else:
            out, spread2 = self.channels, {"dilation": self.dilation2}
            x = layer("conv1", out, 3, **spread)(images, train=train)
            x = layer("conv2", out, 3, activation=None, **spread2)(x, train=train)
        if self.project:
            shortcut = layer("project", out, 1, stride=self.stride, activation=None)
            images = shortcut(images, train=train)
        return nn.relu(x + images)


class Trunk(nn.Module):
    """Stem and stages, images to feature maps.

    Returns for each stage what goes into its last block and what comes out of it: the
    last one's output is the trunk's, the others are for who attends to them.
    """

    design: Design

    @nn.compact
    def __call__(self, images, *, train: bool):
        """Four pairs of `[..., H', W', C']`."""
        design = self.design
        x = self._stem(images.astype(design.dtype), train)
        dilation, pairs = 1, []
        for stage, blocks in enumerate(design.blocks):
            stride, first = (1 if stage == 0 else 2), dilation
            if stage > 0 and design.dilate[stage - 1]:
                stride, dilation = 1, 2 * dilation
            for block in range(blocks):
                before = x
                channels = scaled(design.channels[stage], design.width)
                grows = block == 0 and (
                    stride > 1 or x.shape[-1] != design.features(stage)
                )
                x = Block(
                    design,
                    channels,
                    # The convolution that would have had the stride still sees the
                    # stage before, pixel by pixel.
                    stride=stride if block == 0 else 1,
                    dilation=first if block == 0 else dilation,
                    dilation2=dilation,
                    project=grows,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x, train=train)
            # What comes before a stage's only block has another size.
            pairs.append((x if blocks == 1 else before, x))
        return pairs

    def _stem(self, images, train):
        design = self.design
        x = ConvNorm(
            scaled(design.channels[0], design.width),
            7 if design.stem == "imagenet" else 3,
            1 if design.stem == "cifar" else 2,
            norm=design.norm,
            dtype=design.dtype,
            name="stem",
        )(images, train=train)
        if design.stem == "imagenet":
            x = max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        return x


class _ResNet(nn.Module):
    """The module behind `resnet18` and `resnet50`."""

    design: Design
    num_classes: int | None

    @nn.compact
    def __call__(self, images, *, train: bool):
        x = Trunk(self.design, name="trunk")(images, train=train)[-1][1]
        if self.num_classes is None:
            return x
        dtype = self.design.dtype
        head = nn.Dense(self.num_classes, dtype=dtype, name="head")
        return head(jnp.mean(x, axis=(-3, -2)))
