"""Playing: a scan of environment steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from auxjax.envs import Timestep, VectorEnv
from auxjax.rl._networks import Networks, policy_of
from auxjax.rl._policy import Policy


class Rollout(NamedTuple):
    """What an agent saw and did: `[T, N, ...]`."""

    observation: jax.Array  # acted on
    action: jax.Array
    timestep: Timestep  # what came of it


def play(
    nets: Networks,
    policy: Policy,
    env: VectorEnv,
    length: int,
    params: Any,
    env_state: Any,
    observation: jax.Array,
    key: jax.Array,
) -> tuple[Any, jax.Array, Rollout]:
    """Steps every environment `length` times with the present policy.

    Returns:
      The environments' state, the observation to act on next, and the rollout.
    """

    def step(carry, key):
        env_state, observation = carry
        act_key, env_key = jax.random.split(key)
        phi = nets.encoder.apply(params["encoder"], observation)
        action = policy.sample(act_key, policy_of(nets, params, phi))
        env_state, timestep = env.step(env_key, env_state, policy.to_env(action))
        seen = Rollout(observation, action, timestep)
        return (env_state, timestep.observation), seen

    (env_state, observation), rollout = jax.lax.scan(
        step, (env_state, observation), jax.random.split(key, length)
    )
    return env_state, observation, rollout
