"""What `meta_gradients.py` differentiates: tasks on digits, two models, a warm start.

Task 0, the primary one, is to name the digit of scikit-learn's 1,797 images; each
other task is to say whether the digit is in a set of five, another set for each.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax.models import convolve
from auxjax.run import RunError

DIGITS = 10
SMOOTH = "mlp, tanh"
WEIGHT = 0.1  # of every task: where Auto-λ starts


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


class Problem(NamedTuple):
    """Where the meta-gradients are taken, and of what."""

    losses: Callable[[Any, Any], tuple[jax.Array, ...]]
    params: Any
    opt_state: Any
    batches: Any  # leaves [N, B, ...]
    meta_batch: Any  # leaves [B, ...]


def groupings(num_tasks: int) -> np.ndarray:
    """`[T - 1, 10]` of 0 and 1: distinct sets of five digits, none another's rest."""
    sets = [s for s in itertools.combinations(range(DIGITS), 5) if 0 in s]  # 126
    if not 1 <= num_tasks <= len(sets) + 1:
        raise RunError(
            f"`tasks` should be in 1..{len(sets) + 1}, the main task and as many sets "
            f"of five digits as there are. Found {num_tasks}."
        )
    order = np.random.default_rng(0).permutation(len(sets))[: num_tasks - 1]
    table = np.zeros((num_tasks - 1, DIGITS), np.int32)
    for row, chosen in zip(table, order, strict=True):
        row[list(sets[chosen])] = 1
    return table


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images `[1797, 8, 8]`, standardised, and their digits, shuffled."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    # One mean for all pixels: one that is always black would else be 0 and its weights
    # without any gradient, where differentiating Adam twice gives NaN.
    images = found.images[order].astype(np.float32)
    images = (images - images.mean()) / images.std()
    return images, found.target[order].astype(np.int32)


def dense(key: jax.Array, *shape: int) -> dict[str, jax.Array]:
    """A layer's parameters: kernel `shape`, the last axis being outputs, and bias."""
    scale = np.sqrt(2 / np.prod(shape[:-1]))
    kernel = scale * jax.random.normal(key, shape, jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros(shape[-1], jnp.float32)}


def linear(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """`[B, inputs]` -> `[B, outputs]`."""
    return x @ layer["kernel"] + layer["bias"].reshape(1, -1)


def head(layers: Sequence[Any], x: jax.Array) -> jax.Array:
    """`[B, features]` -> `[B, classes]`; ReLU between the layers."""
    for layer in layers[:-1]:
        x = jax.nn.relu(linear(layer, x))
    return linear(layers[-1], x)


def mlp(trunk: Any, images: jax.Array, activation: Callable = jax.nn.relu) -> jax.Array:
    """`[B, 8, 8]` -> `[B, features]`."""
    x = images.reshape(images.shape[0], -1)
    for layer in trunk:
        x = activation(linear(layer, x))
    return x


def smooth(trunk: Any, images: jax.Array) -> jax.Array:
    """The MLP without kinks, to tell what they do to a finite difference."""
    return mlp(trunk, images, jnp.tanh)


def vgg(trunk: Any, images: jax.Array) -> jax.Array:
    """`[B, 16, 16]` -> `[B, features]`."""
    x = images[..., None]
    for layer in trunk:
        x = convolve(x, layer["kernel"], padding="SAME")
        x = jax.nn.relu(x + layer["bias"].reshape(1, 1, 1, -1))
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))
    return x.reshape(x.shape[0], -1)


def init(model: str, num_tasks: int, sizes: Sizes) -> Any:
    """Random parameters: a trunk, the main head, and the others as one, stacked."""
    keys = iter(jax.random.split(jax.random.key(0), 16))
    if model != "vgg":
        shapes = list(itertools.pairwise((64, *sizes.widths)))
        widths: tuple[int, ...] = sizes.widths[-1:]
    else:
        shapes = [(3, 3, a, b) for a, b in itertools.pairwise((1, *sizes.channels))]
        side = 16 // 2 ** len(sizes.channels)
        widths = (side * side * sizes.channels[-1], sizes.hidden)

    def make_head(key, classes):
        pairs = list(itertools.pairwise((*widths, classes)))
        split = jax.random.split(key, len(pairs))
        return [dense(k, *pair) for k, pair in zip(split, pairs, strict=True)]

    others = jax.random.split(next(keys), num_tasks - 1)
    return {
        "trunk": [dense(next(keys), *shape) for shape in shapes],
        "main": make_head(next(keys), DIGITS),
        "others": jax.vmap(lambda key: make_head(key, 2))(others),
    }


def make_losses(model: str, num_tasks: int) -> Callable:
    """`losses(params, (images, digits))`: cross-entropies, the main task's first."""
    features = {"mlp": mlp, "vgg": vgg, SMOOTH: smooth}[model]
    table = groupings(num_tasks)

    def losses(params, batch):
        images, names = batch
        x = features(params["trunk"], images)

        def loss(layers, labels):
            logits = head(layers, x)
            found = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return found.mean()

        # The heads are alike: one batched product, which compiles as fast for 40.
        others = jax.vmap(loss)(params["others"], jnp.asarray(table)[:, names])
        return (loss(params["main"], names), *others)

    return losses


def make_problem(
    model: str, num_tasks: int, optimizer: optax.GradientTransformation, sizes: Sizes
) -> Problem:
    """Everything in float32, after `warm_steps` steps of equal weighting."""
    images, names = digits()
    if model == "vgg":
        shape = (len(images), 16, 16)
        images = np.asarray(jax.image.resize(images, shape, "bilinear"))
    losses = make_losses(model, num_tasks)

    def step(carry, batch):
        params, state = carry
        grads = jax.grad(lambda p: WEIGHT * sum(losses(p, batch)))(params)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def warm(batches):
        params = init(model, num_tasks, sizes)
        return jax.lax.scan(step, (params, optimizer.init(params)), batches)[0]

    # No image of the measured batches was trained on, and none is in two of them.
    held = (sizes.steps + 1) * sizes.batch
    rng = np.random.default_rng(1)
    chosen = rng.integers(held, len(names), (sizes.warm_steps, sizes.batch))
    params, state = warm((images[chosen], names[chosen]))
    parts = [
        x[:held].reshape(sizes.steps + 1, sizes.batch, *x.shape[1:])
        for x in (images, names)
    ]
    batches = tuple(x[:-1] for x in parts)
    return Problem(losses, params, state, batches, tuple(x[-1] for x in parts))


def cast(tree: Any, dtype: Any) -> Any:
    """The same numbers, floating-point leaves in another precision."""

    def leaf(x):
        inexact = jnp.issubdtype(jnp.result_type(x), jnp.inexact)
        return jnp.asarray(x, dtype) if inexact else jnp.asarray(x)

    return jax.tree.map(leaf, tree)
