"""A model as two functions, so that the rest of the house need not know flax."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from auxjax._types import Array, Params

RELU_GAIN = math.sqrt(2)
"""Keeps the size of a signal through a ReLU, which loses half of its square."""


def orthogonal(scale: float) -> nn.initializers.Initializer:
    """Orthogonal weights, one matrix at a time also under `vmap`.

    On a CPU, jaxlib 0.10 spreads a *batch* of QR factorisations over the same threads
    that run the program, and two such batches at once can wait for each other for
    ever. Initialising many seeds together would be such a batch.
    """
    draw = nn.initializers.orthogonal(scale)

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        one = jax.custom_batching.sequential_vmap(lambda key: draw(key, shape, dtype))
        return one(key)

    return init


@dataclasses.dataclass(frozen=True)
class Model:
    """A pair of pure functions.

    Attributes:
      init: `init(key, *inputs) -> params`. Only the inputs' shapes count.
      apply: `apply(params, *inputs) -> output`.
    """

    init: Callable[..., Params]
    apply: Callable[..., Any]


def from_linen(module: nn.Module) -> Model:
    """The pair behind a flax module that has parameters and no other state."""

    def init(key, *inputs) -> Params:
        return module.init(key, *inputs)["params"]

    def apply(params: Params, *inputs):
        return module.apply({"params": params}, *inputs)

    return Model(init, apply)


def dense(features: int, scale: float, dtype) -> nn.Dense:
    """A linear layer with orthogonal weights and no initial bias."""
    return nn.Dense(features, dtype=dtype, kernel_init=orthogonal(scale))


def side_by_side(*inputs: Array, dtype) -> Array:
    """Several inputs as one vector: φ(s) and a, or φ(s) and φ(s')."""
    return jnp.concatenate([x.astype(dtype) for x in inputs], axis=-1)
