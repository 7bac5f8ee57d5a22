"""The agent's networks: one encoder, a policy, a value, and a head per task."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from auxjax import models
from auxjax.envs import Box, VectorEnv
from auxjax.rl._config import IMAGE_TASKS, A2CConfig


class Networks(NamedTuple):
    """The networks of an agent; `heads` by task name."""

    encoder: models.Model
    policy: models.Model
    value: models.Model
    heads: dict[str, models.Model]
    action_size: int
    is_continuous: bool


def make_networks(config: A2CConfig, env: VectorEnv) -> Networks:
    """The networks for an environment.

    Raises:
      ValueError: a task needs images and the environment has none.
    """
    tasks = config.tasks[1:]
    for task in tasks:
        if task in IMAGE_TASKS and not env.is_image:
            raise ValueError(
                f"The auxiliary task `{task}` needs images. Found observations of "
                f"shape {env.observation_shape} in {env.name}: choose among "
                "forward, inverse, autoencoder."
            )
    space = env.action_space
    is_continuous = isinstance(space, Box)
    size = space.shape[0] if is_continuous else space.n
    hidden = config.hidden
    makers = {
        "forward": lambda: models.mlp_head(hidden, config.features),
        "inverse": lambda: models.mlp_head(hidden, size, scale=0.01),
        "egomotion": lambda: models.mlp_head(hidden, 4),
        "autoencoder": lambda: models.decoder(env.observation_shape, scale=0.1),
        "flow": lambda: models.decoder(env.observation_shape, 2, scale=0.01),
    }
    return Networks(
        encoder=models.encoder(env.observation_shape, features=config.features),
        policy=models.linear_head(size, scale=0.01),
        value=models.linear_head(1),
        heads={task: makers[task]() for task in tasks},
        action_size=size,
        is_continuous=is_continuous,
    )


def init_params(nets: Networks, env: VectorEnv, key: jax.Array) -> dict[str, Any]:
    """The parameters: `encoder`, `policy`, `value`, `heads/<task>`."""
    keys = iter(jax.random.split(key, 3 + len(nets.heads)))
    observation = jnp.zeros((1, *env.observation_shape), env.observation_dtype)
    encoder = nets.encoder.init(next(keys), observation)
    phi = nets.encoder.apply(encoder, observation)
    action = jnp.zeros((1, nets.action_size))
    inputs = {
        "forward": (phi, action),
        "inverse": (phi, phi),
        "egomotion": (phi, phi),
        "autoencoder": (phi,),
        "flow": (phi, phi),
    }
    policy = {"mean": nets.policy.init(next(keys), phi)}
    if nets.is_continuous:
        policy["log_std"] = jnp.zeros(nets.action_size)
    return {
        "encoder": encoder,
        "policy": policy,
        "value": nets.value.init(next(keys), phi),
        "heads": {
            task: head.init(next(keys), *inputs[task])
            for task, head in nets.heads.items()
        },
    }


def policy_of(nets: Networks, params: Any, phi: jax.Array) -> Any:
    """The action distribution's parameters: logits, or (mean, log_std)."""
    out = nets.policy.apply(params["policy"]["mean"], phi)
    if not nets.is_continuous:
        return out
    return out, jnp.broadcast_to(
        params["policy"]["log_std"].reshape((1,) * (out.ndim - 1) + (-1,)), out.shape
    )


def value_of(nets: Networks, params: Any, phi: jax.Array) -> jax.Array:
    """V(s), without the head's last axis."""
    return nets.value.apply(params["value"], phi)[..., 0]
