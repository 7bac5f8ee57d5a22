"""The main task and its helpers on one trunk, as `lab.loop` trains them."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax.models import cnn
from few_labels.data import CLASSES, GOOD, MAIN, NOISE, bad_helpers, draw_seed
from lab.digit_network import make_network
from lab.problem import Problem, accuracy, in_batches, mean_losses

TEST_BATCH = 1000  # images
FLATTEN, CONVOLVE = "mlp", "cnn"
ADAM, SGD, CLIPPED = "adam", "sgd", "sgd-clipped"
RATES = {ADAM: 1e-3, SGD: 0.05, CLIPPED: 0.05}
"""Learning rates where none is given."""


def check_counts(config: Any) -> None:
    """A ValueError where a count of labels or helpers cannot be."""
    if config.random_helpers < 0 or not config.weight_decay >= 0:
        found = f"{config.random_helpers} and {config.weight_decay}"
        what = "`random_helpers` and `weight_decay` should be at least 0."
        raise ValueError(f"{what} Found {found}.")
    most = max(config.labels) if config.smoke else config.train_size
    if not all(1 <= count <= most for count in config.labels):
        raise ValueError(
            f"`labels` should be from 1 to `train_size`, {config.train_size}. "
            f"Found {' '.join(map(str, config.labels))}."
        )


def helpers_of(config: Any) -> dict[str, int]:
    """All helpers with their number of outputs; those that help first."""
    return {**GOOD, **bad_helpers(config.random_helpers)}


def prepare(config: Any, images: np.ndarray, classes: np.ndarray) -> Problem:
    """Every seed's samples, and how they are learned.

    Args:
      config: the script's; of its `labels` the first counts.
      images: `[n, H, W, C]`, uint8.
      classes: `[n]`.
    """
    helpers = helpers_of(config)
    height, width, colours = images.shape[1:]
    shape = (height, width + 8, colours)
    init, predict = _network(config, shape, {MAIN: CLASSES, **helpers})

    def sample_losses(params, state, batch, key):
        del key
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        said = predict(params, batch.images)
        each = {
            MAIN: cross_entropy(predict(params, batch.labelled)[MAIN], batch.labels)
        }
        for name in helpers:
            target = batch.targets[name]
            if name == NOISE:
                each[name] = jnp.mean(jnp.abs(said[name] - target), axis=-1)
            else:
                each[name] = cross_entropy(said[name], target)
        return each, state

    def evaluate(params, state, test):
        found = in_batches(
            lambda x: predict(params, x)[MAIN], test["images"], TEST_BATCH
        )
        return {"accuracy": accuracy(found, test["labels"])}

    seeds = config.first_seed + np.arange(config.seeds)
    draw = draw_seed(jnp.asarray(images), jnp.asarray(classes), config)
    train, test = jax.jit(jax.vmap(draw))(seeds)
    tasks = (MAIN, *helpers)
    first = [math.log({MAIN: CLASSES, **helpers}[name]) for name in tasks]
    first[tasks.index(NOISE)] = 0.5
    return Problem(
        tasks=tasks,
        init=init,
        losses=mean_losses(sample_losses),
        sample_losses=sample_losses,
        evaluate=evaluate,
        train=train,
        test=test,
        optimizer=lambda steps: optimizer(config),
        classification=tuple(i for i, name in enumerate(tasks) if name != NOISE),
        first_losses=tuple(first),
        num_labels=(config.labels[0], *(config.train_size,) * len(helpers)),
        travel=config.weight_travel,
        per_seed=True,
    )


def optimizer(config: Any) -> optax.GradientTransformation:
    """Adam; or SGD with momentum 0.9, of the gradient or of the gradient clipped to 1.

    Weight decay is decoupled, as in AdamW, and 0 by default.
    """
    if config.optimizer == ADAM:
        return optax.adamw(config.learning_rate, weight_decay=config.weight_decay)
    clip = optax.clip_by_global_norm(1.0) if config.optimizer == CLIPPED else None
    return optax.chain(
        clip or optax.identity(),
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(config.learning_rate, momentum=0.9),
    )


def _network(config: Any, shape: tuple[int, ...], outputs: dict[str, int]) -> Any:
    """`init` and `predict` on images `[n, *shape]`."""
    if config.network == CONVOLVE:
        trunk = cnn(config.hidden, channels=(16, 32), hidden=64, relu_out=True)
        return make_network(shape, config.hidden, outputs, trunk)
    init, predict = make_network((math.prod(shape),), config.hidden, outputs)
    return init, lambda params, x: predict(params, x.reshape(len(x), -1))
