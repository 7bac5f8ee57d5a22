"""Two models with a head per task, small enough for a laptop and of stated size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of both models; `batch` examples per step, `outputs` numbers per head."""

    batch: int = 256
    inputs: int = 128
    width: int = 256
    images: int = 16
    channels: tuple[int, int] = (16, 32)
    outputs: int = 10


SMALL = Sizes(batch=4, inputs=5, width=6, images=8, channels=(2, 3))


def dense(key: jax.Array, inputs: int, outputs: int) -> dict[str, jax.Array]:
    """A linear layer's parameters."""
    kernel = jax.random.normal(key, (inputs, outputs)) / np.sqrt(inputs)
    return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def linear(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """`[..., inputs]` -> `[..., outputs]`."""
    bias = layer["bias"].reshape((1,) * (x.ndim - 1) + (-1,))
    return x @ layer["kernel"] + bias


def patches(images: jax.Array) -> jax.Array:
    """What a 3x3 filter of stride 2 sees: `[B, H, W, C]` -> `[B, H/2, W/2, 9 C]`."""
    _, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))
    views = [
        padded[:, i : i + height : 2, j : j + width : 2] for i, j in np.ndindex(3, 3)
    ]
    return jnp.concatenate(views, axis=-1)


def make_model(name: str, num_tasks: int, sizes: Sizes) -> tuple[Any, Any, Callable]:
    """Parameters, a batch, and `losses(params, batch)`: a trunk and a head per task."""
    keys = iter(jax.random.split(jax.random.key(0), 2 * num_tasks + 8))
    normal, width = jax.random.normal, sizes.width
    heads = [dense(next(keys), width, sizes.outputs) for _ in range(num_tasks)]
    targets = [normal(next(keys), (sizes.batch, sizes.outputs)) for _ in heads]
    if name == "mlp":
        inputs = normal(next(keys), (sizes.batch, sizes.inputs))
        widths = [sizes.inputs, width, width, width]
    else:
        shape = (sizes.batch, sizes.images, sizes.images, 3)
        inputs, (c1, c2) = normal(next(keys), shape), sizes.channels
        widths = [(sizes.images // 4) ** 2 * c2]
    trunk = [
        dense(next(keys), before, after)
        for before, after in zip(widths, [*widths[1:], width], strict=True)
    ]
    params = {"trunk": trunk, "heads": heads}
    if name == "cnn":
        params["filters"] = [
            dense(next(keys), 9 * 3, c1),
            dense(next(keys), 9 * c1, c2),
        ]

    def losses(params, batch):
        x, targets = batch
        for layer in params.get("filters", ()):
            x = jax.nn.relu(linear(layer, patches(x)))
        x = x.reshape(x.shape[0], -1)
        for layer in params["trunk"]:
            x = jax.nn.relu(linear(layer, x))
        return tuple(
            jnp.mean((linear(head, x) - target) ** 2)
            for head, target in zip(params["heads"], targets, strict=True)
        )

    return params, (inputs, targets), losses
