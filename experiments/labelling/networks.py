"""The networks of `rl_aux.py`: the main one, and those that label."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from auxjax.labelling import LabellingConfig, Network, many_headed
from auxjax.models import Model, StatefulModel, cnn, linear_head, vgg16
from lab.options import Options
from labelling.data import Problem


@dataclasses.dataclass(frozen=True)
class NetworkOptions(Options):
    """What the command line says of them."""

    network: Literal["cnn", "vgg16"] | None = None
    """Of the main network and the one that labels."""
    channels: tuple[int, ...] = (8, 16)
    """Filters of the CNN's convolutions."""
    width: float = 1.0
    """Factor on VGG-16's channels."""

    def __post_init__(self):
        """Checks it."""
        super().__post_init__()
        self.above_zero("width")
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"`channels` should be above 0. Found {self.channels}.")


FEATURES = 64  # of the small CNN
VGG_FEATURES = 256  # of the agent's VGG-16; appendix C.2


def make_networks(
    config: Any, problem: Problem, setting: LabellingConfig
) -> tuple[Network, Network | None]:
    """The main network, and the label network or agent; None where none learns.

    Args:
      config: `network`, `channels` and `width`.
      problem: the images' shape and scale, the labels.
      setting: the method.
    """
    classes, labels = problem.hierarchy.classes, problem.hierarchy.num_labels
    main = _network(config, problem, (classes, labels))
    if setting.is_maxl:
        return main, _network(config, problem, (labels, 1)[: 1 + setting.weighted])
    if not setting.is_rl:
        return main, None
    weights = (setting.num_weights,) if setting.weighted else ()
    return main, _network(config, problem, (labels, *weights, 1), agent=True)


def _network(
    config: Any, problem: Problem, outputs: tuple[int, ...], agent: bool = False
) -> Network:
    """One trunk, an output per head; an agent's first policy is nearly uniform."""
    scales = [0.01] * (len(outputs) - 1) + [1.0] if agent else [1.0] * len(outputs)
    heads = [linear_head(n, scale=s) for n, s in zip(outputs, scales, strict=True)]
    if config.network == "cnn":
        trunk = cnn(FEATURES, channels=config.channels, hidden=64, relu_out=True)
        return _scaled(many_headed(trunk, *heads), problem)
    if agent:
        trunk = vgg16((VGG_FEATURES,), hidden=None, width=config.width)
        return _scaled(_with_heads(trunk, heads), problem)
    return _scaled(vgg16(outputs, width=config.width), problem)


def _with_heads(trunk: StatefulModel, heads: list[Model]) -> Network:
    """Linear heads on a VGG-16's features; appendix C.2."""

    def init(key, images):
        keys = jax.random.split(key, 1 + len(heads))
        params, state = trunk.init(keys[0], images)
        features = jnp.zeros((1, VGG_FEATURES))
        own = [h.init(k, features) for h, k in zip(heads, keys[1:], strict=True)]
        return {"trunk": params, "heads": own}, state

    def apply(params, state, images, train=False):
        (features,), state = trunk.apply(params["trunk"], state, images, train=train)
        outputs = [
            head.apply(own, jax.nn.relu(features))
            for head, own in zip(heads, params["heads"], strict=True)
        ]
        return tuple(outputs), state

    return Network(init, apply)


def _scaled(network: Any, problem: Problem) -> Network:
    """The network of 8-bit images; each channel gets mean 0 and deviation 1."""
    shape = (1, 1, 1, -1)
    mean, std = (np.reshape(x, shape) for x in (problem.mean, problem.std))

    def see(images):
        return (jnp.asarray(images).astype(jnp.float32) / 255 - mean) / std

    def init(key, images):
        return network.init(key, see(images))

    def apply(params, state, images, train=False):
        return network.apply(params, state, see(images), train=train)

    return Network(init, apply)
