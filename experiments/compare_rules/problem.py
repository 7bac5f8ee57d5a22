"""The digits with five real tasks, and how networks learn them.

One seed is one draw of everything: the split, the noise on the images, the network.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lab.digit_network import make_network
from lab.digit_tasks import CLASSES as ALL_CLASSES
from lab.digit_tasks import SIDE, Samples, draw_tasks, keys_of_seed, load, split
from lab.problem import Problem, accuracy, mean_losses

CLASSES = {name: ALL_CLASSES[name] for name in ("digit", "parity", "size", "loops")}
"""The tasks whose loss is a cross-entropy, with their number of classes."""
ERRORS = ("slant",)
"""The tasks whose metric is an error: the lower the better."""
METRICS = (*CLASSES, *ERRORS)
"""The tasks that count."""


def prepare(config: Any) -> Problem:
    """Every seed's samples, and how they are learned.

    Args:
      config: `train_size` of the 1,797 images, `pixel_noise` (the deviation of what is
        added to every pixel), `hidden`, `learning_rate`, and `noise`: whether a map of
        pure noise is a further target, which does not count.
    """
    outputs = {**CLASSES, "slant": 1, **({"noise": SIDE**2} if config.noise else {})}
    init, predict = make_network(SIDE**2, config.hidden, outputs)

    def sample_losses(params, state, batch, key):
        del key
        said, targets = predict(params, batch.images), batch.targets
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        each = {name: cross_entropy(said[name], targets[name]) for name in CLASSES}
        each["slant"] = (said["slant"][:, 0] - targets["slant"]) ** 2
        if config.noise:
            gap = jnp.abs(said["noise"] - targets["noise"])
            each["noise"] = jnp.mean(gap, axis=1)
        return each, state

    def evaluate(params, state, test):
        said, targets = predict(params, test.images), test.targets
        error = said["slant"][:, 0] - targets["slant"]
        right = {name: accuracy(said[name], targets[name]) for name in CLASSES}
        return {**right, "slant": jnp.sqrt(jnp.mean(error**2))}

    first = {name: math.log(classes) for name, classes in CLASSES.items()}
    first |= {"slant": float(np.mean(np.square(slants(load()[0])))), "noise": 0.5}
    train, test = draw_seeds(config, tuple(outputs))
    return Problem(
        tasks=tuple(outputs),
        init=init,
        losses=mean_losses(sample_losses),
        sample_losses=sample_losses,
        evaluate=evaluate,
        train=train,
        test=test,
        optimizer=lambda steps: optax.adam(config.learning_rate),
        classification=tuple(range(len(CLASSES))),
        first_losses=tuple(first[name] for name in outputs),
        clip_at_zero=config.clip_at_zero,
        per_seed=True,
    )


def one_network_each(problem: Problem) -> Problem:
    """A network for each task that counts, all with the same first weights.

    They share nothing, and Adam takes each parameter by itself: to minimise the sum of
    their losses is to train each alone.
    """
    count = len(METRICS)

    def init(key):
        params, state = problem.init(key)
        return jax.tree.map(lambda x: jnp.stack([x] * count), params), state

    def own(each):  # {task: [networks]}, of which each has learned one
        return {name: each[name][i] for i, name in enumerate(METRICS)}

    def losses(params, state, batch, key):
        each = jax.vmap(lambda x: problem.losses(x, state, batch, key)[0])(params)
        return {"sum": sum(own(each).values())}, state

    def evaluate(params, state, test):
        return own(jax.vmap(lambda x: problem.evaluate(x, state, test))(params))

    return problem._replace(
        tasks=("sum",), init=init, losses=losses, evaluate=evaluate, sample_losses=None
    )


@jax.jit
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


def draw_seeds(config: Any, names: tuple[str, ...]) -> tuple[Samples, Samples]:
    """Training and test samples, leading axis seeds."""
    images, digits = load()

    def one(seed, images, digits):
        keys = keys_of_seed(seed, 2)
        samples = draw(keys[0], images, digits, config.pixel_noise, names)
        return split(keys[1], samples, config.train_size)

    seeds = config.first_seed + np.arange(config.seeds)
    return jax.jit(jax.vmap(one, in_axes=(0, None, None)))(seeds, images, digits)
