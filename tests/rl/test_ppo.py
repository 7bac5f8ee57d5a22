"""PPO: its parts against NumPy, and what it learns where the answer is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.envs import Box, VectorEnv, make
from auxjax.rl import (
    PPOBatch,
    PPOConfig,
    actor_critic,
    clipped_objective,
    factored_categorical,
    gae,
    init_learner,
    make_ppo,
    make_ppo_train,
    make_ppo_update,
    ppo_loss,
)
from auxjax.rl._ppo_update import minibatches


@pytest.mark.parametrize("gae_lambda", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("own_successors", [False, True])
def test_gae_against_a_loop(x64, gae_lambda, own_successors):
    rng = np.random.default_rng(0)
    r, v, after = rng.normal(size=(3, 9, 4))
    ends = rng.choice(3, size=(9, 4), p=[0.6, 0.2, 0.2])
    terminated, truncated = ends == 1, ends == 2
    last = rng.normal(size=4)
    following = after if own_successors else np.concatenate([v[1:], last[None]])
    expected, running = np.zeros((9, 4)), np.zeros(4)
    for t in reversed(range(9)):
        delta = r[t] + 0.8 * ~terminated[t] * following[t] - v[t]
        running = delta + 0.8 * gae_lambda * ~(terminated[t] | truncated[t]) * running
        expected[t] = running
    found, target = gae(
        *map(jnp.asarray, (r, v, last, terminated, truncated)),
        discount=0.8,
        gae_lambda=gae_lambda,
        next_values=jnp.asarray(after) if own_successors else None,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(target, expected + v, rtol=1e-12, atol=1e-13)


def some_batch():
    rng = np.random.default_rng(1)
    old, new, advantage, target, value, entropy = rng.normal(size=(6, 12)) * 0.4
    valid = rng.random(12) > 0.3
    assert 0 < valid.sum() < 12
    return old, new, advantage, target, value, entropy, valid


def test_the_clipped_objective(x64):
    old, new, advantage, *_ = some_batch()
    ratio = np.exp(new - old)
    expected = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
    found = clipped_objective(*map(jnp.asarray, (new, old, advantage)), clip=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_gradient_stops_where_a_ratio_went_too_far():
    slope = jax.grad(
        lambda new: jnp.sum(
            clipped_objective(new, jnp.zeros(4), jnp.array([1.0, 1.0, -1.0, -1.0]))
        )
    )(jnp.log(jnp.array([1.5, 0.5, 1.5, 0.5])))
    np.testing.assert_allclose(slope, [0.0, 0.5, -1.5, 0.0], rtol=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_loss(x64, normalize):
    old, new, advantage, target, value, entropy, valid = some_batch()
    config = PPOConfig(
        entropy_coef=0.03, value_coef=0.7, clip=0.1, normalize_advantage=normalize
    )
    a = advantage[valid]
    if normalize:
        a = (a - a.mean()) / (a.std() + 1e-8)
    ratio = np.exp(new - old)[valid]
    policy = -np.mean(np.minimum(ratio * a, np.clip(ratio, 0.9, 1.1) * a))
    squares = np.mean((target - value)[valid] ** 2)
    batch = PPOBatch(
        None, jnp.zeros(12), *map(jnp.asarray, (old, advantage, target, valid))
    )
    found, parts = ppo_loss(*map(jnp.asarray, (new, value, entropy)), batch, config)
    expected = policy + 0.7 * squares - 0.03 * entropy[valid].mean()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(parts.policy_loss, policy, rtol=1e-12)
    np.testing.assert_allclose(parts.value_loss, squares, rtol=1e-12)
    np.testing.assert_allclose(parts.entropy, entropy[valid].mean(), rtol=1e-12)
    np.testing.assert_allclose(parts.clip_fraction, np.mean(np.abs(ratio - 1) > 0.1))
    kl = np.mean(ratio - 1 - np.log(ratio))
    np.testing.assert_allclose(parts.kl, kl, rtol=1e-10)


@pytest.mark.parametrize(("size", "steps"), [(10, 4), (9, 3), (3, 1)])
def test_a_pass_has_every_sample_once(size, steps):
    config = PPOConfig(minibatch_size=3)
    indices, counts = minibatches(jax.random.key(0), size, config)
    assert indices.shape == counts.shape == (steps, 3)
    assert sorted(indices[counts].tolist()) == list(range(size))
    assert int(counts.sum()) == size


def test_the_last_minibatch_is_what_is_left():
    """A rollout of four in minibatches of three: the second step is of one sample."""
    net = actor_critic(make("Probe-Action", 1))
    config = PPOConfig(
        epochs=1, minibatch_size=3, learning_rate=0.01, normalize_advantage=False
    )
    observation = make("Probe-Action", 1).reset(jax.random.key(0))[1]
    learner = init_learner(config, net, observation, jax.random.key(1))
    rng = np.random.default_rng(0)
    batch = PPOBatch(
        observation=jnp.repeat(observation, 4, axis=0),
        action=jnp.array([0, 1, 0, 1]),
        log_prob=jnp.asarray(rng.normal(size=4) - 1, jnp.float32),
        advantage=jnp.asarray(rng.normal(size=4), jnp.float32),
        target=jnp.asarray(rng.normal(size=4), jnp.float32),
        valid=jnp.ones(4, bool),
    )
    key = jax.random.key(2)
    found, _ = make_ppo_update(config, net)(learner, batch, key)
    (indices, counts) = minibatches(jax.random.split(key, 1)[0], 4, config)
    expected = learner
    for rows, real in zip(indices, counts, strict=True):
        some = jax.tree.map(lambda x, rows=rows[real]: x[rows], batch)
        one = dataclasses.replace(config, minibatch_size=len(some.action))
        expected, _ = make_ppo_update(one, net)(expected, some, key)
    for a, b in zip(
        jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_policy_of_two_choices():
    policy = factored_categorical()
    rng = np.random.default_rng(0)
    logits = [jnp.asarray(rng.normal(size=(3, n)), jnp.float32) for n in (4, 2)]
    p, q = (np.asarray(jax.nn.softmax(x)) for x in logits)
    action = jnp.array([[3, 0], [0, 1], [2, 1]])
    rows = np.arange(3)
    expected = np.log(p[rows, action[:, 0]]) + np.log(q[rows, action[:, 1]])
    np.testing.assert_allclose(policy.log_prob(logits, action), expected, rtol=1e-5)
    entropy = -(p * np.log(p)).sum(1) - (q * np.log(q)).sum(1)
    np.testing.assert_allclose(policy.entropy(logits), entropy, rtol=1e-5)
    many = [jnp.broadcast_to(x[0], (4000, x.shape[1])) for x in logits]
    drawn = np.asarray(policy.sample(jax.random.key(0), many))
    assert (drawn.shape, drawn.dtype) == ((4000, 2), np.int32)
    table = np.histogram2d(*drawn.T, bins=(range(5), range(3)))[0] / 4000
    np.testing.assert_allclose(table, np.outer(p[0], q[0]), atol=0.03)


CONFIG = PPOConfig(
    learning_rate=3e-3,
    rollout_length=8,
    epochs=4,
    minibatch_size=32,
    discount=0.9,
    entropy_coef=0.01,  # or standardised noise moves a policy that is right already
)


SEEDS = 4  # each of them has to learn it


def learn(name, observations, updates=60, **changes):
    """V and π of some observations, and the mean return at the end; a row per seed."""
    config = dataclasses.replace(CONFIG, **changes)
    env = make(name, 16)
    agent = make_ppo(config, env)
    train = jax.jit(jax.vmap(make_ppo_train(config, env, num_updates=updates)))
    state, report = train(jax.random.split(jax.random.key(0), SEEDS))
    assert report.episodes.shape == (SEEDS, updates)
    seen = jnp.asarray(observations, jnp.float32)[:, None]

    def look(params):
        (logits, values), _ = agent.network.apply(params, None, seen, False)
        return values, jax.nn.softmax(logits)

    values, pi = jax.device_get(jax.vmap(look)(state.learner.params))
    ended = report.episodes[:, -5:].sum(1).astype(jnp.float32)
    return np.asarray(report.return_sum[:, -5:].sum(1) / ended), values, pi


def test_an_action_that_pays_where_it_is_seen_to():
    mean, values, pi = learn("Probe-ObservationAction", [-1.0, 1.0])
    assert (mean > 0.9).all()
    assert (pi[:, 0, 0] > 0.95).all()
    assert (pi[:, 1, 1] > 0.95).all()
    np.testing.assert_allclose(values, [[1.0, 1.0]] * SEEDS, atol=0.15)


def test_a_reward_to_come():
    # Nothing that is done matters: standardised, the advantages would be noise alone.
    _, values, _ = learn("Probe-DiscountedValue", [0.0, 1.0], normalize_advantage=False)
    np.testing.assert_allclose(values, [[0.9, 1.0]] * SEEDS, atol=0.01)


def test_a_cut_is_not_an_end():
    """V = 1 / (1 − γ); were a cut an end it would be 5.7 at most."""
    _, values, _ = learn("Probe-Truncation", [0.0], updates=150)
    np.testing.assert_allclose(values, [[10.0]] * SEEDS, atol=0.5)


@pytest.mark.parametrize("size", [1, 4])
def test_a_minibatch_of_one_sample_teaches(size):
    """Five samples: in fours, the last one is alone."""
    config = PPOConfig(
        rollout_length=5, epochs=1, minibatch_size=size, value_coef=0.0,
        learning_rate=0.1,
    )  # fmt: skip
    batch = PPOBatch(
        observation=jnp.ones((5, 1)),
        action=jnp.ones(5, jnp.int32),
        log_prob=jnp.full(5, jnp.log(0.5)),
        # In fours, all that is learnt is in the one that is left.
        advantage=jnp.full(5, 3.0),
        target=jnp.zeros(5),
        valid=jnp.ones(5, bool),
    )
    network = actor_critic(make("Probe-Action", 1))
    learner = init_learner(config, network, batch.observation, jax.random.key(0))
    learner = jax.tree.map(jnp.asarray, learner)
    after, _ = make_ppo_update(config, network)(learner, batch, jax.random.key(1))

    def preference(learner):
        apply = network.apply(learner.params, None, batch.observation[:1], False)
        return apply[0][0][0, 1] - apply[0][0][0, 0]

    # Towards the action that paid.
    assert preference(after) - preference(learner) > 0.05


@pytest.mark.usefixtures("unchecked_types")
def test_numbers_of_numpy_are_numbers():
    sizes = {"rollout_length": 4, "epochs": 2, "minibatch_size": 8}
    config = PPOConfig(**{k: np.int64(v) for k, v in sizes.items()})
    assert config == PPOConfig(**sizes)
    assert all(type(getattr(config, name)) is int for name in sizes)
    agent = make_ppo_train(
        config, make("Probe-Action", np.int64(2)), num_updates=np.int32(3)
    )
    report = jax.eval_shape(agent, jax.random.key(0))[1]
    assert report.episodes.shape == (3,)
    with pytest.raises(ValueError, match=r"`epochs` should be an integer\. Found 2\.0"):
        PPOConfig(epochs=2.0)


def bits(tree):
    arrays = [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(tree)
    ]
    return [np.asarray(x).tobytes() for x in arrays]


def test_the_same_key_gives_the_same_bits():
    config = PPOConfig(rollout_length=4, epochs=2, minibatch_size=5)
    agent = make_ppo(config, make("Probe-Action", 3))
    update = jax.jit(agent.update)
    first, report = update(agent.init(jax.random.key(0)))
    again = update(jax.tree.map(jnp.array, agent.init(jax.random.key(0))))[0]
    assert bits(first) == bits(again)
    assert int(first.updates) == 1
    assert report.losses.entropy.shape == ()
    other = update(agent.init(jax.random.key(1)))[0]
    assert bits(first.learner.params) != bits(other.learner.params)
    keys = jax.random.split(jax.random.key(0), 2)
    _, many = jax.eval_shape(
        lambda keys: jax.vmap(agent.update)(jax.vmap(agent.init)(keys)), keys
    )
    assert many.losses.policy_loss.shape == (2,)


def test_a_continuous_policy_is_built():

    space = Box((2,), -1.0, 1.0)
    env = VectorEnv(
        "toy", 3, (4,), np.dtype("float32"), space, 1, False, True, True, len, len
    )

    network = actor_critic(env)
    params, state = network.init(jax.random.key(0), jnp.zeros((3, 4)))
    (parameters, value), _ = network.apply(params, state, jnp.zeros((3, 4)), False)
    action = network.policy.sample(jax.random.key(1), parameters)
    assert (action.shape, value.shape) == ((3, 2), (3,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "`epochs` should be at least 1. Found 0"),
        ({"clip": 0.0}, "`clip` should be above 0. Found 0.0"),
        ({"max_grad_norm": -1.0}, "`max_grad_norm` should be above 0. Found -1.0"),
        ({"discount": 1.5}, r"`discount` should be in \[0, 1\]. Found 1.5"),
        ({"entropy_coef": -0.1}, "`entropy_coef` should be at least 0. Found -0.1"),
        ({"learning_rate": float("nan")}, "`learning_rate` should be above 0"),
        ({"minibatch_size": 999}, "`minibatch_size` should be at most 256, the steps"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_ppo(PPOConfig(**changes), make("Probe-Action", 2))


def test_at_least_one_update():
    with pytest.raises(ValueError, match="`num_updates` should be at least 1"):
        make_ppo_train(PPOConfig(), make("Probe-Action", 2), num_updates=0)
