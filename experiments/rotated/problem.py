"""Digits and the same digits rotated: two tasks of one network."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax.data import Images, rotate
from auxjax.models import linear_head, mlp
from lab.problem import Problem, accuracy, mean_losses


def prepare(config: Any, train: Images, test: Images, degrees: int) -> Problem:
    """The two tasks; a batch holds the images, the same rotated, and the digits."""
    size = train.images[0].size
    trunk = mlp((config.hidden,) * 2, config.hidden, relu_out=True)
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    head = linear_head(classes)

    def init(key):
        keys = jax.random.split(key, 3)
        features = jnp.zeros((1, config.hidden))
        params = {
            "trunk": trunk.init(keys[0], jnp.zeros((1, size))),
            "main": head.init(keys[1], features),
            "rotated": head.init(keys[2], features),
        }
        return params, None

    def logits(params, images, name):
        x = images.reshape(len(images), -1).astype(jnp.float32) / 255
        return head.apply(params[name], trunk.apply(params["trunk"], x))

    def sample_losses(params, state, batch, key):
        del key
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        images = {"main": batch["images"], "rotated": batch["rotated"]}
        return {
            name: cross_entropy(logits(params, x, name), batch["labels"])
            for name, x in images.items()
        }, state

    def evaluate(params, state, test):
        return {
            "error": 100
            - accuracy(logits(params, test["images"], "main"), test["labels"]),
            "rotated error": 100
            - accuracy(logits(params, test["rotated"], "rotated"), test["labels"]),
        }

    return Problem(
        tasks=("main", "rotated"),
        init=init,
        losses=mean_losses(sample_losses),
        sample_losses=sample_losses,
        evaluate=evaluate,
        train=with_rotated(train, degrees),
        test=with_rotated(test, degrees),
        optimizer=lambda steps: optax.rmsprop(config.learning_rate),
        classification=(0, 1),
        first_losses=(float(np.log(classes)),) * 2,
        travel=config.weight_travel,
    )


def with_rotated(images: Images, degrees: int) -> dict[str, jax.Array]:
    """On the device: the images, the same rotated, and their classes."""
    upright = jnp.asarray(images.images)
    return {
        "images": upright,
        "rotated": rotate(upright, degrees),
        "labels": jnp.asarray(images.labels),
    }
