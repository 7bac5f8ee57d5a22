"""Attributes as tasks: a trunk that they share, one number out for each."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from attributes.data import Split
from auxjax.models import cnn, linear_head, resnet18
from lab.problem import Problem, in_batches, init_heads, mean_losses

EVALUATED = 500  # images at once


def make_problem(config: Any, split: Split, primary: int | None = None) -> Problem:
    """Every attribute a task.

    Args:
      config: `network`, `width`, `dropout`, `weight_decay`, `learning_rate`, `epochs`,
        `loader` and `weight_travel`.
      split: the images; they stay on the host with `loader` "host".
      primary: the attribute that is the main task, and the only one evaluated; None:
        all are.
    """
    at = range(len(split.train.names))
    order = [*at] if primary is None else [primary, *(i for i in at if i != primary)]
    names = tuple(split.train.names[i] for i in order)
    trunk, features = make_trunk(config, split.train.images.shape[1:])
    head = linear_head(1)

    def init(key):
        trunk_key, key = jax.random.split(key)
        params, state = trunk.init(trunk_key)
        return {"trunk": params, "heads": init_heads(key, head, features, names)}, state

    def logits(params, state, images, key=None):
        x = images.astype(jnp.float32) / 255
        x, state = trunk.apply(params["trunk"], state, x, key is not None)
        if key is not None and config.dropout:
            kept = jax.random.bernoulli(key, 1 - config.dropout, x.shape)
            x = jnp.where(kept, x / (1 - config.dropout), 0.0)
        heads = params["heads"]
        return {name: head.apply(heads[name], x)[:, 0] for name in names}, state

    def sample_losses(params, state, batch, key):
        each, state = logits(params, state, batch["images"], key)
        answers = batch["attributes"].astype(jnp.float32)
        cross_entropy = optax.sigmoid_binary_cross_entropy
        return {
            name: cross_entropy(each[name], answers[:, i])
            for i, name in zip(order, names, strict=True)
        }, state

    place = np.asarray if config.loader == "host" else jnp.asarray
    parts = {
        kind: {"images": place(x.images), "attributes": place(x.attributes)}
        for kind, x in split._asdict().items()
    }
    train = parts.pop("train")
    return Problem(
        tasks=names,
        init=init,
        losses=mean_losses(sample_losses),
        sample_losses=sample_losses,
        evaluate=_evaluate(logits, order, names if primary is None else names[:1]),
        train=train,
        test=parts,
        optimizer=functools.partial(optimizer, config),
        classification=tuple(range(len(names))),
        first_losses=(math.log(2),) * len(names),
        travel=config.weight_travel,
    )


def _evaluate(logits: Any, order: list[int], counted: tuple[str, ...]) -> Any:
    """`evaluate` of the attributes that count; the sets may come one by one."""

    def evaluate(params, state, sets):
        metrics = {}
        for kind, part in sets.items():
            said = in_batches(
                lambda images: logits(params, state, images)[0],
                part["images"],
                min(EVALUATED, len(part["images"])),
            )
            each = {
                f"{kind} {name}": _accuracy(said[name], part["attributes"][:, i])
                for i, name in zip(order, counted, strict=False)
            }
            mean = "accuracy" if kind == "test" else kind
            metrics |= {mean: jnp.mean(jnp.stack([*each.values()]))}
            metrics |= each if kind == "test" else {}
        return metrics

    return evaluate


def _accuracy(logits: jax.Array, answers: jax.Array) -> jax.Array:
    """Percent."""
    return 100 * jnp.mean(((logits > 0) == (answers == 1)).astype(jnp.float32))


def optimizer(config: Any, steps: int) -> optax.GradientTransformation:
    """Adam with the weights' decay in its gradient; the rate falls by 5% per epoch."""
    rate = optax.exponential_decay(
        config.learning_rate, steps // config.epochs, 0.95, staircase=True
    )
    return optax.chain(optax.add_decayed_weights(config.weight_decay), optax.adam(rate))


class Trunk(NamedTuple):
    """Images to features.

    Attributes:
      init: `key -> (params, state)`; the state is None where there is none.
      apply: `(params, state, images, train) -> (features, state)`.
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[jax.Array, Any]]


def make_trunk(config: Any, shape: tuple[int, ...]) -> tuple[Trunk, int]:
    """What all attributes share, and how many features come out of it."""
    blank = jnp.zeros((1, *shape))
    if config.network == "cnn":
        features = max(1, round(64 * config.width))
        channels = tuple(max(1, round(x * config.width)) for x in (8, 16))
        small = cnn(features, channels=channels, hidden=features, relu_out=True)
        return Trunk(
            lambda key: (small.init(key, blank), None),
            lambda params, state, x, train: (small.apply(params, x), state),
        ), features
    large = resnet18(stem="cifar", width=config.width)

    def apply(params, state, images, train):
        x, state = large.apply(params, state, images, train=train)
        return quarters(x), state

    def made(key):
        return apply(*large.init(key, blank), blank, False)[0]

    features = jax.eval_shape(made, jax.random.key(0)).shape[-1]
    return Trunk(lambda key: large.init(key, blank), apply), features


def quarters(maps: jax.Array) -> jax.Array:
    """The mean of each quarter of the feature maps, side by side: `[n, 4 C]`.

    Maps of an odd height or width are averaged as a whole: `[n, C]`.

    Example:
      >>> quarters(jnp.arange(16.0).reshape(1, 4, 4, 1)).tolist()
      [[2.5, 4.5, 10.5, 12.5]]
    """
    count, height, width, channels = maps.shape
    if height % 2 or width % 2:
        return jnp.mean(maps, axis=(1, 2))
    x = maps.reshape(count, 2, height // 2, 2, width // 2, channels)
    return jnp.mean(x, axis=(2, 4)).reshape(count, 4 * channels)
