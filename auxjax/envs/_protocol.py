"""What a world is, what a vector of worlds is, and what one step returns.

Two things can end an episode and a learner has to tell them apart. A *terminated*
episode has no future: the return after it is zero. A *truncated* one was merely cut
off, by a time limit say: its future is worth V(next observation), so a bootstrapped
target is

    r + γ · (1 − terminated) · V(next_observation)

and `Timestep.next_observation` is the observation to use in it, also at a cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from auxjax._types import Array

State: TypeAlias = Any
"""A pytree of arrays: all that a world remembers."""


@dataclass(frozen=True)
class Discrete:
    """The actions 0, 1, …, n − 1, as int32 scalars."""

    n: int


@dataclass(frozen=True)
class Box:
    """Actions that are float32 arrays between `low` and `high`."""

    shape: tuple[int, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Environment:
    """One world, as two pure functions. It does not reset itself.

    Attributes:
      name: What `make` calls it.
      observation_shape: The shape of one observation, channels last.
      action_space: `Discrete` or `Box`.
      reset: `key -> (state, observation)`.
      step: `(key, state, action) -> (state, observation, reward, terminated,
        truncated)`. The state keeps the shapes and dtypes that `reset` gave it.
    """

    name: str
    observation_shape: tuple[int, ...]
    action_space: Discrete | Box
    reset: Callable[..., tuple[State, Array]]
    step: Callable[..., tuple[State, Array, Array, Array, Array]]


class Timestep(NamedTuple):
    """What one step of a vector of N worlds returns. Every leaf has N in front.

    Attributes:
      observation: `[N, *obs]` what the agent acts on next: the first observation of
        a new episode where the worlds reset themselves in the same step.
      next_observation: `[N, *obs]` what the action led to, before any reset.
      reward: `[N]` float32, as the agent learns from it (clipped for Atari).
      terminated: `[N]` bool, the episode ended and has no future.
      truncated: `[N]` bool, the episode was cut off. Never true with `terminated`.
      valid: `[N]` bool, False where the step was only a reset: no transition, so
        it should count in no loss.
      episode_return: `[N]` float32, the undiscounted, unclipped return of the
        episode that ended at this step, and 0 where none did.
      episode_length: `[N]` int32, its number of steps, and 0 where none ended.
    """

    observation: Array
    next_observation: Array
    reward: Array
    terminated: Array
    truncated: Array
    valid: Array
    episode_return: Array
    episode_length: Array


@dataclass(frozen=True)
class VectorEnv:
    """N copies of one world that reset themselves.

    Attributes:
      name: What `make` calls it.
      num_envs: N.
      observation_shape: The shape of one observation, channels last.
      observation_dtype: bool (planes of zeros and ones), uint8 (0 to 255) or
        float32. Worlds give the smallest that loses nothing; the agent scales.
      action_space: `Discrete` (actions `[N]`) or `Box` (actions `[N, *shape]`).
      frames_per_step: Frames of the game that one step plays.
      is_image: Whether an observation is `[height, width, channels]`.
      vmappable: Whether `reset` and `step` may be vmapped over seeds.
      resumable: Whether the state is a pytree that can be saved and restored.
      reset: `key -> (state, observation [N, *obs])`.
      step: `(key, state, action [N, ...]) -> (state, Timestep)`.
    """

    name: str
    num_envs: int
    observation_shape: tuple[int, ...]
    observation_dtype: np.dtype
    action_space: Discrete | Box
    frames_per_step: int
    is_image: bool
    vmappable: bool
    resumable: bool
    reset: Callable[..., tuple[State, Array]]
    step: Callable[..., tuple[State, Timestep]]
