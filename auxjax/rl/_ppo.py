"""PPO, fully jitted, for any vector of worlds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp

from auxjax._numbers import integer
from auxjax.envs import Timestep, VectorEnv
from auxjax.rl._gae import gae
from auxjax.rl._ppo_config import PPOConfig
from auxjax.rl._ppo_loss import PPOBatch, PPOMetrics
from auxjax.rl._ppo_networks import ActorCritic, actor_critic
from auxjax.rl._ppo_update import PPOLearner, init_learner, make_ppo_update


class PPOState(NamedTuple):
    """All that a run needs to go on."""

    learner: PPOLearner
    env_state: Any
    observation: jax.Array  # [N, *obs]
    key: jax.Array  # [] typed PRNG key
    updates: jax.Array  # [] int32, updates made


class PPOReport(NamedTuple):
    """What one update reports."""

    losses: PPOMetrics
    return_sum: jax.Array  # [] Σ returns of the episodes that ended
    length_sum: jax.Array  # [] int32, Σ their lengths
    episodes: jax.Array  # [] int32, how many ended


class PPO(NamedTuple):
    """A run as two pure functions.

    Attributes:
      init: `key -> PPOState`.
      update: `state -> (state, PPOReport)`: one rollout, then `epochs` passes over it.
      network: the policy and the value.
    """

    init: Callable[[jax.Array], PPOState]
    update: Callable[[PPOState], tuple[PPOState, PPOReport]]
    network: ActorCritic


class _Played(NamedTuple):
    """One step of every world."""

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    next_value: jax.Array
    timestep: Timestep


def make_ppo(
    config: PPOConfig, env: VectorEnv, network: ActorCritic | None = None
) -> PPO:
    """Builds the agent that `make_ppo_train` runs, for loops that want it in pieces.

    Args:
      config: the hyper-parameters.
      env: the worlds, N of them; see `auxjax.envs.make`.
      network: the policy and the value; None: `actor_critic(env)`.

    Returns:
      The agent.

    Raises:
      ValueError: a minibatch is larger than a rollout.

    Example:
      >>> import jax
      >>> from auxjax.envs import make
      >>> config = PPOConfig(rollout_length=4, epochs=2, minibatch_size=8)
      >>> agent = make_ppo(config, make("Probe-Action", 4))
      >>> state, report = jax.jit(agent.update)(agent.init(jax.random.key(0)))
      >>> int(state.updates), int(report.episodes)
      (1, 16)
    """
    net = actor_critic(env) if network is None else network
    size = config.rollout_length * env.num_envs
    if config.minibatch_size > size:
        raise ValueError(
            f"`minibatch_size` should be at most {size}, the steps of a rollout. "
            f"Found {config.minibatch_size}."
        )
    learn = make_ppo_update(config, net)

    def init(key):
        param_key, env_key, key = jax.random.split(key, 3)
        env_state, observation = env.reset(env_key)
        learner = init_learner(config, net, observation, param_key)
        zero = jnp.zeros((), jnp.int32)
        return PPOState(learner, env_state, observation, key, zero)

    def update(state):
        play_key, learn_key, key = jax.random.split(state.key, 3)
        env_state, observation, played = _play(net, env, config, state, play_key)
        batch = _to_learn_from(config, played)
        learner, losses = learn(state.learner, batch, learn_key)
        t = played.timestep
        report = PPOReport(
            losses,
            jnp.sum(t.episode_return),
            jnp.sum(t.episode_length),
            jnp.sum((t.episode_length > 0).astype(jnp.int32)),
        )
        state = PPOState(learner, env_state, observation, key, state.updates + 1)
        return state, report

    return PPO(init, update, net)


def make_ppo_train(
    config: PPOConfig,
    env: VectorEnv,
    network: ActorCritic | None = None,
    *,
    num_updates: SupportsIndex,
) -> Callable[[jax.Array], tuple[PPOState, PPOReport]]:
    """A whole run as one function of a key.

    Args:
      config: the hyper-parameters.
      env: the worlds.
      network: the policy and the value; None: `actor_critic(env)`.
      num_updates: rollouts to learn from.

    Returns:
      `train(key) -> (state, report)`: jit it, and vmap it over seeds where
      `env.vmappable`. The report has the updates as its leading axis.

    Raises:
      ValueError: `num_updates` is below 1; as `make_ppo`.

    Example:
      >>> import jax
      >>> from auxjax.envs import make
      >>> config = PPOConfig(rollout_length=4, epochs=2, minibatch_size=8)
      >>> train = make_ppo_train(config, make("Probe-Action", 4), num_updates=3)
      >>> state, report = jax.jit(train)(jax.random.key(0))
      >>> report.episodes.tolist()
      [16, 16, 16]

    References:
      Schulman et al., *Proximal Policy Optimization Algorithms*, arXiv 1707.06347.
    """
    num_updates = integer("num_updates", num_updates, 1)
    agent = make_ppo(config, env, network)

    def train(key):
        return jax.lax.scan(
            lambda state, _: agent.update(state), agent.init(key), length=num_updates
        )

    return train


def _play(net: ActorCritic, env: VectorEnv, config: PPOConfig, state: PPOState, key):
    """Steps every world `rollout_length` times with the present policy."""
    learner = state.learner

    def look(observation):
        return net.apply(learner.params, learner.model_state, observation, False)[0]

    def step(carry, key):
        env_state, observation, (distribution, value) = carry
        act_key, env_key = jax.random.split(key)
        action = net.policy.sample(act_key, distribution)
        log_prob = net.policy.log_prob(distribution, action)
        env_state, t = env.step(env_key, env_state, net.policy.to_env(action))
        seen = look(t.observation)
        # Only where an episode was cut off is the successor another observation than
        # the next one acted on, and worth something: cuts are rare.
        next_value = jax.lax.cond(
            jnp.any(t.truncated),
            lambda: look(t.next_observation)[1],
            lambda: seen[1],
        )
        played = _Played(observation, action, log_prob, value, next_value, t)
        return (env_state, t.observation, seen), played

    start = (state.env_state, state.observation, look(state.observation))
    keys = jax.random.split(key, config.rollout_length)
    (env_state, observation, _), played = jax.lax.scan(step, start, keys)
    return env_state, observation, played


def _to_learn_from(config: PPOConfig, played: _Played) -> PPOBatch:
    """A rollout `[T, N, ...]` as one flat batch with advantages and targets."""
    t = played.timestep
    advantage, target = gae(
        t.reward,
        played.value,
        played.next_value[-1],
        t.terminated,
        t.truncated,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
        next_values=played.next_value,
    )
    batch = PPOBatch(
        played.observation, played.action, played.log_prob, advantage, target, t.valid
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
