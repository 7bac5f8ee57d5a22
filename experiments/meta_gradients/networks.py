"""The two networks of `meta_gradients.py`, and the weights that they start from.

The MLP and all heads are those of `auxjax.models`. Two things are written out, which
that room does not have: the MLP with tanh, the same without kinks; and a trunk of
convolutions alone, for its `cnn` ends in a hidden layer that all tasks would share,
where here each task's head has its own. Weights are normal, of He's size.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax.models import Model, convolve, linear_head, max_pool, mlp, mlp_head

DIGITS = 10
SMOOTH = "mlp, tanh"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of both models, the batches and the warm start."""

    batch: int = 64
    steps: int = 5
    """N of the N-step meta-gradients."""
    warm_steps: int = 50
    """Training steps before anything is measured."""
    widths: tuple[int, ...] = (256, 256)
    """Of the MLP's trunk; its heads are linear."""
    channels: tuple[int, ...] = (8, 16, 32)
    """Of the VGG's blocks: 3x3 convolution, ReLU, 2x2 maximum."""
    hidden: int = 32
    """Of the VGG's heads, which have two layers."""
    dtypes: tuple[str, ...] = ("float64", "float32")
    """The precisions; the truth is found in the first."""


SMALL = Sizes(
    batch=4,
    steps=2,
    warm_steps=3,
    widths=(7,),
    channels=(2, 3),
    hidden=5,
    dtypes=("float64",),
)


def make_trunk(name: str, sizes: Sizes, dtype: Any = jnp.float32) -> Model:
    """Images `[B, H, W]` -> features `[B, n]`."""
    if name == "vgg":
        return Model(lambda key, images: _convolutions(key, sizes), _convolve)
    *hidden, last = sizes.widths
    trunk = mlp(hidden, last, flatten=2, relu_out=True, dtype=dtype)
    return Model(trunk.init, _smooth) if name == SMOOTH else trunk


def make_head(name: str, out: int, sizes: Sizes, dtype: Any = jnp.float32) -> Model:
    """Features `[B, n]` -> `[B, out]`."""
    if name == "vgg":
        return mlp_head(sizes.hidden, out, dtype=dtype)
    return linear_head(out, dtype=dtype)


def _smooth(params: Any, images: jax.Array) -> jax.Array:
    """The MLP without kinks, to tell what they do to a finite difference."""
    x = images.reshape(images.shape[0], -1)
    for layer in params.values():
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"].reshape(1, -1))
    return x


def _convolve(params: Any, images: jax.Array) -> jax.Array:
    """`[B, 16, 16]` -> `[B, features]`."""
    x = images[..., None]
    for layer in params.values():
        x = convolve(x, layer["kernel"], padding="SAME")
        x = max_pool(jax.nn.relu(x + layer["bias"].reshape(1, 1, 1, -1)))
    return x.reshape(x.shape[0], -1)


def _convolutions(key: jax.Array, sizes: Sizes) -> Any:
    """Their parameters; only the shapes count."""
    pairs = itertools.pairwise((1, *sizes.channels))
    return {f"Conv_{i}": layer(key, 3, 3, *pair) for i, pair in enumerate(pairs)}


def layer(key: jax.Array, *shape: int) -> dict[str, jax.Array]:
    """A layer's parameters: kernel `shape`, the last axis being outputs, and bias."""
    scale = np.sqrt(2 / np.prod(shape[:-1]))
    kernel = scale * jax.random.normal(key, shape, jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros(shape[-1], jnp.float32)}


def drawn(keys: Any, shapes: Any) -> Any:
    """Parameters of these shapes, a key per layer."""
    layers = zip(shapes.items(), keys, strict=False)
    return {name: layer(key, *x["kernel"].shape) for (name, x), key in layers}


def init(name: str, num_tasks: int, sizes: Sizes) -> Any:
    """Random parameters: a trunk, the main head, and the others as one, stacked."""
    keys = iter(jax.random.split(jax.random.key(0), 16))
    side = 16 if name == "vgg" else 8
    images = jnp.zeros((1, side, side), jnp.float32)
    trunk = make_trunk(name, sizes)
    shapes = jax.eval_shape(trunk.init, jax.random.key(0), images)
    features = jax.eval_shape(trunk.apply, shapes, images)

    def start(key, classes):
        model = make_head(name, classes, sizes)
        shapes = jax.eval_shape(model.init, key, features)
        return drawn(jax.random.split(key, len(shapes)), shapes)

    others = jax.random.split(next(keys), num_tasks - 1)
    return {
        "trunk": drawn(keys, shapes),
        "main": start(next(keys), DIGITS),
        "others": jax.vmap(lambda key: start(key, 2))(others),
    }
