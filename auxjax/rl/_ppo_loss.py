"""The losses of proximal policy optimization."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from auxjax._types import Array, Float
from auxjax.auxiliary import masked_mean
from auxjax.rl._ppo_config import PPOConfig
from auxjax.rl._returns import standardised


class PPOBatch(NamedTuple):
    """Transitions to learn from; every leaf has their number B in front."""

    observation: Any
    action: jax.Array  # [B, ...]
    log_prob: jax.Array  # [B], of the policy that acted
    advantage: jax.Array  # [B]
    target: jax.Array  # [B], of the value
    valid: jax.Array  # [B] bool, False: no transition, counts nowhere


class PPOMetrics(NamedTuple):
    """Means over the minibatches of an update."""

    policy_loss: jax.Array  # [], the negative clipped objective
    value_loss: jax.Array  # [], mean squared error
    entropy: jax.Array  # [], of the policy, in nats
    clip_fraction: jax.Array  # [], samples whose ratio left [1 − ε, 1 + ε]
    kl: jax.Array  # [], mean of ratio − 1 − log ratio, an estimate of KL(old ‖ new)


def clipped_objective(
    log_prob: Float[Array, " B"],
    old_log_prob: Float[Array, " B"],
    advantage: Float[Array, " B"],
    *,
    clip: float = 0.2,
) -> Float[Array, " B"]:
    r"""min(rₜAₜ, clip(rₜ, 1 − ε, 1 + ε) Aₜ), with rₜ = π(aₜ|sₜ) / π_old(aₜ|sₜ).

    Args:
      log_prob: log π of the actions.
      old_log_prob: log π_old of the actions.
      advantage: A.
      clip: ε.

    Returns:
      The objective of each sample, to be made larger.

    Example:
      >>> import jax.numpy as jnp
      >>> new, old = jnp.log(jnp.array([0.9, 0.3])), jnp.log(jnp.array([0.6, 0.6]))
      >>> objective = clipped_objective(new, old, jnp.ones(2))  # ratios 1.5, ½; ε 0.2
      >>> [round(float(x), 3) for x in objective]
      [1.2, 0.5]

    References:
      Schulman et al., *Proximal Policy Optimization Algorithms*, arXiv 1707.06347,
      Eq. 7.
    """
    ratio = jnp.exp(log_prob - old_log_prob)
    limited = jnp.clip(ratio, 1 - clip, 1 + clip)
    return jnp.minimum(ratio * advantage, limited * advantage)


def ppo_loss(
    log_prob: Float[Array, " B"],
    value: Float[Array, " B"],
    entropy: Float[Array, " B"],
    batch: PPOBatch,
    config: PPOConfig,
) -> tuple[Float[Array, ""], PPOMetrics]:
    r"""−E[clipped objective] + c_v E[(target − V)²] − c_e E[entropy].

    Args:
      log_prob: log π of the batch's actions.
      value: V of its observations.
      entropy: the policy's.
      batch: the transitions.
      config: the coefficients.

    Returns:
      The loss, and its parts.

    Example:
      >>> ones, no = jnp.ones(2), jnp.zeros(2)
      >>> batch = PPOBatch(None, no, no, jnp.array([1.0, -1.0]), ones, ones > 0)
      >>> loss, parts = ppo_loss(no, no, ones, batch, PPOConfig(entropy_coef=0.25))
      >>> float(loss), float(parts.value_loss)  # 0 + ½ · 1 − ¼ · 1
      (0.25, 1.0)

    References:
      Schulman et al., *Proximal Policy Optimization Algorithms*, arXiv 1707.06347,
      Eq. 9.
    """
    advantage, valid = batch.advantage, batch.valid
    if config.normalize_advantage:
        advantage = standardised(advantage, valid)
    objective = clipped_objective(log_prob, batch.log_prob, advantage, clip=config.clip)
    log_ratio = log_prob - batch.log_prob
    outside = jnp.abs(jnp.expm1(log_ratio)) > config.clip
    metrics = PPOMetrics(
        policy_loss=-masked_mean(objective, valid),
        value_loss=masked_mean(jnp.square(batch.target - value), valid),
        entropy=masked_mean(entropy, valid),
        clip_fraction=masked_mean(outside.astype(value.dtype), valid),
        kl=masked_mean(jnp.expm1(log_ratio) - log_ratio, valid),
    )
    loss = (
        metrics.policy_loss
        + config.value_coef * metrics.value_loss
        - config.entropy_coef * metrics.entropy
    )
    return loss, metrics
