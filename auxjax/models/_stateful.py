"""Models that carry statistics of what they have seen beside their parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from auxjax._types import Params
from auxjax.models._convolution import Conv

Norm = Literal["batch", "group"]
"""Statistics of the batch, of which a running mean is kept; or of each image alone."""

HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""He et al. 2015: keeps the size of the gradient through a ReLU."""


@dataclasses.dataclass(frozen=True)
class StatefulModel:
    """A pair of pure functions, and a state that gradients do not learn.

    The state is a pytree of running means (empty with `norm="group"`); it goes where
    `auxjax.supervised.make_step(has_state=True)` wants one.

    Attributes:
      init: `init(key, *inputs) -> (params, state)`. Only the inputs' shapes count.
      apply: `apply(params, state, *inputs, train) -> (output, new_state)`. With
        `train=True` layers normalise by the batch and the state moves; with
        `train=False` they normalise by the state, which stays.
    """

    init: Callable[..., tuple[Params, Any]]
    apply: Callable[..., tuple[Any, Any]]


def stateful_from_linen(module: nn.Module) -> StatefulModel:
    """The pair behind a flax module whose `__call__` takes `train`."""

    def init(key, *inputs):
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), inputs)
        # Nothing but the initialisers runs, also outside of `jit`.
        variables = module.lazy_init(key, *shapes, train=False)
        return variables["params"], variables.get("batch_stats", {})

    def apply(params, state, *inputs, train: bool):
        variables = {"params": params, "batch_stats": state}
        if not train:
            return module.apply(variables, *inputs, train=False), state
        out, moved = module.apply(
            variables, *inputs, train=True, mutable=["batch_stats"]
        )
        return out, moved.get("batch_stats", state)

    return StatefulModel(init, apply)


def check_norm(norm: str) -> None:
    """Raise a `ValueError` unless there is such a normalisation."""
    if norm not in ("batch", "group"):
        raise ValueError(f"`norm` should be 'batch' or 'group'. Found {norm!r}.")


def scaled(channels: int, width: float) -> int:
    """Channels of a network made wider or narrower, at least one."""
    return max(1, round(channels * width))


class ConvNorm(nn.Module):
    """Convolution, normalisation, non-linearity: what these networks are made of.

    Attributes:
      features: Channels out.
      kernel_size: Side of the kernel.
      stride: Step in rows and columns.
      dilation: Distance of the pixels that the kernel sees.
      use_bias: Whether the convolution has a bias. The normalisation undoes it, but
        some published networks have it.
      activation: What comes last; None for nothing.
      norm: "batch" (running means with momentum 0.9) or "group" (up to 32 groups).
      dtype: In which the layers compute; the parameters are float32.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = False
    activation: Callable | None = nn.relu
    norm: Norm = "batch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, *, train: bool):
        """`[B, H, W, I]` to `[B, H / stride, W / stride, features]`, rounded up."""
        # As much on either side, also where a stride would let "SAME" do with less.
        border = (self.kernel_size - 1) * self.dilation // 2
        images = Conv(
            self.features,
            (self.kernel_size, self.kernel_size),
            (self.stride, self.stride),
            padding=((border, border), (border, border)),
            dilation=(self.dilation, self.dilation),
            use_bias=self.use_bias,
            kernel_init=HE_NORMAL,
            dtype=self.dtype,
            name="conv",
        )(images)
        with jax.numpy_dtype_promotion("standard"):
            wide = jnp.promote_types(self.dtype, jnp.float32)
        if self.norm == "batch":
            layer = nn.BatchNorm(
                not train, momentum=0.9, epsilon=1e-5, dtype=wide, name="norm"
            )
        else:
            layer = nn.GroupNorm(
                math.gcd(self.features, 32),
                epsilon=1e-5,
                reduction_axes=(-3, -2, -1),
                dtype=wide,
                name="norm",
            )
        images = layer(images.astype(wide)).astype(self.dtype)
        return images if self.activation is None else self.activation(images)
