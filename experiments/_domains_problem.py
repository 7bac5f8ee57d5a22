"""Domains as tasks: a trunk that they share, a linear head for each."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from _domains_data import Domains
from _training import Problem, accuracy, in_batches

from auxjax.data import random_crop_flip
from auxjax.models import Model, cnn, linear_head, vgg16

CLASSES = 5
EVALUATED = 100  # test images of each domain at once
CIFAR_MEAN = (0.5071, 0.4867, 0.4408)
CIFAR_STD = (0.2675, 0.2565, 0.2761)


class Trunk(NamedTuple):
    """What all domains share.

    Attributes:
      init: `(key, images [n, H, W, C], T) -> (params, state)`; the state has a leading
        axis of domains, or is None.
      apply: `(params, state, images [T, n, H, W, C], train) -> (features, state)`.
      features: how many numbers it makes of an image.
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[jax.Array, Any]]
    features: int


def make_trunk(network: str, width: float = 1.0) -> Trunk:
    """The paper's VGG-16, or a small network without normalisation."""
    if network == "vgg16":
        return _vgg16(width)
    features = max(1, round(64 * width))
    channels = tuple(max(1, round(x * width)) for x in (8, 16))
    model = cnn(features, channels=channels, hidden=features, relu_out=True)

    def init(key, images, num_domains):
        del num_domains
        return model.init(key, images), None

    def apply(params, state, images, train):
        del train
        return model.apply(params, images), state

    return Trunk(init, apply, features)


def _vgg16(width: float) -> Trunk:
    """The trunk of VGG-16; each domain's batch has its own batch statistics.

    (The authors' code also has each domain its own scale and shift after them.)
    """
    features = max(1, round(512 * width))
    model = vgg16([features], hidden=None, width=width)

    def init(key, images, num_domains):
        params, state = model.init(key, images)
        state = jax.tree.map(lambda x: jnp.stack([x] * num_domains), state)
        return params["trunk"], state

    def apply(params, state, images, train):
        # A head that hands on what it reads: the domains' own ones stand outside, where
        # each belongs to its task alone.
        blank = jnp.zeros((1, features))
        shapes = jax.eval_shape(linear_head(features).init, jax.random.key(0), blank)
        head = jax.tree.map(
            lambda x: jnp.eye(features) if x.ndim == 2 else jnp.zeros(x.shape), shapes
        )
        whole = {"trunk": params, "heads": [head]}
        one = functools.partial(model.apply, train=train, head=0)
        return jax.vmap(one, in_axes=(None, 0, 0))(whole, state, images)

    return Trunk(init, apply, features)


class Network(NamedTuple):
    """A network of some domains.

    Attributes:
      init: `key -> (params, state)`.
      logits: `(params, state, images [n, D, H, W, C], train) -> ({name: [n, 5]}, state)`
        of the first D domains.
    """

    init: Callable[[jax.Array], tuple[Any, Any]]
    logits: Callable[..., tuple[dict[str, jax.Array], Any]]


def shared(names: tuple[str, ...], trunk: Trunk, shape: tuple[int, ...]) -> Network:
    """One trunk for all domains, and a head for each."""
    head = linear_head(CLASSES)

    def init(key):
        trunk_key, key = jax.random.split(key)
        params, state = trunk.init(trunk_key, jnp.zeros((1, *shape)), len(names))
        return {"trunk": params, "heads": init_heads(key, head, trunk.features, names)}, state

    def logits(params, state, images, train):
        count = images.shape[1]
        own = jax.tree.map(lambda x: x[:count], state)
        x = jnp.swapaxes(images, 0, 1)
        x, state = trunk.apply(params["trunk"], own, x, train)
        found = {
            name: head.apply(params["heads"][name], x[i])
            for i, name in enumerate(names[:count])
        }
        return found, state

    return Network(init, logits)


def init_heads(key: jax.Array, head: Model, features: int, names: Sequence[str]) -> Any:
    """A head for each name; drawn together, for many small programs compile slowly."""
    keys = jax.random.split(key, len(names))
    found = jax.vmap(lambda key: head.init(key, jnp.zeros((1, features))))(keys)
    return {
        name: jax.tree.map(lambda x, i=i: x[i], found) for i, name in enumerate(names)
    }


