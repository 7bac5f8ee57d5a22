"""MinAtar's five games, by gymnax.

Ten by ten pictures of zeros and ones, one plane a kind of thing: they are passed on as
bool, a quarter of the memory of gymnax's float32. gymnax cuts the games after 1,000
steps (Freeway 2,500), which is a truncation. Unlike the first MinAtar it knows no
sticky actions, and each game offers only the actions that do something in it.

Asterix is easier than MinAtar's where the board is full: a new entity that finds all
eight rows taken does nothing there, and in gymnax 1.0.1 erases the one in a random row
(with seven taken, too, one time in eight; `findings/gymnax_asterix_spawn.sh`).

References:
  Young and Tian, "MinAtar", arXiv 1903.03176. Lange, "gymnax" (2022), from
  version 1.0 on, where `step_env` no longer folds the time limit into its done.
"""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._extras import require
from auxjax.envs._adapt import check_name, lenient, strong
from auxjax.envs._protocol import Discrete, Environment

MINATAR = (
    "Breakout-MinAtar",
    "Asterix-MinAtar",
    "Freeway-MinAtar",
    "SpaceInvaders-MinAtar",
    "Seaquest-MinAtar",
)


def from_gymnax(name: str) -> Environment:
    """One of gymnax's MinAtar games as a world that does not reset itself.

    Args:
      name: One of `MINATAR`.

    Returns:
      The world, with bool observations `[10, 10, channels]`.

    Raises:
      ValueError: If there is no such game.
      ImportError: If gymnax is not installed.
    """
    check_name(name, MINATAR)
    with lenient():
        env, params = require("gymnax", "rl", f"`{name}`").make(name)

    def reset(key):
        with lenient():
            observation, state = env.reset_env(key, params)
            state = strong(state)
        return state, observation.astype(jnp.bool_)

    def step(key, state, action):
        with lenient():
            action = jnp.asarray(action, jnp.int32)
            observation, state, reward, terminated, _ = env.step_env(
                key, state, action, params
            )
            truncated = env.is_truncated(state, params)
            state = strong(state)
        return state, observation.astype(jnp.bool_), reward, terminated, truncated

    shape = env.observation_space(params).shape
    return Environment(name, tuple(shape), Discrete(env.num_actions), reset, step)
