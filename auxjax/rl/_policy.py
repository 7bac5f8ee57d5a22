"""Action distributions: categorical for `Discrete`, diagonal Gaussian for `Box`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from auxjax.envs import Box, Discrete


class Policy(NamedTuple):
    """Pure functions of a distribution's parameters (a pytree, leading axes `[...]`).

    Attributes:
      sample: `(key, parameters) -> action`.
      log_prob: `(parameters, action) -> [...]`.
      entropy: `parameters -> [...]`, in nats.
      to_env: `action -> action` as the environment takes it.
    """

    sample: Callable[..., jax.Array]
    log_prob: Callable[..., jax.Array]
    entropy: Callable[..., jax.Array]
    to_env: Callable[..., jax.Array]


def make_policy(space: Discrete | Box) -> Policy:
    """The distribution for an action space.

    Example:
      >>> policy = make_policy(Discrete(2))
      >>> logits = jnp.zeros((3, 2))
      >>> jnp.exp(policy.log_prob(logits, jnp.array([0, 1, 1]))).tolist()
      [0.5, 0.5, 0.5]
    """
    return _gaussian(space) if isinstance(space, Box) else _CATEGORICAL


def _categorical_log_prob(logits: jax.Array, action: jax.Array) -> jax.Array:
    log_p = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_p, action[..., None], axis=-1)[..., 0]


def _categorical_entropy(logits: jax.Array) -> jax.Array:
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


_CATEGORICAL = Policy(
    sample=lambda key, logits: jax.random.categorical(key, logits).astype(jnp.int32),
    log_prob=_categorical_log_prob,
    entropy=_categorical_entropy,
    to_env=lambda action: action,
)


def _gaussian(space: Box) -> Policy:
    """Parameters are `(mean [..., K], log_std [..., K])`.

    Samples are clipped only on their way to the environment, so that log π is the
    density of what was drawn.
    """

    def sample(key, parameters: Any):
        mean, log_std = parameters
        return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)

    def log_prob(parameters: Any, action):
        mean, log_std = parameters
        z = (action - mean) * jnp.exp(-log_std)
        return -jnp.sum(0.5 * z * z + log_std + 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(parameters: Any):
        _, log_std = parameters
        return jnp.sum(log_std + 0.5 * (1 + math.log(2 * math.pi)), axis=-1)

    return Policy(
        sample, log_prob, entropy, lambda a: jnp.clip(a, space.low, space.high)
    )
