"""Learning from a rollout: several passes in minibatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._optax import with_mixed_dtypes
from auxjax._types import Array, Bool, Int, Key
from auxjax.rl._ppo_config import PPOConfig
from auxjax.rl._ppo_loss import PPOBatch, PPOMetrics, ppo_loss
from auxjax.rl._ppo_networks import ActorCritic
from auxjax.supervised import epoch_indices


class PPOLearner(NamedTuple):
    """What an update changes."""

    params: Any
    model_state: Any
    opt_state: Any


def init_learner(
    config: PPOConfig, network: ActorCritic, observation: Any, key: Key[Array, ""]
) -> PPOLearner:
    """The learner before the first update.

    Args:
      config: names the optimizer.
      network: the policy and the value.
      observation: an example `[B, ...]`, for its shape.
      key: of the parameters.

    Returns:
      The learner.
    """
    params, model_state = network.init(key, observation)
    return PPOLearner(params, model_state, config.optimizer().init(params))


def make_ppo_update(
    config: PPOConfig, network: ActorCritic
) -> Callable[[PPOLearner, PPOBatch, jax.Array], tuple[PPOLearner, PPOMetrics]]:
    """The update that every user of PPO shares: `epochs` passes, in minibatches.

    Args:
      config: the hyper-parameters.
      network: the policy and the value.

    Returns:
      `update(learner, batch, key) -> (learner, PPOMetrics)`, pure.

    Raises:
      ValueError: from the update, where the batch is smaller than a minibatch.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from auxjax.envs import make
      >>> from auxjax.rl import actor_critic
      >>> config = PPOConfig(epochs=1, minibatch_size=2)
      >>> network, seen = actor_critic(make("Probe-Action", 4)), jnp.zeros((4, 1))
      >>> learner = init_learner(config, network, seen, jax.random.key(0))
      >>> some = jnp.ones(4)
      >>> batch = PPOBatch(seen, jnp.array([0, 1, 0, 1]), -some, some, some, some > 0)
      >>> update = make_ppo_update(config, network)
      >>> learner, metrics = update(learner, batch, jax.random.key(1))
      >>> round(float(metrics.entropy), 1)  # of two actions, log 2
      0.7

    References:
      Schulman et al., *Proximal Policy Optimization Algorithms*, arXiv 1707.06347,
      Algorithm 1.
    """
    tx = with_mixed_dtypes(config.optimizer())

    def loss_fn(params, model_state, batch):
        (distribution, value), model_state = network.apply(
            params, model_state, batch.observation, True
        )
        log_prob = network.policy.log_prob(distribution, batch.action)
        entropy = network.policy.entropy(distribution)
        loss, metrics = ppo_loss(log_prob, value, entropy, batch, config)
        return loss, (model_state, metrics)

    def update(learner, batch, key):
        size = batch.action.shape[0]

        def descend(learner, part):
            indices, is_real = part
            some = jax.tree.map(lambda x: x[indices], batch)
            some = some._replace(valid=some.valid & is_real)
            gradient, (model_state, metrics) = jax.grad(loss_fn, has_aux=True)(
                learner.params, learner.model_state, some
            )
            step, opt_state = tx.update(gradient, learner.opt_state, learner.params)
            params = optax.apply_updates(learner.params, step)
            return PPOLearner(params, model_state, opt_state), metrics

        def one_pass(learner, key):
            return jax.lax.scan(descend, learner, minibatches(key, size, config))

        if config.minibatch_size > size:
            raise ValueError(
                f"`minibatch_size` should be at most {size}, the samples of a rollout. "
                f"Found {config.minibatch_size}."
            )
        keys = jax.random.split(key, config.epochs)
        learner, metrics = jax.lax.scan(one_pass, learner, keys)
        return learner, jax.tree.map(jnp.mean, metrics)

    return update


def minibatches(
    key: Key[Array, ""], size: int, config: PPOConfig
) -> tuple[Int[Array, "steps B"], Bool[Array, "steps B"]]:
    """One pass over a rollout in a random order, as indices, and which of them count.

    A last, smaller minibatch is filled up with samples that do not count.
    """
    steps = -(-size // config.minibatch_size)
    places = jnp.arange(steps * config.minibatch_size)
    order = epoch_indices(key, size, size)[0][places % size]
    shape = steps, config.minibatch_size
    return order.reshape(shape), (places < size).reshape(shape)
