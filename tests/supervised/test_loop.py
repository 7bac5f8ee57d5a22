"""Epochs: what is seen when, and that stopping makes no difference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax.supervised import init_state, make_epoch, make_train

KEY = jax.random.key(5)
SAMPLES, BATCH = 12, 3
# Sample i counts 2^i, so that a sum tells which samples were in it.
POWERS = jnp.asarray(2.0 ** np.arange(SAMPLES), jnp.float32)
EVERY = set(range(SAMPLES))


def sums(params, batch):
    return jnp.sum(batch) + 0 * params, jnp.sum(batch) + params


def samples_in(total):
    return {i for i in range(SAMPLES) if int(total) >> i & 1}


def seen(metrics):
    """The samples in every batch of the epoch: first stream, second stream."""
    streams = metrics.losses[:, 0], metrics.weights[:, 0]
    return [[samples_in(total) for total in stream] for stream in streams]


def epochs(tx, count, **options):
    """What `seen` says of some epochs, one after another."""
    epoch = jax.jit(make_epoch(sums, tx, batch_size=BATCH, **options))
    state, found = init_state(jnp.zeros(()), tx, KEY), []
    for _ in range(count):
        state, metrics = epoch(state, POWERS)
        found.append(seen(metrics))
    assert int(state.step) == count * SAMPLES // BATCH
    return found


def test_both_streams_see_every_sample_once_an_epoch(tell_tale):
    for streams in epochs(tell_tale, 3):
        for batches in streams:
            assert [len(batch) for batch in batches] == [BATCH] * 4
            assert set().union(*batches) == EVERY


def test_the_orders_are_drawn_anew(tell_tale):
    """For each stream, in each epoch."""
    orders = [stream for streams in epochs(tell_tale, 3) for stream in streams]
    assert len({tuple(map(frozenset, order)) for order in orders}) == 6


def test_the_same_stream_twice(tell_tale):
    """The paper's ablation."""
    for first, second in epochs(tell_tale, 2, second_stream="same"):
        assert first == second
    first, second = epochs(tell_tale, 1)[0]
    ablated, _ = epochs(tell_tale, 1, second_stream="same")[0]
    assert first == ablated != second


def test_numbers_of_numpy(assert_same):
    """Under strict promotion, too: the state counts in int32."""

    def run(batch_size, num_epochs):
        options = {"batch_size": batch_size, "num_epochs": num_epochs}
        tx = optax.chain(auxjax.sum_tasks(), optax.sgd(0.1))
        train = jax.jit(make_train(sums, tx, **options))
        return train(init_state(jnp.zeros(()), tx, KEY), POWERS)

    assert_same(run(np.int64(BATCH), np.int64(2)), run(BATCH, 2))


def test_an_epoch_by_numpy():
    """Gradient descent on the batches that the metrics name."""

    def regression(params, batch):
        x, power = batch
        return jnp.mean((x - params) ** 2), jnp.sum(power) + 0 * params

    tx = optax.chain(auxjax.sum_tasks(), optax.sgd(0.1))
    x = jax.random.normal(KEY, (SAMPLES,))
    epoch = jax.jit(make_epoch(regression, tx, batch_size=BATCH))
    state, metrics = epoch(init_state(jnp.zeros(()), tx, KEY), (x, POWERS))
    theta = 0.0
    for loss, total in np.asarray(metrics.losses):
        batch = np.asarray(x)[sorted(samples_in(total))]
        np.testing.assert_allclose(loss, np.mean((batch - theta) ** 2), rtol=1e-4)
        theta -= 0.1 * 2 * (theta - batch.mean())
    np.testing.assert_allclose(state.params, theta, rtol=1e-5)


def rich_losses(params, model_state, batch, key):
    """With everything that has to be remembered: statistics and dropout."""
    x, y = batch
    kept = jax.random.bernoulli(key, 0.8, x.shape).astype(x.dtype)
    out = jnp.tanh((x * kept) @ params["w"])
    found = {"main": jnp.mean((out - y) ** 2), "aux": jnp.mean(jnp.abs(out))}
    return found, 0.9 * model_state + 0.1 * jnp.mean(x)


RICH_TX = auxjax.autolambda(
    optax.sgd(optax.cosine_decay_schedule(0.1, 100), momentum=0.9)
)


@functools.cache
def rich_train(num_epochs=None):
    """Trains so many epochs; None: `make_epoch`'s one."""
    options = {"batch_size": 3, "has_state": True, "has_key": True}
    if num_epochs is None:
        return jax.jit(make_epoch(rich_losses, RICH_TX, **options))
    return jax.jit(make_train(rich_losses, RICH_TX, num_epochs=num_epochs, **options))


def rich_start(seed=0):
    params = {"w": jnp.full(4, 0.1)}
    return init_state(params, RICH_TX, jax.random.key(seed), jnp.zeros(()))


@pytest.fixture(scope="module")
def data():
    keys = jax.random.split(jax.random.key(0), 2)
    return jax.random.normal(keys[0], (10, 4)), jax.random.normal(keys[1], (10,))


