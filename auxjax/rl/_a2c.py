"""A2C with auxiliary tasks, fully jitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._optax import with_mixed_dtypes
from auxjax.envs import VectorEnv, make
from auxjax.jacobian import TaskJacobian, task_jacobian
from auxjax.rl._config import A2CConfig
from auxjax.rl._losses import task_losses
from auxjax.rl._methods import A2CMethod, make_method
from auxjax.rl._networks import init_params, make_networks
from auxjax.rl._policy import make_policy
from auxjax.rl._rollout import play
from auxjax.weighting import task_metrics


class A2CState(NamedTuple):
    """All that a run needs to go on: keys and counters too."""

    params: Any
    opt_state: Any
    env_state: Any
    observation: jax.Array  # [N, *obs]
    key: jax.Array  # [] typed PRNG key
    updates: jax.Array  # [] int32, updates made
    past: Any  # what the method keeps between updates; else None


class A2CMetrics(NamedTuple):
    """What one update reports."""

    updates: jax.Array  # [] int32, updates made so far, this one included
    losses: jax.Array  # [T], the main task's first
    weights: jax.Array  # [T], after the update; ones where the rule has none
    return_sum: jax.Array  # [] Σ returns of the episodes that ended
    length_sum: jax.Array  # [] int32, Σ their lengths
    episodes: jax.Array  # [] int32, how many ended


class Agent(NamedTuple):
    """A run as two pure functions.

    Attributes:
      init: `key -> A2CState`.
      update: `state -> (state, A2CMetrics)`: one rollout, one step.
      env: the environments.
      frames_per_update: frames of the game in one update.
      num_updates: updates that it takes to see `config.frames`.
    """

    init: Callable[[jax.Array], A2CState]
    update: Callable[[A2CState], tuple[A2CState, A2CMetrics]]
    env: VectorEnv
    frames_per_update: int
    num_updates: int


def make_agent(
    config: A2CConfig,
    rule: optax.GradientTransformationExtraArgs | A2CMethod | None = None,
    env: VectorEnv | None = None,
) -> Agent:
    """Builds the agent that `make_train` runs, for loops that want it in pieces.

    Args:
      config: the run.
      rule: how rows become a gradient: any chain of `auxjax` rules that ends in an
        aggregator, or an `A2CMethod` where it takes more than the Jacobian; None: what
        `config.method` names.
      env: the worlds; None: `config.num_envs` of those that `config.env` names.

    Returns:
      The agent.

    Raises:
      ValueError: an unknown environment, or a task that it cannot have.

    Example:
      >>> import jax
      >>> from auxjax.rl import A2CConfig, make_agent, scan_updates
      >>> agent = make_agent(A2CConfig(env="Probe-Action", num_envs=4, rollout_length=2,
      ...                              features=8, hidden=8, method="single"))
      >>> some = jax.jit(lambda state: scan_updates(agent, state, 3))
      >>> state, metrics = some(agent.init(jax.random.key(0)))
      >>> int(state.updates), metrics.losses.shape  # updates, tasks
      (3, (3, 1))
    """
    env = make(config.env, config.num_envs) if env is None else env
    nets = make_networks(config, env)
    policy = make_policy(env.action_space)
    limit = config.max_grad_norm
    method = make_method(config) if rule is None else rule
    method = method if isinstance(method, A2CMethod) else A2CMethod(method)
    tx = optax.chain(
        method.rule,
        _end_of_rule(),
        optax.identity() if limit is None else optax.clip_by_global_norm(limit),
        with_mixed_dtypes(optax.adam(config.learning_rate, eps=1e-5)),
    )

    def losses(params, rollout, key):
        return task_losses(nets, policy, config, params, rollout, key)

    def rollout(params, env_state, observation, key):
        return play(
            nets, policy, env, config.rollout_length, params, env_state, observation,
            key,
        )  # fmt: skip

    def init(key):
        param_key, env_key, key = jax.random.split(key, 3)
        params = init_params(nets, env, param_key)
        env_state, observation = env.reset(env_key)
        played = jax.eval_shape(rollout, params, env_state, observation, key)[2]
        past, updates = method.start(played), jnp.zeros((), jnp.int32)
        return A2CState(
            params, tx.init(params), env_state, observation, key, updates, past
        )

    def update(state):
        play_key, loss_key, key = jax.random.split(state.key, 3)
        env_state, observation, batch = rollout(
            state.params, state.env_state, state.observation, play_key
        )

        def losses_of(params, played):
            return losses(params, played, loss_key)

        past, extra = method.hand_over(state.past, batch, state.params, losses_of)
        jac: Any = task_jacobian(losses, state.params, batch, loss_key)
        step, opt_state = tx.update(jac, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, step)
        t = batch.timestep
        metrics = A2CMetrics(
            updates=state.updates + 1,
            losses=jac.losses,
            weights=_weights(opt_state, len(config.tasks)),
            return_sum=jnp.sum(t.episode_return),
            length_sum=jnp.sum(t.episode_length),
            episodes=jnp.sum((t.episode_length > 0).astype(jnp.int32)),
        )
        return A2CState(
            params, opt_state, env_state, observation, key, state.updates + 1, past
        ), metrics

    frames = config.num_envs * config.rollout_length * env.frames_per_step
    return Agent(init, update, env, frames, -(-config.frames // frames))


def make_train(
    config: A2CConfig,
    rule: optax.GradientTransformationExtraArgs | A2CMethod | None = None,
) -> Callable[[jax.Array], tuple[A2CState, A2CMetrics]]:
    """A whole run as one function of a key.

    Args:
      config: the run.
      rule: how rows become a gradient; see `make_agent`.

    Returns:
      `train(key) -> (state, metrics)`: jit it, and vmap it over seeds where
      `agent.env.vmappable`. The metrics have the updates as their leading axis.

    Raises:
      ValueError: an unknown environment, or a task that it cannot have.

    Example:
      >>> import jax
      >>> from auxjax.rl import A2CConfig, make_train
      >>> config = A2CConfig(env="Probe-Image", num_envs=4, rollout_length=2,
      ...                    frames=32, features=8, hidden=8)
      >>> state, metrics = jax.jit(make_train(config))(jax.random.key(0))
      >>> metrics.losses.shape  # updates, tasks
      (4, 6)
    """
    agent = make_agent(config, rule)

    def train(key):
        return scan_updates(agent, agent.init(key), agent.num_updates)

    return train


def scan_updates(agent: Agent, state: A2CState, length: int):
    """`length` updates as one scan: `(state, metrics [length, ...])`."""
    return jax.lax.scan(lambda s, _: agent.update(s), state, length=length)


def _end_of_rule() -> optax.GradientTransformation:
    """Refuses a Jacobian that nothing has summed up."""

    def update(updates, state, params=None):
        del params
        if isinstance(updates, TaskJacobian):
            raise ValueError(
                "`rule` should end in an aggregator, such as `auxjax.sum_tasks()`. "
                f"Found one that returns {updates}."
            )
        return updates, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _weights(opt_state: Any, num_tasks: int) -> jax.Array:
    """What each row was scaled by in all; ones where no rule has weights."""
    weights = task_metrics(opt_state).get("weights")
    return jnp.ones(num_tasks) if weights is None else weights
