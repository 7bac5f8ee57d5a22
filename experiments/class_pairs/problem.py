"""One pair of classes as two tasks that share a trunk."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import auxjax
from auxjax.models import cnn, linear_head, resnet18
from class_pairs.data import Task
from lab.problem import Problem, in_batches

FEATURES = 64
PROBE = 512  # training images on which the cosine is taken
EVALUATED = 500  # test images at once


def make_problem(config: Any, train: Task, test: Task) -> Problem:
    """Both tasks tell their class from the background, of which neither class is part.

    So the images of class B do not count for the main task, nor those of class A for
    the auxiliary one. The trunk is shared.
    """
    shape = train.images.shape[1:]
    trunk, stateful = _trunk(config.network)
    head = linear_head(2)

    def init(key):
        keys = jax.random.split(key, 3)
        images, features = jnp.zeros((1, *shape)), jnp.zeros((1, FEATURES))
        first = trunk.init(keys[0], images)
        params, state = first if stateful else (first, None)
        heads = {"main": keys[1], "auxiliary": keys[2]}
        heads = {name: head.init(key, features) for name, key in heads.items()}
        return {"trunk": params, **heads}, state

    def logits(params, state, images, train):
        x = images.astype(jnp.float32) / 255
        if stateful:
            x, state = trunk.apply(params["trunk"], state, x, train=train)
        else:
            x = trunk.apply(params["trunk"], x)
        names = ("main", "auxiliary")
        return {name: head.apply(params[name], x) for name in names}, state

    def sample_losses(params, state, batch, key, train=True):
        del key
        outputs, state = logits(params, state, batch.images, train)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        return {
            name: jnp.where(
                _counts(batch, name),
                cross_entropy(output, _is_own(batch, name).astype(jnp.int32)),
                0,
            )
            for name, output in outputs.items()
        }, state

    def losses(params, state, batch, key, train=True):
        samples, state = sample_losses(params, state, batch, key, train)
        each = {name: _mean(x, _counts(batch, name)) for name, x in samples.items()}
        return each, state

    device = jax.tree.map(jnp.asarray, {"train": train, "test": test})
    probe = jax.tree.map(lambda x: x[:PROBE], device["train"])
    return Problem(
        tasks=("main", "auxiliary"),
        init=init,
        losses=losses,
        sample_losses=sample_losses,
        evaluate=_make_evaluate(logits, losses),
        train=device["train"],
        test={"test": device["test"], "probe": probe},
        optimizer=lambda steps: optax.sgd(config.learning_rate, momentum=0.9),
        classification=(0, 1),
        first_losses=(math.log(2),) * 2,
        travel=config.weight_travel,
    )


def _make_evaluate(logits: Callable, losses: Callable) -> Callable:
    """Measures accuracy on the test images, and the gradients' cosine on the probe."""

    def evaluate(params, state, sets):
        test = sets["test"]
        size = min(EVALUATED, len(test.kind))
        outputs = in_batches(
            lambda x: logits(params, state, x, False)[0]["main"], test.images, size
        )
        right = (jnp.argmax(outputs, axis=-1) == 1) == _is_own(test, "main")
        jac = auxjax.task_jacobian(
            lambda p: losses(p, state, sets["probe"], None, train=False)[0], params
        )
        gramian = jac.gramian(jac.shared_mask())
        lengths = jnp.sqrt(jnp.maximum(jnp.diagonal(gramian), 1e-30))
        return {
            "accuracy": 100 * _mean(right.astype(jnp.float32), _counts(test, "main")),
            "cosine": gramian[0, 1] / (lengths[0] * lengths[1]),
        }

    return evaluate


def _is_own(task: Task, name: str) -> jax.Array:
    """Which images show the task's class."""
    return task.kind == (1 if name == "main" else 2)


def _mean(x: jax.Array, counts: jax.Array) -> jax.Array:
    """Of the images that count."""
    weights = counts.astype(jnp.float32)
    return jnp.sum(x * weights) / jnp.maximum(jnp.sum(weights), 1)


def _counts(task: Task, name: str) -> jax.Array:
    """Which images count for the task: its class and the background."""
    return task.kind != (2 if name == "main" else 1)


def _trunk(name: str) -> tuple[Any, bool]:
    """Images to `FEATURES` numbers, and whether the trunk carries batch statistics."""
    if name == "cnn":
        return cnn(FEATURES, channels=(16, 32), hidden=64, relu_out=True), False
    return resnet18(FEATURES, stem="cifar"), True
