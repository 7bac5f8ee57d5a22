"""The losses of one update: the actor-critic's first, then one an auxiliary task."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from auxjax import auxiliary
from auxjax.models import embed_action
from auxjax.rl._config import A2CConfig
from auxjax.rl._networks import Networks, policy_of, value_of
from auxjax.rl._policy import Policy
from auxjax.rl._returns import advantages
from auxjax.rl._rollout import Rollout

NEEDS_NEXT = {"forward", "inverse", "flow"}
"""The tasks that look at the next observation."""


def task_losses(
    nets: Networks, policy: Policy, config: A2CConfig, params, rollout: Rollout, key
) -> dict[str, jax.Array]:
    """All losses of a rollout `[T, N, ...]`; the main task's first.

    The encoder runs once, over all the images that any task looks at.

    Args:
      nets: the networks.
      policy: the action distribution.
      config: which tasks, and the coefficients.
      params: the parameters.
      rollout: what was played.
      key: for the transformations that egomotion predicts.

    Returns:
      Scalars by task name, `main` first.
    """
    tasks = config.tasks[1:]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rollout)
    images = {"now": flat.observation}
    target = None
    if NEEDS_NEXT & set(tasks):
        images["next"] = flat.timestep.next_observation
    if "egomotion" in tasks:
        images["moved"], target = auxiliary.random_transform(key, flat.observation)
    phi = nets.encoder.apply(params["encoder"], jnp.concatenate([*images.values()]))
    latents = dict(zip(images, jnp.split(phi, len(images)), strict=True))

    main = actor_critic_loss(nets, policy, config, params, rollout, latents)
    losses = {"main": main}
    for task in tasks:
        head = nets.heads[task]
        losses[task] = auxiliary_loss(
            task, lambda *x, t=task, h=head: h.apply(params["heads"][t], *x),
            latents, flat, target, nets,
        )  # fmt: skip
    return losses


def actor_critic_loss(nets, policy, config, params, rollout: Rollout, latents):
    """C [−log π · A + c_v ½(target − V)² − c_e · entropy], averaged over transitions.

    References:
      Mnih et al., *Asynchronous Methods for Deep Reinforcement Learning*, arXiv
      1602.01783, section 4.
    """
    shape = rollout.timestep.reward.shape
    t = rollout.timestep
    phi = latents["now"].reshape(*shape, -1)
    v_tm1 = value_of(nets, params, phi)
    if "next" in latents:
        v_t = value_of(nets, params, latents["next"].reshape(*shape, -1))
    else:
        v_t = _next_values(nets, params, rollout, v_tm1)
    a_t = advantages(
        t.reward,
        jax.lax.stop_gradient(v_tm1),
        jax.lax.stop_gradient(v_t),
        t.terminated,
        t.truncated,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
    )
    target = a_t + jax.lax.stop_gradient(v_tm1)
    if config.normalize_advantage:
        a_t = _standardised(a_t, t.valid)
    distribution = policy_of(nets, params, phi)
    log_prob = policy.log_prob(distribution, rollout.action)
    each = (
        -log_prob * a_t
        + config.value_coef * 0.5 * jnp.square(target - v_tm1)
        - config.entropy_coef * policy.entropy(distribution)
    )
    mean = auxiliary.masked_mean(each.reshape(-1), t.valid.reshape(-1))
    return config.main_coef * mean


def _standardised(x: jax.Array, valid: jax.Array) -> jax.Array:
    """`x` with mean 0 and standard deviation 1 over its valid entries."""
    mean = auxiliary.masked_mean(x.reshape(-1), valid.reshape(-1))
    square = jnp.square(x - mean).reshape(-1)
    return (x - mean) / (
        jnp.sqrt(auxiliary.masked_mean(square, valid.reshape(-1))) + 1e-8
    )


def _next_values(nets, params, rollout: Rollout, v_tm1: jax.Array) -> jax.Array:
    """V(next observation) where no task has run the encoder on it already.

    Within an episode it is the next row's V. Only the last row, and the rare rows
    that were cut off, need a pass of their own.
    """
    t = rollout.timestep
    frozen = jax.lax.stop_gradient(params)

    def value(observation):
        phi = nets.encoder.apply(frozen["encoder"], observation)
        return value_of(nets, frozen, phi)

    shifted = jnp.concatenate([v_tm1[1:], value(t.next_observation[-1])[None]])
    cut = t.truncated[:-1]
    return jax.lax.cond(
        jnp.any(cut),
        lambda: jnp.where(t.truncated, value(t.next_observation), shifted),
        lambda: shifted,
    )


def auxiliary_loss(task, head, latents, flat: Rollout, target, nets) -> jax.Array:
    """One auxiliary loss on the flattened transitions `[B, ...]`."""
    phi, t = latents["now"], flat.timestep
    if task == "forward":
        size = None if nets.is_continuous else nets.action_size
        predicted = head(phi, embed_action(flat.action, size))
        return auxiliary.forward_dynamics(predicted, latents["next"], t.valid)
    if task == "inverse":
        predicted = head(phi, latents["next"])
        return auxiliary.inverse_dynamics(predicted, flat.action, t.valid)
    if task == "egomotion":
        return auxiliary.egomotion(head(phi, latents["moved"]), target, t.valid)
    if task == "autoencoder":
        return auxiliary.autoencoder(head(phi), flat.observation, t.valid)
    flow = head(phi, latents["next"])
    return auxiliary.optical_flow(flow, flat.observation, t.next_observation, t.valid)