def separate(names: tuple[str, ...], trunk: Trunk, shape: tuple[int, ...]) -> Network:
    """A whole network for each domain, all computed together."""
    one = shared(("own",), trunk, shape)

    def init(key):
        return jax.vmap(one.init)(jax.random.split(key, len(names)))

    def logits(params, state, images, train):
        def single(params, state, images):
            found, state = one.logits(params, state, images[:, None], train)
            return found["own"], state

        x = jnp.swapaxes(images, 0, 1)
        found, state = jax.vmap(single)(params, state, x)
        return {name: found[i] for i, name in enumerate(names)}, state

    return Network(init, logits)


def make_problem(
    config: Any, train: Domains, test: Domains, *, only_first: bool = False
) -> Problem:
    """Every domain a task, the first one the main task; one trunk for all.

    Args:
      config: `network`, `width`, `rate`, `source` and `weight_travel`.
      train: what there is to learn.
      test: the same domains.
      only_first: evaluate the first domain alone.
    """
    names, sample_losses, problem = _prepare(config, train, test, shared)

    def losses(*args):
        found, state = sample_losses(*args)
        return {name: jnp.mean(x) for name, x in found.items()}, state

    if only_first:
        problem = problem._replace(test=_on_device(test.only([0])))
    return problem._replace(
        tasks=names,
        losses=losses,
        sample_losses=sample_losses,
        classification=tuple(range(len(names))),
        first_losses=(math.log(CLASSES),) * len(names),
        travel=config.weight_travel,
    )


def make_singles(config: Any, train: Domains, test: Domains) -> Problem:
    """A network for each domain, what `single` trains.

    They share nothing, and the optimizer takes each parameter by itself: to minimise
    the sum of their losses is to train each alone.
    """
    names, sample_losses, problem = _prepare(config, train, test, separate)

    def losses(*args):
        found, state = sample_losses(*args)
        return {"sum": sum(jnp.mean(found[name]) for name in names)}, state

    return problem._replace(tasks=("sum",), losses=losses)


def _prepare(config: Any, train: Domains, test: Domains, kind: Callable) -> Any:
    """The names, the losses sample by sample, and what else both problems share."""
    names = tuple(domain.name for domain in train.domains)
    trunk = make_trunk(config.network, config.width)
    network = kind(names, trunk, train.images.shape[2:])
    photographs = config.source == "cifar100"

    def sample_losses(params, state, batch, key):
        images, labels = batch["images"], batch["labels"]
        if photographs:
            flat = images.reshape(-1, *images.shape[2:])
            images = random_crop_flip(key, flat).reshape(images.shape)
        found, state = network.logits(params, state, scaled(images, photographs), True)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        return {
            name: cross_entropy(found[name], labels[:, i])
            for i, name in enumerate(names)
        }, state

    def evaluate(params, state, test):
        found = in_batches(
            lambda x: network.logits(params, state, scaled(x, photographs), False)[0],
            test["images"],
            min(EVALUATED, len(test["images"])),
        )
        each = {
            name: accuracy(found[name], test["labels"][:, i])
            for i, name in enumerate(names)
            if name in found
        }
        return {"accuracy": jnp.mean(jnp.stack([*each.values()])), **each}

    problem = Problem(
        tasks=(),
        init=network.init,
        losses=sample_losses,
        evaluate=evaluate,
        train=_on_device(train),
        test=_on_device(test),
        optimizer=functools.partial(optimizer, config.rate),
    )
    return names, sample_losses, problem


def _on_device(domains: Domains) -> dict[str, jax.Array]:
    return {
        "images": jnp.asarray(domains.images),
        "labels": jnp.asarray(domains.labels),
    }


def optimizer(rate: float, steps: int) -> optax.GradientTransformation:
    """The paper's: SGD with momentum and weight decay, along a cosine to 0."""
    return optax.chain(
        optax.add_decayed_weights(5e-4),
        optax.sgd(optax.cosine_decay_schedule(rate, steps), momentum=0.9),
    )


def scaled(images: jax.Array, photographs: bool) -> jax.Array:
    """Bytes to numbers from 0 to 1; photographs to mean 0 and deviation 1 a channel."""
    x = images.astype(jnp.float32) / 255
    if not photographs:
        return x
    lead = (1,) * (x.ndim - 1)
    mean, std = (jnp.array(v).reshape(*lead, -1) for v in (CIFAR_MEAN, CIFAR_STD))
    return (x - mean) / std
