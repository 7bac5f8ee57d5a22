"""The environment against the paper's loop, written out in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax.labelling import (
    EnvParams,
    LabellingEnv,
    MainTask,
    batch_entropy,
    focal_loss_of_logits,
)

SAMPLES, BATCH, EVAL = 14, 4, 6
RATE, DECAY, LAMBDA, C = 0.3, 0.9, 0.5, 0.7


@pytest.fixture
def world(network, blocks):
    """Makes an environment and its parameters, in the dtype that is on."""

    def make(**changes):
        task = MainTask(
            network(2, 6), optax.sgd(RATE, momentum=DECAY), aux_weight=LAMBDA
        )
        env = LabellingEnv(
            task, blocks, batch_size=BATCH, eval_size=EVAL, entropy_coef=C, **changes
        )
        images = jax.random.normal(jax.random.key(0), (SAMPLES, 3))
        labels = (images[:, 0] > 0).astype(jnp.int32)
        main = task.init(jax.random.key(1), images)
        return env, EnvParams(images, labels, main)

    return make


class PaperLoop:
    """Section 4 of the paper, one image after the other, in plain Python and NumPy."""

    def __init__(self, params, order, draws, weighted):
        self.x, self.y = np.asarray(params.images), np.asarray(params.labels)
        main = params.main.params
        self.weights = [np.array(w) for w in (main["trunk"], *main["heads"])]
        self.momentum = [np.zeros_like(w) for w in self.weights]
        self.order, self.draws, self.weighted = order, draws, weighted
        self.batch, self.given = 0, []

    def step(self, action):
        image = self.order[self.batch][len(self.given)]
        label, weight = action if self.weighted else (action, 10)
        self.given.append(
            (3 * self.y[image] + label % 3, 2.0 ** (10 * weight / 20 - 5))
        )
        if len(self.given) < BATCH:
            return 0.0, False
        self.train(
            self.order[self.batch], *map(np.array, zip(*self.given, strict=True))
        )
        reward = -self.loss(self.draws[self.batch])
        share = np.bincount([a for a, _ in self.given], minlength=6) / BATCH
        reward -= C * sum(p * np.log(p) for p in share if p > 0)
        self.given, self.batch = [], self.batch + 1
        return reward, self.batch == len(self.order)

    def forward(self, images):
        h = np.tanh(self.x[images] @ self.weights[0])
        return h, softmax(h @ self.weights[1]), softmax(h @ self.weights[2])

    def loss(self, images):
        p = self.forward(images)[1][np.arange(len(images)), self.y[images]]
        return np.mean(-((1 - p) ** 2) * np.log(p))

    def train(self, images, targets, factors):
        h, primary, auxiliary = self.forward(images)
        d1 = focal_slope(primary, self.y[images]) / BATCH
        d2 = focal_slope(auxiliary, targets) * (LAMBDA * factors / BATCH)[:, None]
        back = (d1 @ self.weights[1].T + d2 @ self.weights[2].T) * (1 - h**2)
        slopes = [self.x[images].T @ back, h.T @ d1, h.T @ d2]
        self.momentum = [
            DECAY * m + g for m, g in zip(self.momentum, slopes, strict=True)
        ]
        self.weights = [
            w - RATE * m for w, m in zip(self.weights, self.momentum, strict=True)
        ]


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def focal_slope(probabilities, labels):
    """d/dz of −(1 − p)² log p, with p = softmax(z)[label]."""
    rows = np.arange(len(labels))
    p = probabilities[rows, labels]
    outer = 2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p
    inner = -p[:, None] * probabilities
    inner[rows, labels] += p
    return outer[:, None] * inner


def some_actions(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(6, size=steps)
    if not env.weighted:
        return labels.astype(np.int32)
    return np.stack([labels, rng.integers(21, size=steps)], axis=1).astype(np.int32)


@pytest.mark.parametrize("weighted", [False, True])
def test_every_transition_is_that_of_the_papers_loop(world, weighted, x64):
    env, params = world(weighted=weighted)
    _, state = env.reset(jax.random.key(2), params)
    order = np.asarray(state.order)
    assert order.shape == (3, BATCH)
    judged = np.asarray(state.judged)
    assert judged.shape == (2, EVAL)
    assert len(set(judged.reshape(-1).tolist())) == 2 * EVAL  # none twice
    loop = PaperLoop(params, order, [judged[i % 2] for i in range(3)], weighted)
    step = jax.jit(env.step)
    for t, action in enumerate(some_actions(env, 3 * BATCH)):
        expected, over = loop.step(action)
        seen, state, reward, terminated, truncated, info = step(
            jax.random.key(t), state, jnp.asarray(action), params
        )
        np.testing.assert_allclose(reward, expected, rtol=1e-6, atol=1e-12)
        assert (bool(terminated), bool(truncated)) == (over, False)
        assert bool(info["trained"]) == (t % BATCH == BATCH - 1)
        main = state.main.params
        for found, wanted in zip(
            [main["trunk"], *main["heads"]], loop.weights, strict=True
        ):
            assert found.dtype == jnp.float64
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13)
        following = order.reshape(-1)[min(t + 1, 3 * BATCH - 1)]
        np.testing.assert_array_equal(seen.image, params.images[following])
        assert int(seen.label) == int(params.labels[following])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("restore", ["epoch", "batch"])
def test_a_batch_at_once_is_the_same(world, weighted, restore):
    env, params = world(weighted=weighted, restore=restore)
    key = jax.random.key(3)
    _, one = env.reset(key, params)
    seen, whole = env.reset_batch(key, params)
    assert seen.image.shape == (BATCH, 3)
    actions = some_actions(env, 3 * BATCH).reshape(3, BATCH, *[2] * weighted)
    step, step_batch = jax.jit(env.step), jax.jit(env.step_batch)
    for batch in actions:
        for action in batch:
            _, one, reward, over, _, info = step(key, one, jnp.asarray(action), params)
        seen, whole, *same = step_batch(key, whole, jnp.asarray(batch), params)
        for a, b in zip(
            jax.tree.leaves((one.main, reward, over, info)),
            jax.tree.leaves((whole.main, same[0], same[1], same[3])),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        assert (int(one.batch), int(one.position)) == (int(whole.batch), 0)
    assert bool(over)
    np.testing.assert_array_equal(seen.label, params.labels[whole.order[-1]])


def test_after_its_end_an_episode_does_nothing(world):
    env, params = world()
    key, actions = jax.random.key(0), jnp.zeros(BATCH, jnp.int32)
    _, whole = env.reset_batch(key, params)
    for _ in range(3):
        _, whole, _, over, *_ = env.step_batch(key, whole, actions, params)
    assert bool(over)
    _, later, reward, over, _, info = env.step_batch(key, whole, actions, params)
    assert (float(reward), bool(over), bool(info["trained"])) == (0.0, True, False)
    assert bits(later.main) == bits(whole.main)
    assert int(later.batch) == 3
    step = jax.jit(env.step)
    for _ in range(2 * BATCH):
        _, later, reward, over, _, info = step(key, later, actions[0], params)
        assert (float(reward), bool(over), bool(info["trained"])) == (0.0, True, False)
    assert bits(later.main) == bits(whole.main)


def test_weights_outside_their_classes_are_the_nearest(world):
    env, params = world(weighted=True)
    key = jax.random.key(0)
    _, state = env.reset_batch(key, params)
    for wild, tame in ((400, 20), (-3, 0)):
        found = [
            env.step_batch(key, state, jnp.array([[1, w]] * BATCH), params)[1]
            for w in (wild, tame)
        ]
        assert bits(found[0].main) == bits(found[1].main)


def test_the_main_task_may_be_a_regression(world):
    """Its targets reach the loss as they are, in training and in the reward."""
    env, params = world()
    targets = jnp.outer(jnp.linspace(0.1, 0.9, SAMPLES), jnp.ones(2))

    def square(output, wanted):
        return jnp.sum(jnp.square(output - wanted), axis=1)

    task = dataclasses.replace(env.task, primary_loss=square)
    env = dataclasses.replace(env, task=task, entropy_coef=0.0)
    params = params._replace(targets=targets)
    key = jax.random.key(0)
    _, state = env.reset_batch(key, params)
    _, after, reward, *_ = env.step_batch(
        key, state, jnp.zeros(BATCH, jnp.int32), params
    )
    judged = state.judged[0]
    outputs = task.predict(after.main, params.images[judged])
    expected = -jnp.mean(square(outputs, targets[judged]))
    np.testing.assert_allclose(reward, expected, rtol=1e-6)


def bits(tree):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


def test_the_canonical_network_comes_back_and_can_be_replaced(world):
    env, params = world()
    key = jax.random.key(0)
    _, state = env.reset_batch(key, params)
    actions = jnp.zeros(BATCH, jnp.int32)
    state = env.step_batch(key, state, actions, params)[1]
    assert bits(state.main) != bits(params.main)
    assert bits(env.reset(key, params)[1].main) == bits(params.main)
    kept = env.keep(state, params)
    assert bits(env.reset(key, kept)[1].main) == bits(state.main)
    env = dataclasses.replace(env, restore="batch")
    state = env.step_batch(key, state._replace(main=params.main), actions, params)[1]
    assert bits(state.main) == bits(params.main)


def test_no_reward_is_computed_to_train_the_main_network(world):
    env, params = world()
    calls = []

    def counted(logits, labels):
        calls.append(logits.shape[0])
        return focal_loss_of_logits(logits, labels)

    env = dataclasses.replace(
        env, task=dataclasses.replace(env.task, primary_loss=counted)
    )
    key, actions = jax.random.key(0), jnp.arange(BATCH, dtype=jnp.int32)
    found = {}
    for mode in ("agent", "main"):
        calls.clear()
        one = dataclasses.replace(env, mode=mode)
        _, state = one.reset_batch(key, params)
        _, state, reward, *_ = one.step_batch(key, state, actions, params)
        found[mode] = bits(state.main), float(reward), list(calls)
    assert found["agent"][0] == found["main"][0]
    assert found["agent"][1] != 0
    assert found["main"][1] == 0
    assert found["agent"][2] == [BATCH, EVAL]
    assert found["main"][2] == [BATCH]


def test_the_steps_own_key_decides_nothing(world):
    env, params = world()
    _, state = env.reset_batch(jax.random.key(0), params)
    actions = jnp.zeros(BATCH, jnp.int32)
    a, b = (env.step_batch(jax.random.key(i), state, actions, params) for i in (1, 2))
    assert float(a[2]) == float(b[2])
    other = env.reset_batch(jax.random.key(1), params)[1]
    assert other.order.tolist() != state.order.tolist()


def test_an_even_use_of_labels_pays(world):
    env, params = world()
    key = jax.random.key(0)
    _, state = env.reset_batch(key, params)
    _, _, reward, _, _, info = env.step_batch(
        key, state, jnp.arange(BATCH, dtype=jnp.int32), params
    )
    given = env.hierarchy.inside(
        jnp.arange(BATCH, dtype=jnp.int32), params.labels[state.order[0]]
    )
    expected = batch_entropy(jax.nn.one_hot(given, 6))
    np.testing.assert_allclose(info["entropy"], expected, rtol=1e-6)
    np.testing.assert_allclose(reward, -info["loss"] + C * expected, rtol=1e-6)
    assert float(env.step_batch(key, state, jnp.zeros(BATCH, jnp.int32), params)[5][
        "entropy"
    ]) < float(expected)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "`batch_size` should be at least 1. Found 0"),
        ({"eval_size": 0}, "`eval_size` should be at least 1. Found 0"),
        ({"mode": "both"}, '`mode` should be "agent" or "main". Found both'),
        ({"restore": "never"}, '`restore` should be "epoch" or "batch". Found never'),
        ({"weight_formula": "x"}, '`formula` should be "paper" or "code"'),
        ({"batch_size": 15}, "`batch_size` should be at most 14"),
        ({"eval_size": 15}, "`eval_size` should be at most 14"),
        ({"entropy_coef": -1.0}, "`entropy_coef` should be at least 0"),
        ({"entropy_coef": float("nan")}, "`entropy_coef` should be at least 0"),
    ],
)
def test_what_is_refused(world, changes, message):
    env, params = world()
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(env, **changes).reset(jax.random.key(0), params)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([5] * SAMPLES, "`labels` should be from 0 to 1. Found 5 to 5"),
        ([1] * SAMPLES, r"Found no sample of \[0\]"),
        ([0, 1], "`labels` should be 14, as many as there are images. Found 2"),
    ],
)
def test_labels_that_are_refused(world, labels, message):
    env, params = world()
    with pytest.raises(ValueError, match=message):
        env.reset(jax.random.key(0), params._replace(labels=jnp.array(labels)))


def test_a_weight_below_zero_is_refused(world):
    env, _ = world()
    with pytest.raises(ValueError, match="`aux_weight` should be at least 0"):
        dataclasses.replace(env.task, aux_weight=-1.0)
