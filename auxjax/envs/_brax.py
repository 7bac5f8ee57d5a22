"""Brax's physics, one continuous action vector in and one observation vector out.

The worlds are brax's raw ones, without its wrappers: the time limit is ours, and
reaching it truncates, as its `EpisodeWrapper` reports apart from `done`. Actions are
clipped to [−1, 1]: what lies beyond has no meaning to a motor. New starts cost a tenth
of a step or so (64 inverted pendulums: 52k steps/s on 2 cores, 59k with `vectorise(...,
cache_resets=True)`; ants 4.6k and 5.2k), so `make` draws them afresh.
"""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp

from auxjax._extras import require
from auxjax.envs._adapt import check_name, lenient, strong
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
        ValueError: If there is no such world, or `max_steps` is below 1.
        ImportError: If brax is not installed.

    References:
        Freeman et al., "Brax", arXiv 2106.13281.
    """
    check_name(name, BRAX)
    if max_steps < 1:
        raise ValueError(f"`max_steps` should be at least 1. Found {max_steps}.")
    envs = require("brax.envs", "brax", f"`{name}`")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Brax System")  # recommends mjx, every time
        env = envs.get_environment(name.removeprefix("brax/"))

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
