"""The losses of one update: the actor-critic's first, then one an auxiliary task."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from auxjax import auxiliary
from auxjax.models import embed_action
from auxjax.rl._config import A2CConfig
from auxjax.rl._networks import Networks, policy_of, value_of
from auxjax.rl._policy import Policy
from auxjax.rl._returns import advantages, standardised
from auxjax.rl._rollout import Rollout


class Latents(NamedTuple):
    """What the encoder made of a rollout, `[T, N, D]`."""

    now: jax.Array  # φ of the observations acted on
    successor: jax.Array  # φ of what came next; right where `follows`
    follows: jax.Array  # [T, N] bool: s' follows from s and a, and φ(s') is at hand


def task_losses(
    nets: Networks, policy: Policy, config: A2CConfig, params, rollout: Rollout, key
) -> dict[str, jax.Array]:
    """All losses of a rollout `[T, N, ...]`; the main task's first.

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
    latents = encode(nets, params, rollout)
    losses = {"main": actor_critic_loss(nets, policy, config, params, rollout, latents)}
    if config.tasks[1:]:
        steps = jax.tree.map(_flat, (rollout, latents))
        played = policy.to_env(steps[0].action)  # what the environment was given
        steps = (steps[0]._replace(action=played), steps[1])
        for task in config.tasks[1:]:
            losses[task] = auxiliary_loss(task, nets, params, *steps, key)
    return losses


def encode(nets: Networks, params, rollout: Rollout) -> Latents:
    """Runs the encoder once over every observation, and once more over the last.

    The next row's observation is this row's successor, unless an episode ended here
    and the environment was reset: those transitions are left out of the auxiliary
    losses (one per episode) instead of encoding every successor a second time.
    """
    t = rollout.timestep
    now = nets.encoder.apply(params["encoder"], rollout.observation)
    last = nets.encoder.apply(params["encoder"], t.next_observation[-1:])
    done = (t.terminated | t.truncated).at[-1].set(False)
    return Latents(now, jnp.concatenate([now[1:], last]), t.valid & ~done)


def actor_critic_loss(
    nets, policy, config, params, rollout: Rollout, latents: Latents
) -> jax.Array:
    """The mean over transitions of c [−log π A + c_v ½(target − V)² − c_e entropy].

    References:
      Mnih et al., *Asynchronous Methods for Deep Reinforcement Learning*, arXiv
      1602.01783, section 4.
    """
    t = rollout.timestep
    v_tm1 = value_of(nets, params, latents.now)
    v_t = _next_values(nets, params, rollout, latents)
    a_t = advantages(
        t.reward,
        jax.lax.stop_gradient(v_tm1),
        v_t,
        t.terminated,
        t.truncated,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
    )
    target = a_t + jax.lax.stop_gradient(v_tm1)
    if config.normalize_advantage:
        flat = standardised(a_t.reshape(-1), t.valid.reshape(-1))
        a_t = flat.reshape(a_t.shape)
    distribution = policy_of(nets, params, latents.now)
    log_prob = policy.log_prob(distribution, rollout.action)
    each = (
        -log_prob * a_t
        + config.value_coef * 0.5 * jnp.square(target - v_tm1)
        - config.entropy_coef * policy.entropy(distribution)
    )
    mean = auxiliary.masked_mean(each.reshape(-1), t.valid.reshape(-1))
    return config.main_coef * mean


def _next_values(nets, params, rollout: Rollout, latents: Latents) -> jax.Array:
    """V(next observation), a constant.

    Where an episode ended by itself it is not used. Where one was cut off, which is
    rare, the successor needs a pass of its own: then all of them get one.
    """
    t = rollout.timestep
    frozen, known = jax.lax.stop_gradient((params, latents.successor))

    def encode_all():
        return nets.encoder.apply(frozen["encoder"], t.next_observation)

    cut = jnp.any(t.truncated[:-1])
    successor = jax.lax.cond(cut, encode_all, lambda: known)
    return value_of(nets, frozen, successor)


def auxiliary_loss(
    task: str, nets: Networks, params, step: Rollout, latents: Latents, key
) -> jax.Array:
    """One auxiliary loss on flattened transitions `[B, ...]`."""
    t, phi, mask = step.timestep, latents.now, latents.follows

    def head(*inputs):
        return nets.heads[task].apply(params["heads"][task], *inputs)

    if task == "forward":
        size = None if nets.is_continuous else nets.action_size
        predicted = head(phi, embed_action(step.action, size))
        return auxiliary.forward_dynamics(predicted, latents.successor, mask)
    if task == "inverse":
        predicted = head(phi, latents.successor)
        return auxiliary.inverse_dynamics(predicted, step.action, mask)
    if task == "egomotion":
        moved, target = auxiliary.random_transform(key, step.observation)
        phi_moved = nets.encoder.apply(params["encoder"], moved)
        return auxiliary.egomotion(head(phi, phi_moved), target, t.valid)
    if task == "autoencoder":
        return auxiliary.autoencoder(head(phi), step.observation, t.valid)
    flow = head(phi, latents.successor)
    return auxiliary.optical_flow(flow, step.observation, t.next_observation, mask)


def _flat(x: jax.Array) -> jax.Array:
    """`[T, N, ...]` as `[T · N, ...]`."""
    return x.reshape(-1, *x.shape[2:])
