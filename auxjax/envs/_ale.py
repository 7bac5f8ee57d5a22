"""Atari by the Arcade Learning Environment, its C++ vector of games inside `jit`.

The usual preprocessing: 4 frames an action, the brighter of the last two of them,
84 × 84 grey pixels, the last 4 pictures as channels, up to 30 idle frames at the
start, FIRE at the start where the game waits for it, the actions the game knows, an
end by time after 108,000 frames (half an hour). Actions are not sticky, as in the
papers on auxiliary losses and unlike the single environments of the same name.

What is done here and not by ALE, and why:

- Rewards are clipped to [−1, 1] here, so `episode_return` adds up the true ones.
- A lost life ends the episode for the learner, and only for it: `terminated` is True,
  the game goes on, and `episode_return` waits for the end of the game. (ALE's own
  `episodic_life` would throw away the rest of the game.) `life_loss=False` turns
  it off.
- ALE resets a game in the step after its last one (NEXT_STEP), and ignores that step's
  action: there `valid` is False, the reward 0 and both observations are the new
  game's first. After the last step `observation` is still the old game's last picture.

The games live outside JAX. The state that travels through `jit` and `scan` holds a
handle to them, so a state used twice does not step from the same point twice, `reset`
stops the episodes of an earlier `reset` of the same `VectorEnv`, a state cannot be
saved, and vmap over seeds is refused. The same key and actions do give the same games
again.

A compiled program knows its games by their address alone, and may run longer than any
Python object: games that `reset` was once asked for stay in memory (about 1 MB each)
until the interpreter ends, and it waits for programs that still run.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._extras import require
from auxjax._numbers import integer
from auxjax._types import Array
from auxjax.envs._adapt import check_name, lenient
from auxjax.envs._protocol import Discrete, Timestep, VectorEnv
from auxjax.envs._vector import episode_statistics

FRAMES_PER_STEP = 4

_KEPT: dict[int, Any] = {}
"""Games that a program may still step, by identity. Freed when the interpreter ends."""


class AtariState(NamedTuple):
    """What travels through JAX while the games are played elsewhere.

    Attributes:
      handle: `[8]` uint8, the address of the games; it also orders the steps.
      over: `[N]` bool, whether the game ended, so that the next step is its reset.
      lives: `[N]` int32, the lives left.
      episode_return: `[N]` float32, the unclipped return of the game so far.
      episode_length: `[N]` int32, the steps of the game so far.
    """

    handle: Array
    over: Array
    lives: Array
    episode_return: Array
    episode_length: Array


def game_names() -> dict[str, str]:
    """The name of every game that one can play alone, and what ALE calls its ROM.

    They are those that ale-py registers with Gymnasium. It ships ROMs of a few more,
    for two players, which end the interpreter when they are started.

    Returns:
      Such pairs as `"ALE/MsPacman-v5": "ms_pacman"`.

    Raises:
      ImportError: If ale-py or Gymnasium is not installed.
    """
    require("ale_py.vector_env", "rl", "`ALE/<Game>-v5`")  # it registers them
    registry = require("gymnasium", "rl", "`ALE/<Game>-v5`").registry
    return {
        name: spec.kwargs["game"]
        for name, spec in registry.items()
        if name.startswith("ALE/") and name.endswith("-v5")
    }


def from_ale(
    name: str,
    num_envs: SupportsIndex,
    *,
    life_loss: bool = True,
    repeat_action_probability: float = 0.0,
    max_frames: SupportsIndex = 108_000,
    num_threads: int = 0,
) -> VectorEnv:
    """N games of Atari.

    Args:
      name: A key of `game_names()`, for example `ALE/Breakout-v5`.
      num_envs: N.
      life_loss: Whether a lost life terminates the episode for the learner.
      repeat_action_probability: How sticky actions are; 0.25 in Machado et al.
      max_frames: After how many frames a game is truncated.
      num_threads: Threads that play; 0 takes one per core.

    Returns:
      The vector of games, observations `[N, 84, 84, 4]` uint8, newest picture last.

    Raises:
      ImportError: If ale-py is not installed.
      ValueError: If there is no such game, `num_envs` or `max_frames` is below 1,
        or `repeat_action_probability` is none; and from `reset` and `step`, where
        they are vmapped.

    References:
      Mnih et al., "Human-level control through deep reinforcement learning" (2015).
      Machado et al., "Revisiting the Arcade Learning Environment",
      arXiv 1709.06009.
    """
    num_envs = integer("num_envs", num_envs, 1)
    max_frames = integer("max_frames", max_frames, 1)
    check_name(name, known := game_names(), "`ALE/<Game>-v5`")
    if not 0 <= repeat_action_probability <= 1:
        raise ValueError(
            "`repeat_action_probability` should be between 0 and 1. "
            f"Found {repeat_action_probability}."
        )
    games = require("ale_py.vector_env", "rl", f"`{name}`").AtariVectorEnv(
        known[name],
        num_envs,
        frameskip=FRAMES_PER_STEP,
        reward_clipping=False,
        max_num_frames_per_episode=max_frames,
        repeat_action_probability=repeat_action_probability,
        num_threads=num_threads,
    )
    handle, ale_reset, ale_step = _as_functions(games)
    unbatched = _refuse_vmap(name)

    def reset(key):
        _keep(games)
        key = unbatched(key)
        seeds = jax.random.randint(key, (num_envs,), 0, 2**31 - 1, jnp.int32)
        with lenient():
            new_handle, (pictures, info) = ale_reset(jnp.asarray(handle), seeds)
        over = jnp.zeros(num_envs, jnp.bool_)
        statistics = jnp.zeros(num_envs, jnp.float32), jnp.zeros(num_envs, jnp.int32)
        state = AtariState(new_handle, over, info["lives"], *statistics)
        return state, _channels_last(pictures)

    def step(key, state, action):
        del key  # ALE draws its own numbers, from the seeds of `reset`
        state, action = unbatched((state, action))
        action = jnp.asarray(action, jnp.int32)
        with lenient():
            new_handle, (pictures, reward, terminated, truncated, info) = ale_step(
                state.handle, action
            )
        observation, valid = _channels_last(pictures), ~state.over
        reward = jnp.where(valid, reward, 0).astype(jnp.float32)
        # "> 0": some games wait at zero lives for a few frames before they end.
        lost = valid & (info["lives"] < state.lives) & (info["lives"] > 0)
        over = terminated | truncated
        statistics, ended = episode_statistics(
            (state.episode_return, state.episode_length), reward, over, valid
        )
        if life_loss:
            terminated = terminated | lost
        truncated, reward = truncated & ~terminated, jnp.clip(reward, -1.0, 1.0)
        timestep = Timestep(
            observation, observation, reward, terminated, truncated, valid, *ended
        )
        return AtariState(new_handle, over, info["lives"], *statistics), timestep

    return VectorEnv(
        name=name,
        num_envs=num_envs,
        observation_shape=(84, 84, 4),
        observation_dtype=np.dtype(np.uint8),
        action_space=Discrete(int(games.single_action_space.n)),
        frames_per_step=FRAMES_PER_STEP,
        is_image=True,
        vmappable=False,
        resumable=False,
        reset=reset,
        step=step,
    )


def _as_functions(games: Any) -> tuple[np.ndarray, Any, Any]:
    """The games' address, and ALE's own reset and step for JAX."""
    with jax.ensure_compile_time_eval():  # known, also while a program is traced
        handle, reset, step = games.xla()
    return np.asarray(handle), reset, step


def _keep(games: Any) -> None:
    """Keeps the games until the interpreter ends; then after the last program."""
    if not _KEPT:
        # After JAX's own, so it is called before JAX takes its devices down.
        atexit.register(_free)
    _KEPT[id(games)] = games


def _free() -> None:
    jax.effects_barrier()
    _KEPT.clear()


def _refuse_vmap(name: str) -> Callable[[Any], Any]:
    """The identity, which raises where a `vmap` goes over its argument."""

    @jax.custom_batching.custom_vmap
    def unbatched(x):
        return x

    @unbatched.def_vmap
    def refuse(axis_size, in_batched, x):
        raise ValueError(
            f"`{name}` should be stepped outside of `jax.vmap`: its games live outside "
            f"of JAX, once each. Found a `vmap` over {axis_size}. Train one seed after "
            "the other, or take more games by `num_envs`."
        )

    return unbatched


def _channels_last(pictures: Array) -> Array:
    """From ALE's `[N, 4, 84, 84]` to `[N, 84, 84, 4]`."""
    return jnp.moveaxis(pictures, 1, -1)
