"""What PPO asks of a network, and a policy of several choices at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from auxjax.envs import Box, VectorEnv
from auxjax.models import Model, encoder, linear_head
from auxjax.rl._policy import Policy, make_policy


class ActorCritic(NamedTuple):
    """A policy and a value as pure functions.

    Attributes:
      init: `(key, observation [B, ...]) -> (params, model_state)`.
      apply: `(params, model_state, observation, train) -> ((distribution, value [B]),
        model_state)`. `distribution` is what `policy` takes: logits, say. The state is
        what gradients do not learn, batch statistics; None where there is none. It
        changes only where `train`, which is when the network is fitted, not when it
        acts.
      policy: the action distribution.
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[tuple[Any, jax.Array], Any]]
    policy: Policy


def actor_critic(env: VectorEnv, *, trunk: Model | None = None) -> ActorCritic:
    """A trunk with a linear policy and a linear value.

    Args:
      env: the worlds to act in.
      trunk: from observations to features; None: `encoder` for the observations.

    Returns:
      The network; its parameters are `trunk`, `policy`, `value`, and for continuous
      actions `log_std`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from auxjax.envs import make
      >>> network = actor_critic(make("Probe-Action", 4))
      >>> params, _ = network.init(jax.random.key(0), jnp.zeros((4, 1)))
      >>> (logits, value), _ = network.apply(params, None, jnp.zeros((4, 1)), False)
      >>> logits.shape, value.shape
      ((4, 2), (4,))
    """
    space = env.action_space
    size = space.shape[0] if isinstance(space, Box) else space.n
    body = encoder(env.observation_shape, features=64) if trunk is None else trunk
    actor, critic = linear_head(size, scale=0.01), linear_head(1)

    def init(key, observation):
        keys = jax.random.split(key, 3)
        params = {"trunk": body.init(keys[0], observation)}
        features = body.apply(params["trunk"], observation)
        params["policy"] = actor.init(keys[1], features)
        params["value"] = critic.init(keys[2], features)
        if isinstance(space, Box):
            params["log_std"] = jnp.zeros(size)
        return params, None

    def apply(params, model_state, observation, train):
        del train
        features = body.apply(params["trunk"], observation)
        out = actor.apply(params["policy"], features)
        if isinstance(space, Box):
            out = out, jnp.broadcast_to(params["log_std"][None], out.shape)
        return (out, critic.apply(params["value"], features)[..., 0]), model_state

    return ActorCritic(init, apply, make_policy(space))


def factored_categorical() -> Policy:
    """Several independent choices as one action: a multi-discrete policy.

    The distribution's parameters are a tuple of logits, `[..., Kᵢ]` each; an action is
    int32 `[..., m]`, one entry a choice. Log-probabilities and entropies add up.

    Returns:
      The policy.

    Example:
      >>> import jax.numpy as jnp
      >>> policy = factored_categorical()
      >>> logits = jnp.zeros((1, 4)), jnp.zeros((1, 2))
      >>> jnp.exp(policy.log_prob(logits, jnp.array([[3, 0]]))).tolist()
      [0.125]
    """

    def sample(key, logits):
        keys = jax.random.split(key, len(logits))
        drawn = map(jax.random.categorical, keys, logits)
        return jnp.stack(list(drawn), axis=-1).astype(jnp.int32)

    def each_log_prob(logits, action):
        log_p = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(log_p, action[..., None], axis=-1)[..., 0]

    def log_prob(logits, action):
        each = [each_log_prob(part, action[..., i]) for i, part in enumerate(logits)]
        return jnp.sum(jnp.stack(each), axis=0)

    def each_entropy(logits):
        log_p = jax.nn.log_softmax(logits)
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)

    def entropy(logits):
        return jnp.sum(jnp.stack([each_entropy(part) for part in logits]), axis=0)

    return Policy(sample, log_prob, entropy, lambda action: action)
