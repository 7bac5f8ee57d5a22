"""The digits with five real tasks, and the network that learns them all.

One seed is one draw of everything: the split, the noise on the images, the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax.models import linear_head, mlp_head
from noise.problem import CLASSES as ALL_CLASSES
from noise.problem import SIDE, Samples, draw_tasks, load, split

CLASSES = {name: ALL_CLASSES[name] for name in ("digit", "parity", "size", "loops")}
"""The tasks whose loss is a cross-entropy, with their number of classes."""
ERRORS = ("slant",)
"""The tasks whose metric is an error: the lower the better."""
METRICS = (*CLASSES, *ERRORS)
"""The tasks that count."""


class Problem(NamedTuple):
    """What every method starts from; `params`, `keys` and samples lead with seeds.

    Attributes:
      tasks: the losses' names, the main task's first.
      first_losses: theirs, of a network that says nothing.
      params: of the network.
      keys: `[seeds]`.
      train: the training samples.
      test: the others.
      sample_losses: `(params, samples) -> {task: [n]}`, in the order of `tasks`.
      metrics: `(params, samples) -> {task: number}`: accuracies in percent, errors.
    """

    tasks: tuple[str, ...]
    first_losses: tuple[float, ...]
    params: Any
    keys: jax.Array
    train: Samples
    test: Samples
    sample_losses: Callable[[Any, Samples], dict[str, jax.Array]]
    metrics: Callable[[Any, Samples], dict[str, jax.Array]]

    @property
    def seeds(self) -> tuple[Any, ...]:
        """What differs between them, to `vmap` over."""
        return self.params, self.keys, self.train, self.test

    def losses(self, params: Any, samples: Samples) -> dict[str, jax.Array]:
        """The means over a batch."""
        return {k: jnp.mean(v) for k, v in self.sample_losses(params, samples).items()}


def slants(images: jax.Array) -> jax.Array:
    """How far the ink leans, `[n]`: the slope of x over y, by least squares.

    It is what a program that puts handwriting upright measures first. Upright is 0; the
    writer's hand counts in it as much as the digit does.
    """
    y, x = jnp.asarray(np.mgrid[:SIDE, :SIDE].reshape(2, 1, -1), jnp.float32)
    share = images / jnp.sum(images, axis=1, keepdims=True)
    x = x - jnp.sum(share * x, axis=1, keepdims=True)
    y = y - jnp.sum(share * y, axis=1, keepdims=True)
    return jnp.sum(share * x * y, axis=1) / jnp.sum(share * y**2, axis=1)


def draw(
    key: jax.Array,
    images: jax.Array,
    digits: jax.Array,
    pixel_noise: float,
    names: tuple[str, ...],
) -> Samples:
    """Targets by name, of the clean images, and the images with noise drawn once."""
    task_key, noise_key = jax.random.split(key)
    targets = {**draw_tasks(task_key, images, digits).targets, "slant": slants(images)}
    noise = pixel_noise * jax.random.normal(noise_key, images.shape)
    return Samples(images + noise, {name: targets[name] for name in names})


def prepare(
    seeds: int, train_size: int, hidden: int, pixel_noise: float, *, noise: bool = False
) -> Problem:
    """Draws every seed's samples and network.

    Args:
      seeds: how many.
      train_size: of the 1,797 images; the others are for testing.
      hidden: units in either layer of the trunk.
      pixel_noise: deviation of what is added to every pixel.
      noise: whether a map of pure noise is a further target, which does not count.
    """
    outputs = {**CLASSES, "slant": 1, **({"noise": SIDE**2} if noise else {})}
    init, predict = _network(hidden, outputs)
    images, digits = load()

    def one(seed):
        keys = jax.random.split(jax.random.key(seed), 4)
        samples = draw(keys[0], images, digits, pixel_noise, tuple(outputs))
        return init(keys[1]), keys[2], *split(keys[3], samples, train_size)

    def sample_losses(params, samples):
        found, targets = predict(params, samples.images), samples.targets
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        losses = {name: cross_entropy(found[name], targets[name]) for name in CLASSES}
        losses["slant"] = (found["slant"][:, 0] - targets["slant"]) ** 2
        if noise:
            gap = jnp.abs(found["noise"] - targets["noise"])
            losses["noise"] = jnp.mean(gap, axis=1)
        return losses

    def metrics(params, samples):
        found, targets = predict(params, samples.images), samples.targets
        right = {n: jnp.argmax(found[n], axis=1) == targets[n] for n in CLASSES}
        error = found["slant"][:, 0] - targets["slant"]
        return {
            **{name: 100 * jnp.mean(x) for name, x in right.items()},
            "slant": jnp.sqrt(jnp.mean(error**2)),
        }

    first = {name: math.log(classes) for name, classes in CLASSES.items()}
    first |= {"slant": float(jnp.mean(slants(images) ** 2)), "noise": 0.5}
    drawn = jax.jit(jax.vmap(one))(jnp.arange(seeds))
    return Problem(
        tuple(outputs),
        tuple(first[name] for name in outputs),
        *drawn,
        sample_losses,
        metrics,
    )


def _network(hidden: int, outputs: dict[str, int]) -> tuple[Callable, Callable]:
    """A trunk of two layers of ReLUs and a linear head per task: init and apply."""
    trunk = mlp_head(hidden, hidden)
    heads = {name: linear_head(size) for name, size in outputs.items()}

    def init(key):
        keys = jax.random.split(key, len(heads) + 1)
        named = zip(heads.items(), keys[1:], strict=True)
        return {
            "trunk": trunk.init(keys[0], jnp.zeros((1, SIDE**2))),
            "heads": {n: h.init(k, jnp.zeros((1, hidden))) for (n, h), k in named},
        }

    def predict(params, images):
        features = jax.nn.relu(trunk.apply(params["trunk"], images))
        return {n: h.apply(params["heads"][n], features) for n, h in heads.items()}

    return init, predict
