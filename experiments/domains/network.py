"""Networks of many domains: one trunk for all, or a network for each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from auxjax.models import cnn, linear_head, vgg16
from lab.problem import init_heads

CLASSES = 5


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
      logits: `(params, state, images [n, D, H, W, C], train) -> (logits, state)` of the
        first D domains; the logits are `{name: [n, 5]}`.
    """

    init: Callable[[jax.Array], tuple[Any, Any]]
    logits: Callable[..., tuple[dict[str, jax.Array], Any]]


def shared(names: tuple[str, ...], trunk: Trunk, shape: tuple[int, ...]) -> Network:
    """One trunk for all domains, and a head for each."""
    head = linear_head(CLASSES)

    def init(key):
        trunk_key, key = jax.random.split(key)
        params, state = trunk.init(trunk_key, jnp.zeros((1, *shape)), len(names))
        return {
            "trunk": params,
            "heads": init_heads(key, head, trunk.features, names),
        }, state

    def logits(params, state, images, train):
        count = images.shape[1]
        own = jax.tree.map(lambda x: x[:count], state)
        x = jnp.swapaxes(images, 0, 1)
        x, state = trunk.apply(params["trunk"], own, x, train)
        logits = {
            name: head.apply(params["heads"][name], x[i])
            for i, name in enumerate(names[:count])
        }
        return logits, state

    return Network(init, logits)


def separate(names: tuple[str, ...], trunk: Trunk, shape: tuple[int, ...]) -> Network:
    """A whole network for each domain, all computed together."""
    one = shared(("own",), trunk, shape)

    def init(key):
        return jax.vmap(one.init)(jax.random.split(key, len(names)))

    def logits(params, state, images, train):
        def single(params, state, images):
            logits, state = one.logits(params, state, images[:, None], train)
            return logits["own"], state

        x = jnp.swapaxes(images, 0, 1)
        logits, state = jax.vmap(single)(params, state, x)
        return {name: logits[i] for i, name in enumerate(names)}, state

    return Network(init, logits)
