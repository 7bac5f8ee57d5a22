"""MTAN: each task attends to the shared features, stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from auxjax.models._pooling import max_pool
from auxjax.models._resnet import Block, Design, Trunk
from auxjax.models._stateful import ConvNorm


class AttendedTrunk(nn.Module):
    """What the tasks of MTAN share: a residual network, and encoders between stages.

    Attributes:
      design: Of the residual network.
    """

    design: Design

    def setup(self):
        """An encoder brings what a stage attends to the channels of the next stage."""
        design = dataclasses.replace(self.design, bottleneck=True)
        self.backbone = Trunk(self.design)
        self.encoders = [
            Block(design, max(1, self.design.features(stage + 1) // 4), project=True)
            for stage in range(3)
        ]

    def __call__(self, images, *, train: bool):
        """Each stage's features before and after its last block."""
        return self.backbone(images, train=train)

    def encode(self, stage: int, attended, *, train: bool):
        """For the next stage's attention; one for all tasks."""
        return self.encoders[stage](attended, train=train)


class Attention(nn.Module):
    """A task's own part of MTAN before its head: a soft mask a stage.

    mask_s = σ(conv(ReLU(conv([u_s before its last block, a_{s-1}]))))
    a_s = encode_s(mask_s ⊙ u_s), pooled where the next stage is smaller

    Attributes:
      design: Of the residual network.
    """

    design: Design

    @nn.compact
    def __call__(self, pairs, encode: Callable, *, train: bool):
        """What the task sees of the last stage: features like it."""
        design, attended = self.design, None
        for stage, (before, after) in enumerate(pairs):
            out = after.shape[-1]
            x = before
            if attended is not None:
                x = jnp.concatenate([before, attended], axis=-1)
            for name, channels, last in (
                ("squeeze", max(1, out // 4), nn.relu),
                ("mask", out, nn.sigmoid),
            ):
                x = ConvNorm(
                    channels,
                    1,
                    use_bias=True,
                    activation=last,
                    norm=design.norm,
                    dtype=design.dtype,
                    name=f"{name}{stage + 1}",
                )(x, train=train)
            attended = x * after
            if stage + 1 < len(pairs):
                attended = encode(stage, attended, train=train)
                if pairs[stage + 1][0].shape[-3:-1] != after.shape[-3:-1]:
                    # Rounded up, as a convolution of stride 2 does.
                    odd = [(0, side % 2) for side in after.shape[-3:-1]]
                    attended = max_pool(attended, padding=odd)
        return attended
