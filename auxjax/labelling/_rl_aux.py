"""RL-AUX and WA-RL: an agent that labels, trained by PPO inside the environment."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from auxjax._types import Array
from auxjax.labelling._config import LabellingConfig
from auxjax.labelling._environment import EnvParams, EnvState, LabellingEnv
from auxjax.labelling._episode import episode_of
from auxjax.labelling._hierarchy import Hierarchy
from auxjax.labelling._labellers import LabelData, Labeller, Made
from auxjax.labelling._losses import weight_factor
from auxjax.labelling._main import MainTask
from auxjax.labelling._network import NetworkLike, agent, check_outputs
from auxjax.rl import ActorCritic, PPOBatch, gae, init_learner, make_ppo_update


class Labelled(NamedTuple):
    """What the agent did with one batch."""

    indices: jax.Array  # [B] int32, into the training set
    action: jax.Array  # [B, m] int32
    log_prob: jax.Array  # [B]
    value: jax.Array  # [B]
    reward: jax.Array  # [B], of each image's step: all but the last are 0
    terminated: jax.Array  # [B] bool
    valid: jax.Array  # [B] bool, False: after the end of the epoch


def make_rl_aux(
    config: LabellingConfig, hierarchy: Hierarchy, label_network: NetworkLike
) -> Labeller:
    """An agent that labels, trained by PPO on what its labels are worth.

    Its epoch is one episode of `LabellingEnv`, labelled batch by batch: the agent does
    not change within a batch, so that is what it would have done image by image. PPO
    sees the single steps, B of them in a batch, of which the last is paid.

    Args:
      config: the method `rl` or `wa-rl`, and the hyper-parameters.
      hierarchy: the labels.
      label_network: outputs label logits `[B, K]`, for `wa-rl` weight logits
        `[B, num_weights]`, and a value `[B, 1]`.

    Returns:
      The labeller; deterministic when it labels, random while it learns.

    Raises:
      ValueError: from `init`, where the network's outputs are others; from `learn`,
        where the data are fewer than `eval_size`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from auxjax.labelling import Hierarchy, LabelData, many_headed
      >>> from auxjax.models import encoder, linear_head
      >>> net = many_headed(encoder((3,), features=4), linear_head(6), linear_head(1))
      >>> config = LabellingConfig(method="rl", batch_size=64, eval_size=64)
      >>> labeller = make_rl_aux(config, Hierarchy(2, 3), net)
      >>> data = LabelData(jnp.ones((64, 3)), jnp.arange(64) % 2)
      >>> state = labeller.init(jax.random.key(0), data)
      >>> targets = labeller.label(state, *data, False).targets
      >>> (targets // 3 == data.labels).all().item()
      True

    References:
      Goldfeder et al., *Generating Auxiliary Tasks with Reinforcement Learning*,
      section 4, appendices A.2 and B.
    """
    weights = (config.num_weights,) if config.weighted else ()
    outputs = (hierarchy.num_labels, *weights, 1)
    policy = agent(label_network, hierarchy)

    def init(key, data):
        check_outputs("label_network", label_network, data.images, outputs)
        config.check_samples(data.images.shape[0])
        example = (data.images[:1], data.labels[:1])
        return init_learner(config.ppo, policy, example, key)

    def label(state, images, labels, human, train):
        del human, train  # deterministic, in the sense of statistics too
        (choices, _), _ = policy.apply(
            state.params, state.model_state, (images, labels), False
        )
        best = [jnp.argmax(logits, axis=-1).astype(jnp.int32) for logits in choices]
        chances = hierarchy.spread(jax.nn.softmax(choices[0]), labels)
        factors = None
        if config.weighted:
            factors = weight_factor(
                best[1],
                num_classes=config.num_weights,
                formula=config.weight_formula,
            )
        return Made(hierarchy.inside(best[0], labels), factors, chances)

    def learn(learner, task: MainTask, main, data: LabelData, key):
        env = environment(config, hierarchy, task)
        # The images stay where they are: a minibatch looks its own up.
        looking = policy._replace(
            apply=lambda p, s, i, train: policy.apply(
                p, s, (data.images[i], data.labels[i]), train
            )
        )
        update = make_ppo_update(config.ppo, looking)
        params = EnvParams(data.images, data.labels, main)
        start_key, key = jax.random.split(key)
        _, env_state = env.reset_batch(start_key, params)
        # Beyond the epoch's end the environment does nothing, and nothing is learned.
        length, updates = config.rollouts(env_state.order.shape[0])

        def iterate(carry, key):
            env_state, learner = carry
            play_key, learn_key = jax.random.split(key)
            env_state, seen, last_value = label_batches(
                env, policy, learner, env_state, params, length, play_key
            )
            batch = _to_learn_from(config, seen, last_value)
            learner, _ = update(learner, batch, learn_key)
            return (env_state, learner), jnp.sum(seen.reward)

        keys = jax.random.split(key, updates)
        (env_state, learner), rewards = jax.lax.scan(
            iterate, (env_state, learner), keys
        )
        if config.restore == "never":
            main = env_state.main
        return learner, main, jnp.sum(rewards) / env_state.order.shape[0]

    return Labeller(init, label, learn, learns_first=True)


def environment(
    config: LabellingConfig, hierarchy: Hierarchy, task: MainTask, mode: str = "agent"
) -> LabellingEnv:
    """The environment that a configuration describes.

    Args:
      config: the run.
      hierarchy: the labels.
      task: the main network.
      mode: `"agent"` or `"main"`.

    Returns:
      The environment.

    Example:
      >>> import optax
      >>> from auxjax.labelling import Hierarchy, many_headed
      >>> from auxjax.models import encoder, linear_head
      >>> net = many_headed(encoder((3,), features=4), linear_head(2), linear_head(6))
      >>> config = LabellingConfig(method="wa-rl", weight_formula="code")
      >>> env = environment(config, Hierarchy(2, 3), MainTask(net, optax.sgd(0.1)))
      >>> env.weighted, env.weight_formula, env.restore
      (True, 'code', 'epoch')
    """
    return LabellingEnv(
        task,
        hierarchy,
        **episode_of(config),
        weighted=config.weighted,
        mode=mode,
        restore="batch" if config.restore == "batch" else "epoch",
    )


def label_batches(
    env: LabellingEnv,
    policy: ActorCritic,
    learner,
    env_state: EnvState,
    params: EnvParams,
    length: int,
    key: Array,
) -> tuple[EnvState, Labelled, Array]:
    """The agent labels some batches, and the main network learns from each.

    Returns:
      The environment's state, what was done `[length, B, ...]`, and the value `[]` of
      the image that comes next.
    """

    def look(indices):
        observation = params.images[indices], params.labels[indices]
        return policy.apply(learner.params, learner.model_state, observation, False)[0]

    def step(env_state, key):
        going_on = env_state.batch < env_state.order.shape[0]
        indices = env.indices(env_state)
        choices, value = look(indices)
        action = policy.policy.sample(key, choices)
        log_prob = policy.policy.log_prob(choices, action)
        given = action if env.weighted else action[..., 0]
        _, env_state, reward, over, _, _ = env.step_batch(key, env_state, given, params)
        paid = jnp.zeros_like(value).at[-1].set(reward.astype(value.dtype))
        ends = jnp.zeros(value.shape, bool).at[-1].set(over)
        valid = jnp.broadcast_to(going_on, value.shape)
        return env_state, Labelled(indices, action, log_prob, value, paid, ends, valid)

    env_state, seen = jax.lax.scan(step, env_state, jax.random.split(key, length))
    last_value = look(env.indices(env_state)[:1])[1][0]
    return env_state, seen, last_value


def _to_learn_from(config: LabellingConfig, seen: Labelled, last_value) -> PPOBatch:
    """The batches `[L, B, ...]` as one row of L · B steps, with their advantages."""
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen)
    advantage, target = gae(
        flat.reward[:, None],
        flat.value[:, None],
        last_value[None],
        flat.terminated[:, None],
        jnp.zeros_like(flat.terminated)[:, None],
        discount=config.ppo.discount,
        gae_lambda=config.ppo.gae_lambda,
    )
    return PPOBatch(
        observation=flat.indices,
        action=flat.action,
        log_prob=flat.log_prob,
        advantage=advantage[:, 0],
        target=target[:, 0],
        valid=flat.valid,
    )
