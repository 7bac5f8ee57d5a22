"""RL-AUX's epochs: what the agent learns from, and what becomes of the main network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax.labelling import (
    EnvParams,
    LabelData,
    LabellingConfig,
    MainTask,
    environment,
    make_method,
    make_rl_aux,
    masked_softmax,
    weight_factor,
)
from auxjax.labelling._network import agent
from auxjax.labelling._rl_aux import _to_learn_from, label_batches
from auxjax.rl import PPOConfig

PPO = PPOConfig(epochs=2, minibatch_size=10, entropy_coef=0.01)


@pytest.fixture
def data():
    images = jax.random.normal(jax.random.key(0), (24, 3))
    return LabelData(images, (images[:, 0] > 0).astype(jnp.int32))


def config(**changes):
    settings = {"batch_size": 5, "eval_size": 8, "rollout_batches": 2, "ppo": PPO}
    return LabellingConfig(learning_rate=0.3, **{**settings, **changes})


def bits(tree):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


@pytest.fixture
def started(network, blocks, data):
    """A labeller, a task, and the states that they start from."""

    def start(conf):
        outputs = (6, 21, 1) if conf.weighted else (6, 1)
        labeller = make_rl_aux(conf, blocks, network(*outputs))
        task = MainTask(network(2, 6), optax.sgd(0.3))
        main = task.init(jax.random.key(1), data.images)
        return labeller, task, labeller.init(jax.random.key(2), data), main

    return start


@pytest.mark.parametrize("restore", ["epoch", "batch", "never"])
def test_what_becomes_of_the_main_network(started, data, restore):
    labeller, task, learner, main = started(config(restore=restore))
    learner2, after, reward = jax.jit(
        lambda learner, main: labeller.learn(
            learner, task, main, data, jax.random.key(0)
        )
    )(learner, main)
    assert (bits(after) == bits(main)) == (restore != "never")
    assert bits(learner2.params) != bits(learner.params)
    assert np.isfinite(reward)
    assert reward != 0


def test_to_train_the_main_network_is_the_environments_other_mode(
    network, blocks, data
):
    """The method's main epoch = an episode on the agent's best labels, no reward."""
    for weighted in (False, True):
        conf = config(method="wa-rl" if weighted else "rl")
        outputs = (6, 21, 1) if weighted else (6, 1)
        method = make_method(conf, blocks, network(2, 6), network(*outputs))
        state = method.init(jax.random.key(0), data)
        after, _ = method.epoch(state, data)
        task = MainTask(network(2, 6), optax.sgd(0.3))
        env = environment(conf, blocks, task, mode="main")
        params = EnvParams(data.images, data.labels, state.main)
        params = params._replace(
            main=state.main._replace(opt_state=task.optimizer.init(None))
        )
        _, env_state = env.reset_batch(jax.random.key(0), params)
        # The same order of the samples as the method's.
        key = jax.random.split(jax.random.fold_in(state.key, 0))[0]
        order = jax.random.permutation(key, 24)[:20].reshape(4, 5)
        env_state = env_state._replace(order=order.astype(jnp.int32))
        labeller = make_rl_aux(conf, blocks, network(*outputs))
        policy = agent(network(*outputs), blocks)
        for some in order:
            images, labels = data.images[some], data.labels[some]
            made = labeller.label(after.label_state, images, labels, None, True)
            action = made.targets
            if weighted:
                choices = policy.apply(
                    after.label_state.params, None, (images, labels), False
                )[0][0]
                weight = jnp.argmax(choices[1], axis=-1).astype(jnp.int32)
                np.testing.assert_allclose(made.factors, weight_factor(weight))
                action = jnp.stack([action, weight], axis=1)
            _, env_state, reward, *_ = env.step_batch(key, env_state, action, params)
            assert float(reward) == 0
        for a, b in zip(
            jax.tree.leaves(after.main.params),
            jax.tree.leaves(env_state.main.params),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_best_label_is_that_of_the_masked_softmax(started, network, blocks, data):
    labeller, _, learner, _ = started(config())
    made = labeller.label(learner, data.images, data.labels, None, False)
    logits = network(6, 1).apply(learner.params, None, data.images, train=False)[0][0]
    expected = jnp.argmax(masked_softmax(logits, data.labels, blocks), axis=1)
    assert made.targets.tolist() == expected.tolist()
    assert made.factors is None


@pytest.mark.parametrize("method", ["rl", "wa-rl"])
def test_what_ppo_sees_is_one_image_a_step(started, network, blocks, data, method):
    """Replayed one by one, each action pays what the rollout says."""
    conf = config(method=method)
    _, task, learner, main = started(conf)
    env = environment(conf, blocks, task)
    params = EnvParams(data.images, data.labels, main)
    policy = agent(network(*((6, 21, 1) if conf.weighted else (6, 1))), blocks)
    key = jax.random.key(7)
    _, start = env.reset_batch(key, params)
    assert conf.rollouts(start.order.shape[0]) == (2, 2)
    end, seen, last = jax.jit(
        lambda s: label_batches(env, policy, learner, s, params, 4, key)
    )(start)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen)
    state, step = env.reset(key, params)[1], jax.jit(env.step)
    for i in range(20):
        action = flat.action[i] if conf.weighted else flat.action[i, 0]
        _, state, reward, over, _, _ = step(key, state, action, params)
        np.testing.assert_allclose(flat.reward[i], reward, rtol=1e-5, atol=1e-6)
        assert bool(flat.terminated[i]) == bool(over) == (i == 19)
    np.testing.assert_allclose(
        end.main.params["trunk"], state.main.params["trunk"], rtol=1e-5, atol=1e-6
    )

    # The advantages: one row of twenty steps, nothing after the end.
    batch = _to_learn_from(conf, seen, last)
    r, v = np.asarray(flat.reward, float), np.asarray(flat.value, float)
    expected, running = np.zeros(20), 0.0
    for t in reversed(range(20)):
        following = v[t + 1] if t < 19 else 0.0
        running = r[t] + 0.99 * following - v[t] + 0.99 * 0.95 * running
        expected[t] = running
    np.testing.assert_allclose(batch.advantage, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(batch.target, expected + v, rtol=1e-4, atol=1e-5)


def test_an_epoch_is_cut_into_equal_rollouts(started, data, blocks):
    conf = config(rollout_batches=3)
    _, task, _, main = started(conf)
    env = environment(conf, blocks, task)
    params = EnvParams(data.images, data.labels, main)
    state = env.reset_batch(jax.random.key(0), params)[1]
    assert conf.rollouts(state.order.shape[0]) == (2, 2)  # four batches
    assert config(rollout_batches=4).rollouts(state.order.shape[0]) == (4, 1)
    assert config(rollout_batches=100).rollouts(state.order.shape[0]) == (4, 1)
    small = PPOConfig(minibatch_size=5)
    assert config(rollout_batches=1, ppo=small).rollouts(state.order.shape[0]) == (1, 4)
    with pytest.raises(ValueError, match=r"`ppo\.minibatch_size` should be at most 5"):
        config(rollout_batches=1)


def test_a_rollout_beyond_the_end_teaches_nothing(started, network, data, blocks):
    """Four batches in rollouts of at most three are 2 + 2; five would be 3 + 2."""
    conf = config(rollout_batches=3, batch_size=4)  # five batches
    _, task, learner, main = started(conf)
    env = environment(conf, blocks, task)
    params = EnvParams(data.images[:20], data.labels[:20], main)
    key = jax.random.key(0)
    _, state = env.reset_batch(key, params)
    length, updates = conf.rollouts(state.order.shape[0])
    assert (length, updates) == (3, 2)
    policy = agent(network(6, 1), blocks)
    valid = []
    for _ in range(updates):
        state, seen, last = label_batches(
            env, policy, learner, state, params, length, key
        )
        batch = _to_learn_from(conf, seen, last)
        valid += batch.valid.tolist()
        assert np.isfinite(np.asarray(batch.advantage)).all()
    assert valid == [True] * 20 + [False] * 4
    assert int(state.batch) == 5


def test_the_agent_learns_what_pays(network, blocks, data):
    """A main network whose loss is what the labels are worth: label 1 of each block.

    Its one parameter follows the auxiliary targets, and the primary loss is the
    parameter's distance from 1.
    """

    def primary(output, labels):
        del labels
        return jnp.square(output[:, 0] - 1.0)

    def auxiliary(output, targets):
        wanted = (targets % 3 == 1).astype(output.dtype)
        return jnp.square(output[:, 0] - wanted)

    def init(key, images):
        del key, images
        return {"level": jnp.full((), 0.5)}, None

    def apply(params, state, images, train):
        del train
        level = jnp.broadcast_to(params["level"], (images.shape[0], 1))
        # The primary loss pulls at nothing: only the labels move the level.
        return (jnp.tile(jax.lax.stop_gradient(level), 2), jnp.tile(level, 6)), state

    main = type(network(1))(init, apply)
    ppo = PPOConfig(
        learning_rate=0.02, epochs=4, minibatch_size=12, entropy_coef=0.0,
        discount=0.0,
    )  # fmt: skip
    conf = config(
        entropy_coef=0.0, restore="batch", ppo=ppo, rollout_batches=24, batch_size=1
    )
    method = make_method(
        conf, blocks, main, network(6, 1), optimizer=optax.sgd(0.4),
        primary_loss=primary, auxiliary_loss=auxiliary,
    )  # fmt: skip
    state = method.init(jax.random.key(0), data)

    def share(state):
        found = method.labels(state, data.images, data.labels)
        return float(jnp.mean((found % 3 == 1).astype(jnp.float32)))

    epoch = jax.jit(method.epoch)
    rewards = []
    for _ in range(30):
        state, metrics = epoch(state, data)
        rewards.append(float(metrics.reward))
    assert share(state) > 0.9
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5])
