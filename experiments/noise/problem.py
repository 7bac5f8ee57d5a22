"""Six tasks on the digits, and how a network learns them all."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lab.digit_network import make_network
from lab.digit_tasks import (
    CLASSES,
    SIDE,
    TASKS,
    Samples,
    corrupt,
    draw_tasks,
    keys_of_seed,
    load,
    primary_tasks,
    split,
)
from lab.problem import Problem, accuracy, sgd


def prepare(config: Any) -> Problem:
    """Every seed's samples, and how they are learned.

    Args:
      config: `train_size`, `label_noise`, `pixel_noise` (the deviation of what is added
        to every image, anew in every step, so that a few hundred images are not learned
        by heart at once), `hidden`, `learning_rate`, `weight_travel`, `primary`.
    """
    heads = {**CLASSES, "noise": SIDE**2}
    init, predict = make_network(2 * SIDE**2, config.hidden, heads)

    def losses(params, state, batch, key):
        noise = config.pixel_noise * jax.random.normal(key, batch.images.shape)
        said, targets = predict(params, batch.images + noise), batch.targets
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        means = {n: jnp.mean(cross_entropy(said[n], targets[n])) for n in CLASSES}
        means["noise"] = jnp.mean(jnp.abs(said["noise"] - targets["noise"]))
        return means, state

    def evaluate(params, state, test):
        said = predict(params, test.images)
        return {name: accuracy(said[name], test.targets[name]) for name in CLASSES}

    train, test = draw_seeds(config)
    return Problem(
        tasks=TASKS,
        init=init,
        losses=losses,
        evaluate=evaluate,
        train=train,
        test=test,
        optimizer=lambda steps: sgd(config.learning_rate, 1e-4, steps),
        primary=tuple(TASKS.index(name) for name in primary_tasks(config.primary)),
        travel=config.weight_travel,
        per_seed=True,
    )


def draw_seeds(config: Any) -> tuple[Samples, Samples]:
    """Training and test samples, leading axis seeds."""
    images, digits = load()

    def one(seed, images, digits):
        keys = keys_of_seed(seed, 3)
        samples = draw_tasks(keys[0], images, digits)
        train, test = split(keys[1], samples, config.train_size)
        return corrupt(keys[2], train, config.label_noise), test

    seeds = config.first_seed + np.arange(config.seeds)
    return jax.jit(jax.vmap(one, in_axes=(0, None, None)))(seeds, images, digits)
