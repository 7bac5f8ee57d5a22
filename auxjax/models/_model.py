"""A model as two functions, so that the rest of the house need not know flax."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from auxjax._types import Array, Params

ORTHOGONAL = nn.initializers.orthogonal
RELU_GAIN = math.sqrt(2)
"""Keeps the size of a signal through a ReLU, which loses half of its square."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A pair of pure functions.

    Attributes:
        init: `init(key, *inputs) -> params`. Only the inputs' shapes count.
        apply: `apply(params, *inputs) -> output`.
    """

    init: Callable[..., Params]
    apply: Callable[..., Array]


def from_linen(module: nn.Module) -> Model:
    """The pair behind a flax module that has parameters and no other state."""

    def init(key, *inputs) -> Params:
        return module.init(key, *inputs)["params"]

    def apply(params: Params, *inputs) -> Array:
        return module.apply({"params": params}, *inputs)

    return Model(init, apply)


def dense(features: int, scale: float, dtype) -> nn.Dense:
    """A linear layer with orthogonal weights and no initial bias."""
    return nn.Dense(features, dtype=dtype, kernel_init=ORTHOGONAL(scale))


def side_by_side(*inputs: Array, dtype) -> Array:
    """Several inputs as one vector: φ(s) and a, or φ(s) and φ(s')."""
    return jnp.concatenate([x.astype(dtype) for x in inputs], axis=-1)
