"""Brax's physics, one continuous action vector in and one observation vector out.

The worlds are brax's raw ones, without its wrappers: the time limit is ours, and
reaching it truncates, as its `EpisodeWrapper` reports apart from `done`. Actions are
clipped to [−1, 1]: what lies beyond has no meaning to a motor.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from auxjax.envs._adapt import lenient, require, strong
from auxjax.envs._protocol import Box, Environment

BRAX = tuple(
    f"brax/{name}"
    for name in (
        "ant",
        "halfcheetah",
        "hopper",
        "humanoid",
        "humanoidstandup",
        "inverted_double_pendulum",
        "inverted_pendulum",
        "pusher",
        "reacher",
        "swimmer",
        "walker2d",
    )
)


def from_brax(name: str, *, max_steps: int = 1000) -> Environment:
    """One of brax's worlds, with brax's default physics for it.

    Args:
        name: One of `BRAX`.
        max_steps: After how many steps an episode is truncated.

    Returns:
        The world. Its state is brax's and the number of steps taken.

    Raises:
        ImportError: If brax is not installed.

    References:
        Freeman et al., "Brax", arXiv 2106.13281.
    """
    env = require("brax.envs", "brax", name).get_environment(name.split("/")[1])

    def reset(key):
        with lenient():
            world = strong(env.reset(key))
        return (world, jnp.zeros((), jnp.int32)), world.obs

    def step(key, state, action):
        del key  # the physics is deterministic
        world, time = state
        with lenient():
            world = strong(env.step(world, jnp.clip(action, -1.0, 1.0)))
        terminated, time = world.done > 0, time + 1
        truncated = (time >= max_steps) & ~terminated
        return (world, time), world.obs, world.reward, terminated, truncated

    _, observation = jax.eval_shape(reset, jax.random.key(0))
    actions = Box((env.action_size,), -1.0, 1.0)
    return Environment(name, observation.shape, actions, reset, step)
