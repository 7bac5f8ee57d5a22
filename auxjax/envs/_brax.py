"""Brax's physics, one continuous action vector in and one observation vector out.

The worlds are brax's raw ones, without its wrappers: the time limit is ours, and
reaching it truncates, as its `EpisodeWrapper` reports apart from `done`. Actions are
clipped to [−1, 1]: what lies beyond has no meaning to a motor. New starts cost a tenth
of a step or so (64 inverted pendulums: 52k steps/s on 2 cores, 59k with `vectorise(...,
cache_resets=True)`; ants 4.6k and 5.2k), so `make` draws them afresh.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp

from auxjax._extras import require
from auxjax._numbers import integer
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

_IN_WATER = ("brax/swimmer",)
"""Those that feel brax's fluid forces, which ask JAX for an argument it dropped."""


def from_brax(name: str, *, max_steps: SupportsIndex = 1000) -> Environment:
    """One of brax's worlds, with brax's default physics for it.

    Args:
      name: One of `BRAX`.
      max_steps: After how many steps an episode is truncated.

    Returns:
      The world. Its state is brax's and the number of steps taken.

    Raises:
      ValueError: If there is no such world, or `max_steps` is below 1.
      ImportError: If brax is not installed, or, for `brax/swimmer`, is too old for
        this JAX: that of brax 0.14.2 cannot step with JAX 0.10 and later.

    References:
      Freeman et al., "Brax", arXiv 2106.13281.
    """
    check_name(name, BRAX)
    max_steps = integer("max_steps", max_steps, 1)
    envs = require("brax.envs", "brax", f"`{name}`")
    with warnings.catch_warnings(), lenient():
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
            action = jnp.clip(jnp.asarray(action, jnp.float32), -1.0, 1.0)
            world = strong(env.step(world, action))
        terminated, time = world.done > 0, time + 1
        truncated = (time >= max_steps) & ~terminated
        return (world, time), world.obs, world.reward, terminated, truncated

    actions = Box((env.action_size,), -1.0, 1.0)
    state, observation = jax.eval_shape(reset, jax.random.key(0))
    if name in _IN_WATER:
        _check_steps(name, step, state, jnp.zeros(actions.shape, jnp.float32))
    return Environment(name, observation.shape, actions, reset, step)


def _check_steps(name: str, step: Any, state: Any, action: Any) -> None:
    """Raises unless the world can be stepped at all: brax is no longer maintained."""
    try:
        jax.eval_shape(step, jax.random.key(0), state, action)
    except TypeError as error:
        found = f"brax {version('brax')} and jax {jax.__version__}"
        raise ImportError(
            f"`{name}` needs a brax whose physics of fluids runs with this JAX. Found "
            f"{found}: {error}. All other names work."
        ) from error
