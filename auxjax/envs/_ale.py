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
saved, and no vmap over seeds is possible. The same key and actions do give the same
games again.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Array
from auxjax.envs._adapt import check_name, lenient, require
from auxjax.envs._protocol import Discrete, Timestep, VectorEnv, check_num_envs
from auxjax.envs._vector import episode_statistics

FRAMES_PER_STEP = 4


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
    """The name of every game that ALE knows, and what ALE calls its ROM.

    Returns:
        Such pairs as `"ALE/MsPacman-v5": "ms_pacman"`.

    Raises:
        ImportError: If ale-py is not installed.
    """
    roms = require("ale_py.roms", "rl", "ALE/<Game>-v5").get_all_rom_ids()
    return {f"ALE/{rom.title().replace('_', '')}-v5": rom for rom in roms}


def from_ale(
    name: str,
    num_envs: int,
    *,
    life_loss: bool = True,
    repeat_action_probability: float = 0.0,
    max_frames: int = 108_000,
    num_threads: int = 0,
) -> VectorEnv:
    """N games of Atari.

    Args:
        name: A key of `game_names()`, for example `ALE/Breakout-v5`.
        num_envs: N.
        life_loss: Whether a lost life terminates the episode for the learner.
        repeat_action_probability: How sticky actions are; 0.25 in Machado et al.
        max_frames: After how many frames a game is truncated.
        num_threads: Threads that play; 0 takes one a core.

    Returns:
        The vector of games, observations `[N, 84, 84, 4]` uint8, newest picture last.

    Raises:
        ImportError: If ale-py is not installed.
        ValueError: If there is no such game, `num_envs` is below 1, or
            `repeat_action_probability` is none.

    References:
        Mnih et al., "Human-level control through deep reinforcement learning" (2015).
        Machado et al., "Revisiting the Arcade Learning Environment",
        arXiv 1709.06009.
    """
    check_num_envs(num_envs)
    check_name(name, known := game_names(), "`ALE/<Game>-v5`")
    if not 0 <= repeat_action_probability <= 1:
        raise ValueError(
            "`repeat_action_probability` should be between 0 and 1. "
            f"Found {repeat_action_probability}."
        )
    games = require("ale_py.vector_env", "rl", name).AtariVectorEnv(
        known[name],
        num_envs,
        frameskip=FRAMES_PER_STEP,
        reward_clipping=False,
        max_num_frames_per_episode=max_frames,
        repeat_action_probability=repeat_action_probability,
        num_threads=num_threads,
    )
    handle, ale_reset, ale_step = games.xla()
    handle = np.asarray(handle)

    def reset(key):
        seeds = jax.random.randint(key, (num_envs,), 0, 2**31 - 1, jnp.int32)
        with lenient():
            new_handle, (pictures, info) = ale_reset(jnp.asarray(handle), seeds)
        over = jnp.zeros(num_envs, jnp.bool_)
        statistics = jnp.zeros(num_envs, jnp.float32), jnp.zeros(num_envs, jnp.int32)
        state = AtariState(new_handle, over, info["lives"], *statistics)
        return state, _channels_last(pictures)

    def step(key, state, action):
        del key  # ALE draws its own numbers, from the seeds of `reset`
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
        timestep = Timestep(
            observation=observation,
            next_observation=observation,
            reward=jnp.clip(reward, -1.0, 1.0),
            terminated=terminated,
            truncated=truncated & ~terminated,
            valid=valid,
            episode_return=ended[0],
            episode_length=ended[1],
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


def _channels_last(pictures: Array) -> Array:
    """From ALE's `[N, 4, 84, 84]` to `[N, 84, 84, 4]`."""
    return jnp.moveaxis(pictures, 1, -1)
