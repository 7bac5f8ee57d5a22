"""Many copies of one world, stepped together, each reset where its episode ends."""

from __future__ import annotations

from typing import NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp

from auxjax._numbers import integer
from auxjax._types import Array, Bool, Float, Int, PyTree
from auxjax.envs._protocol import Environment, Timestep, VectorEnv


class VectorState(NamedTuple):
    """The state of a vector of worlds.

    Attributes:
      world: The states of the worlds, N in front.
      episode_return: `[N]` float32, the return so far.
      episode_length: `[N]` int32, the steps so far.
      first: The worlds' first states and observations, where resets go back to
        them; None where every episode starts afresh.
    """

    world: PyTree
    episode_return: Array
    episode_length: Array
    first: PyTree


def vectorise(
    env: Environment, num_envs: SupportsIndex, *, cache_resets: bool = False
) -> VectorEnv:
    """N copies of `env` that start a new episode in the step that ended the old one.

    Where an episode ends, `Timestep.observation` already belongs to the next episode
    and `Timestep.next_observation` still to the old one. A world that reports both
    ends at once has terminated.

    Args:
      env: The world.
      num_envs: N.
      cache_resets: Whether every episode of a world starts where its first one did,
        as in Brax. Otherwise every step computes N new starts and uses those it
        needs: N worlds seldom step without an end among them, and under `vmap` a
        branch would compute both sides anyway.

    Returns:
      The vector of worlds. `reset` and `step` may be jitted, scanned and vmapped.

    Raises:
      ValueError: If `num_envs` is below 1.

    Example:
      >>> from auxjax.envs import make_probe
      >>> env = vectorise(make_probe("Probe-DiscountedValue"), 1)
      >>> state, observation = env.reset(jax.random.key(0))
      >>> state, timestep = env.step(jax.random.key(1), state, jnp.array([0]))
      >>> state, timestep = env.step(jax.random.key(2), state, jnp.array([0]))
      >>> float(timestep.episode_return[0]), int(timestep.episode_length[0])
      (1.0, 2)
    """
    num_envs = integer("num_envs", num_envs, 1)

    def begin(key):
        return jax.vmap(env.reset)(jax.random.split(key, num_envs))

    def reset(key):
        world, observation = begin(key)
        first = (world, observation) if cache_resets else None
        zeros = jnp.zeros(num_envs, jnp.float32), jnp.zeros(num_envs, jnp.int32)
        return VectorState(world, *zeros, first), observation

    def step(key, state, action):
        key_step, key_reset = jax.random.split(key)
        world, successor, reward, terminated, truncated = jax.vmap(env.step)(
            jax.random.split(key_step, num_envs), state.world, action
        )
        truncated = truncated & ~terminated
        done = terminated | truncated

        first = begin(key_reset) if state.first is None else state.first
        world, observation = _select(done, first, (world, successor))
        statistics, ended = episode_statistics(
            (state.episode_return, state.episode_length),
            reward,
            done,
            jnp.ones_like(done),
        )
        timestep = Timestep(
            observation, successor, reward, terminated, truncated,
            jnp.ones_like(done), *ended,
        )  # fmt: skip
        return VectorState(world, *statistics, state.first), timestep

    _, observation = jax.eval_shape(env.reset, jax.random.key(0))
    return VectorEnv(
        name=env.name,
        num_envs=num_envs,
        observation_shape=env.observation_shape,
        observation_dtype=observation.dtype,
        action_space=env.action_space,
        frames_per_step=1,
        is_image=len(env.observation_shape) == 3,
        vmappable=True,
        resumable=True,
        reset=reset,
        step=step,
    )


def episode_statistics(
    running: tuple[Float[Array, " N"], Int[Array, " N"]],
    reward: Float[Array, " N"],
    done: Bool[Array, " N"],
    valid: Bool[Array, " N"],
) -> tuple[
    tuple[Float[Array, " N"], Int[Array, " N"]],
    tuple[Float[Array, " N"], Int[Array, " N"]],
]:
    """Adds one step to the running returns and lengths, and hands over the finished.

    Args:
      running: The returns and lengths before the step.
      reward: The unclipped rewards.
      done: Where an episode ended.
      valid: Where the step was a transition at all.

    Returns:
      The running pair after the step, zero where an episode ended; and the pair of
      the episodes that ended, zero where none did.
    """
    total = running[0] + jnp.where(valid, reward, 0.0)
    length = running[1] + valid.astype(jnp.int32)
    going = jnp.where(done, 0.0, total), jnp.where(done, 0, length)
    ended = jnp.where(done, total, 0.0), jnp.where(done, length, 0)
    return going, ended


def _select(done: Bool[Array, " N"], yes: PyTree, no: PyTree) -> PyTree:
    """Leaf by leaf: `yes` for the worlds that are done, `no` for the others."""

    def leaf(a, b):
        return jnp.where(done.reshape(done.shape + (1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(leaf, yes, no)