def through_numpy(state):
    """As a checkpoint does it."""
    key = jax.random.wrap_key_data(np.asarray(jax.random.key_data(state.key)))
    saved = jax.tree.map(np.asarray, state._replace(key=None))
    return jax.tree.map(jnp.asarray, saved)._replace(key=key)


def test_stopping_makes_no_difference(assert_same, data):
    expected, metrics = rich_train(4)(rich_start(), data)
    assert metrics.losses.shape == metrics.weights.shape == (4, 3, 2)
    half, first = rich_train(2)(rich_start(), data)
    found, second = rich_train(2)(through_numpy(half), data)
    assert_same(found, expected)
    assert_same(
        jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second), metrics
    )
    assert int(expected.step) == 12
    assert not np.allclose(metrics.losses[0], metrics.losses[2])


def test_epochs_one_by_one_are_the_same_run(assert_same, data):
    expected, _ = rich_train(2)(rich_start(), data)
    state = rich_start()
    for _ in range(2):
        state, _ = rich_train()(state, data)
    assert_same(state, expected)


def test_the_model_state_passes_once_a_step():
    def counting(params, model_state, batch, key):
        del key
        return (jnp.mean(batch) * params, params**2), model_state + jnp.sum(batch)

    tx = auxjax.autolambda(optax.sgd(0.01))
    epoch = make_epoch(counting, tx, batch_size=BATCH, has_state=True, has_key=True)
    state = init_state(jnp.ones(()), tx, KEY, jnp.zeros(()))
    state, _ = jax.jit(epoch)(state, POWERS)
    assert float(state.model_state) == 2.0**SAMPLES - 1


def test_seeds_together_as_one_by_one(data):
    states = [rich_start(seed) for seed in range(3)]
    together, metrics = jax.jit(jax.vmap(rich_train(), in_axes=(0, None)))(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), data
    )
    for seed, state in enumerate(states):
        alone, expected = rich_train()(state, data)
        found = jax.tree.map(lambda x, seed=seed: x[seed], (together.params, metrics))
        pairs = zip(
            jax.tree.leaves(found),
            jax.tree.leaves((alone.params, expected)),
            strict=True,
        )
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-5)
    assert not np.allclose(metrics.losses[0], metrics.losses[1])


def test_data_over_eight_devices():
    """Samples lie on all devices; every batch is gathered from all of them."""
    tx = auxjax.autolambda(optax.sgd(0.1, momentum=0.9))

    def losses(params, batch):
        out = jnp.tanh(batch["x"] @ params)
        return jnp.mean((out - batch["y"]) ** 2), jnp.mean(jnp.abs(out))

    keys = jax.random.split(KEY)
    data = {
        "x": jax.random.normal(keys[0], (48, 3)),
        "y": jax.random.normal(keys[1], (48,)),
    }
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(data, jax.NamedSharding(mesh, jax.P("data")))
    epoch = jax.jit(make_epoch(losses, tx, batch_size=16))
    state = init_state(jnp.ones(3), tx, KEY)
    (single, expected), (many, found) = epoch(state, data), epoch(state, sharded)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-5)
    np.testing.assert_allclose(many.params, single.params, rtol=1e-5)


def test_numpy_data_and_keys_as_data(tell_tale):
    def losses(params, batch):
        drawn = jax.vmap(jax.random.uniform)(batch["key"])
        return jnp.mean(drawn) + params, jnp.mean(batch["x"]) * params

    data = {"x": np.ones(4, np.float32), "key": jax.random.split(KEY, 4)}
    epoch = make_epoch(losses, tell_tale, batch_size=4)
    _, metrics = epoch(init_state(jnp.zeros(()), tell_tale, KEY), data)
    mean = jnp.mean(jax.vmap(jax.random.uniform)(data["key"]))
    np.testing.assert_allclose(metrics.losses[0], [mean, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r"`data` should have at least one array\. Found none\."),
        (
            (jnp.ones((5, 2)), jnp.ones(4)),
            r"`data` should have leaves of equal .* shapes \[\(5, 2\), \(4,\)\]\.",
        ),
        (jnp.ones(()), r"`data` should be arrays with a leading axis .*\[\(\)\]\."),
        (jnp.ones(2), r"`batch_size` should be at most 2, .* Found 3\."),
    ],
)
def test_data_that_cannot_be(tell_tale, data, message):
    epoch = make_epoch(sums, tell_tale, batch_size=3)
    with pytest.raises(ValueError, match=message):
        epoch(init_state(jnp.zeros(()), tell_tale, KEY), data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"`batch_size` should be at least 1\. Found 0\."),
        ({"num_epochs": 0}, r"`num_epochs` should be at least 1\. Found 0\."),
        (
            {"second_stream": "other"},
            r'`second_stream` should be "reshuffled" or "same"\. Found \'other\'\.',
        ),
    ],
)
def test_options_that_cannot_be(tell_tale, options, message):
    options = {"batch_size": 2, "num_epochs": 1, **options}
    with pytest.raises(ValueError, match=message):
        make_train(sums, tell_tale, **options)
