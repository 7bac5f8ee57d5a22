"""One pair of classes as two tasks that share a trunk."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import auxjax
from auxjax import data
from auxjax.models import cnn, linear_head, resnet18
from auxjax.run import Progress, RunError, reading
from lab.problem import Problem, in_batches

FEATURES = 64
PROBE = 512  # training images on which the cosine is taken
EVALUATED = 500  # test images at once


class Pair(NamedTuple):
    """Two classes: whom the main task tells from the others, and the auxiliary task."""

    main: int
    auxiliary: int

    @staticmethod
    def parse(text: str) -> Pair:
        """From `871-484`.

        Example:
          >>> Pair.parse("871-484")
          Pair(main=871, auxiliary=484)
        """
        parts = text.split("-")
        if len(parts) != 2 or not all(x.isdecimal() for x in parts):
            raise ValueError(
                f"a pair should be two classes' numbers, as `871-484`. Found {text!r}."
            )
        if parts[0] == parts[1]:
            raise ValueError(f"a pair should be of two classes. Found {text!r}.")
        return Pair(int(parts[0]), int(parts[1]))

    def __str__(self) -> str:
        return f"{self.main}-{self.auxiliary}"


class Task(NamedTuple):
    """The images of a pair and of the background."""

    images: np.ndarray  # [n, H, W, C] uint8
    kind: np.ndarray  # [n] int32: 0 background, 1 the main class, 2 the auxiliary one


def select(images: data.Images, pair: Pair, seed: int, most: int) -> Task:
    """At most so many images of either class, and as many of the others, shuffled.

    The paper says nothing of how it balances one class against the 998 others.
    """
    random = np.random.default_rng(seed)
    labels = images.labels
    kind = np.where(labels == pair.main, 1, np.where(labels == pair.auxiliary, 2, 0))
    of = [random.permutation(np.flatnonzero(kind == k)) for k in range(3)]
    inside = np.concatenate([of[1][:most], of[2][:most]])
    chosen = random.permutation(np.concatenate([inside, of[0][: len(inside)]]))
    return Task(images.images[chosen], kind[chosen].astype(np.int32))


def read_folder(config: Any) -> tuple[data.Images, data.Images, str]:
    """The named classes and 20 others of a folder of folders; a fifth is for testing.

    Labels stay the numbers of the sorted folders.
    """
    named = {c for text in (*config.near, *config.far) for c in Pair.parse(text)}
    if not config.folder.is_dir():
        raise RunError(
            f"`folder` should hold a folder per class. Found none at {config.folder}."
        )
    available = [
        path
        for path in sorted(config.folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    ]
    others = [i for i in range(len(available)) if i not in named]
    chosen = [*sorted(named), *np.random.default_rng(0).permutation(others)[:20]]
    numbers = [int(i) for i in chosen]
    with Progress("reading", unit="images", quiet=config.quiet) as bar, reading():
        found = data.image_folder(
            config.folder,
            numbers,
            config.size,
            progress=lambda done, total: bar.update(done, total=total),
        )
    labels = np.asarray(numbers, np.int32)[found.labels]
    order = np.random.default_rng(0).permutation(len(labels))
    cut = len(order) // 5
    test, train = (
        data.Images(found.images[at], labels[at]) for at in (order[:cut], order[cut:])
    )
    described = (
        f"{len(numbers)} classes of {config.folder.name}, {config.size}x{config.size}: "
        f"{len(train.labels):,} training and {len(test.labels):,} test images"
    )
    return train, test, described


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
        found = {name: head.apply(params[name], x) for name in ("main", "auxiliary")}
        return found, state

    def sample_losses(params, state, batch, key, train=True):
        del key
        found, state = logits(params, state, batch.images, train)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        return {
            name: jnp.where(
                _counts(batch, name),
                cross_entropy(found[name], _is_own(batch, name).astype(jnp.int32)),
                0,
            )
            for name in found
        }, state

    def losses(params, state, batch, key, train=True):
        found, state = sample_losses(params, state, batch, key, train)
        each = {name: _mean(x, _counts(batch, name)) for name, x in found.items()}
        return each, state

    def evaluate(params, state, sets):
        test = sets["test"]
        size = min(EVALUATED, len(test.kind))
        found = in_batches(
            lambda x: logits(params, state, x, False)[0]["main"], test.images, size
        )
        right = (jnp.argmax(found, axis=-1) == 1) == _is_own(test, "main")
        jac = auxjax.task_jacobian(
            lambda p: losses(p, state, sets["probe"], None, train=False)[0], params
        )
        gramian = jac.gramian(jac.shared_mask())
        lengths = jnp.sqrt(jnp.maximum(jnp.diagonal(gramian), 1e-30))
        return {
            "accuracy": 100 * _mean(right.astype(jnp.float32), _counts(test, "main")),
            "cosine": gramian[0, 1] / (lengths[0] * lengths[1]),
        }

    device = jax.tree.map(jnp.asarray, {"train": train, "test": test})
    probe = jax.tree.map(lambda x: x[:PROBE], device["train"])
    return Problem(
        tasks=("main", "auxiliary"),
        init=init,
        losses=losses,
        sample_losses=sample_losses,
        evaluate=evaluate,
        train=device["train"],
        test={"test": device["test"], "probe": probe},
        optimizer=lambda steps: optax.sgd(config.learning_rate, momentum=0.9),
        classification=(0, 1),
        first_losses=(math.log(2),) * 2,
        travel=config.weight_travel,
    )


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
