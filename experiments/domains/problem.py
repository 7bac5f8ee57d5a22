"""Domains as tasks, all at once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from auxjax.data import random_crop_flip
from domains.data import Domains
from domains.network import CLASSES, make_trunk, separate, shared
from lab.problem import Problem, accuracy, in_batches, mean_losses, sgd
from lab.training import SINGLE

EVALUATED = 100  # test images of each domain at once
DECAY = 5e-4  # of all weights, as in the paper
CIFAR_MEAN = (0.5071, 0.4867, 0.4408)
CIFAR_STD = (0.2675, 0.2565, 0.2761)


def make(
    config: Any, train: Domains, test: Domains, method: str, primary: int | None = None
) -> Problem:
    """What a method is trained on; a network for each domain for `single`.

    Args:
      config: `network`, `width`, `learning_rate`, `source` and `weight_travel`.
      train: what there is to learn.
      test: the same domains.
      method: a name out of `BY_NAME`, or `single`.
      primary: the domain that is the main task, and the only one evaluated; None: all
        are.
    """
    if method == SINGLE:
        return make_singles(config, train, test)
    if primary is None:
        return make_problem(config, train, test)
    order = [primary, *(i for i in range(len(train.names)) if i != primary)]
    problem = make_problem(config, train.only(order), test.only(order))
    return problem._replace(test=_on_device(test.only([primary])))


def make_problem(config: Any, train: Domains, test: Domains) -> Problem:
    """Every domain a task, the first one the main task; one trunk for all."""
    names, sample_losses, problem = _prepare(config, train, test, shared)
    return problem._replace(
        tasks=names,
        losses=mean_losses(sample_losses),
        sample_losses=sample_losses,
        classification=tuple(range(len(names))),
        first_losses=(math.log(CLASSES),) * len(names),
        travel=config.weight_travel,
    )


def make_singles(config: Any, train: Domains, test: Domains) -> Problem:
    """A network for each domain.

    They share nothing, and the optimizer takes each parameter by itself: to minimise
    the sum of their losses is to train each alone.
    """
    names, sample_losses, problem = _prepare(config, train, test, separate)

    def losses(*args):
        each, state = sample_losses(*args)
        return {"sum": sum(jnp.mean(each[name]) for name in names)}, state

    return problem._replace(tasks=("sum",), losses=losses)


def _prepare(config: Any, train: Domains, test: Domains, kind: Callable) -> Any:
    """The names, the losses sample by sample, and what else both problems share."""
    names = tuple(train.names)
    trunk = make_trunk(config.network, config.width)
    network = kind(names, trunk, train.images.shape[2:])
    photographs = config.source == "cifar100"

    def sample_losses(params, state, batch, key):
        images, labels = batch["images"], batch["labels"]
        if photographs:
            flat = images.reshape(-1, *images.shape[2:])
            images = random_crop_flip(key, flat).reshape(images.shape)
        images = scaled(images, photographs)
        logits, state = network.logits(params, state, images, True)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        return {
            name: cross_entropy(logits[name], labels[:, i])
            for i, name in enumerate(names)
        }, state

    def evaluate(params, state, test):
        logits = in_batches(
            lambda x: network.logits(params, state, scaled(x, photographs), False)[0],
            test["images"],
            min(EVALUATED, len(test["images"])),
        )
        each = {
            name: accuracy(logits[name], test["labels"][:, i])
            for i, name in enumerate(names)
            if name in logits
        }
        return {"accuracy": jnp.mean(jnp.stack([*each.values()])), **each}

    problem = Problem(
        tasks=(),
        init=network.init,
        losses=sample_losses,
        evaluate=evaluate,
        train=_on_device(train),
        test=_on_device(test),
        optimizer=functools.partial(sgd, config.learning_rate, DECAY),
    )
    return names, sample_losses, problem


def _on_device(domains: Domains) -> dict[str, jax.Array]:
    return {
        "images": jnp.asarray(domains.images),
        "labels": jnp.asarray(domains.labels),
    }


def scaled(images: jax.Array, photographs: bool) -> jax.Array:
    """Bytes to numbers from 0 to 1; photographs to mean 0 and deviation 1 a channel."""
    x = images.astype(jnp.float32) / 255
    if not photographs:
        return x
    lead = (1,) * (x.ndim - 1)
    mean, std = (jnp.array(v).reshape(*lead, -1) for v in (CIFAR_MEAN, CIFAR_STD))
    return (x - mean) / std
