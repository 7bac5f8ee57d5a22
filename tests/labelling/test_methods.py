"""Every method in the one training loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax.labelling import (
    METHODS,
    Hierarchy,
    LabelData,
    LabellingConfig,
    MainBatch,
    MainTask,
    Network,
    label_use,
    make_method,
    many_headed,
)
from auxjax.models import encoder, linear_head, mlp_head, vgg16
from auxjax.rl import PPOConfig
from auxjax.supervised import epoch_indices

OUTPUTS = {"maxl": (6,), "wa-maxl": (6, 1), "rl": (6, 1), "wa-rl": (6, 21, 1)}
PPO = PPOConfig(epochs=2, minibatch_size=7, entropy_coef=0.01)


@pytest.fixture
def data(blocks):
    images = jax.random.normal(jax.random.key(0), (23, 3))
    labels = (images[:, 0] > 0).astype(jnp.int32)
    human = blocks.inside((images[:, 1] > 0).astype(jnp.int32), labels)
    return LabelData(images, labels, human)


@pytest.fixture
def make(network, blocks):
    """Makes a method with its smallest networks."""

    def build(name, **changes):
        settings = {"batch_size": 5, "eval_size": 8, "rollout_batches": 3, "ppo": PPO}
        config = LabellingConfig(
            method=name, learning_rate=0.3, **{**settings, **changes}
        )
        label_network = network(*OUTPUTS[name]) if name in OUTPUTS else None
        return make_method(config, blocks, network(2, 6), label_network)

    return build


def bits(tree):
    arrays = [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(tree)
    ]
    return [np.asarray(x).tobytes() for x in arrays]


@pytest.mark.parametrize("name", METHODS)
def test_two_epochs_stop_and_go(make, blocks, data, name):
    method = make(name)
    init = lambda seed: method.init(jax.random.key(seed), data)  # noqa: E731
    epoch = jax.jit(method.epoch)
    first, metrics = epoch(init(0), data)
    for value in metrics:
        assert value.shape == ()
        assert np.isfinite(value)
    assert 0 <= metrics.accuracy <= 1
    assert 0 <= metrics.label_use <= 1 + 1e-6
    assert (metrics.reward != 0) == (name in OUTPUTS)
    assert (metrics.label_use > 0) == (metrics.auxiliary > 0) == (name != "single")
    assert bits(first.main.params) != bits(init(0).main.params)
    learns = name in OUTPUTS
    assert (bits(first.label_state) != bits(init(0).label_state)) == learns

    # The state is all there is: host copies go on with the same bits.
    second, _ = epoch(first, data)
    saved = jax.tree.map(jnp.array, first)
    assert bits(epoch(saved, data)[0]) == bits(second)
    assert int(second.epoch) == 2

    assert method.predict(second, data.images).shape == (23, 2)
    if name == "single":
        with pytest.raises(ValueError, match="has no auxiliary labels"):
            method.labels(second, data.images, data.labels)
        return
    made = method.labels(second, data.images, data.labels, data.human)
    assert made.dtype == jnp.int32
    assert (made // blocks.psi == data.labels).all()


@pytest.mark.parametrize("name", ["wa-maxl", "wa-rl"])
def test_many_seeds_at_once(make, data, name):
    method = make(name)
    first, _ = jax.jit(method.epoch)(method.init(jax.random.key(0), data), data)
    seeds = jax.vmap(lambda k: method.init(k, data))(
        jnp.stack([jax.random.key(0), jax.random.key(1)])
    )
    many, _ = jax.jit(jax.vmap(method.epoch, in_axes=(0, None)))(seeds, data)
    for a, b in zip(
        jax.tree.leaves(many.main.params),
        jax.tree.leaves(first.main.params),
        strict=True,
    ):
        np.testing.assert_allclose(a[0], b, rtol=2e-4, atol=1e-5)
        assert (a[0] != a[1]).any()


def test_the_loop_is_plain_training(make, network, data):
    """Human labels, written out: shuffle, step, step."""
    method = make("human", aux_weight=0.5)
    state = method.init(jax.random.key(3), data)
    found, metrics = jax.jit(method.epoch)(state, data)
    task = MainTask(network(2, 6), optax.sgd(0.3), aux_weight=0.5)
    train = jax.jit(task.step)
    key = jax.random.split(jax.random.fold_in(state.key, 0))[0]
    main, losses = state.main._replace(opt_state=task.optimizer.init(None)), []
    for some in epoch_indices(key, 23, 5):
        batch = MainBatch(data.images[some], data.labels[some], data.human[some])
        main, step = train(main, batch)
        losses.append(step)
    for a, b in zip(
        jax.tree.leaves(found.main.params), jax.tree.leaves(main.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    means = jax.tree.map(lambda *x: np.mean(x), *losses)
    np.testing.assert_allclose(metrics[:3], means, rtol=1e-5)


def test_without_weight_the_auxiliary_task_is_none(make, data):
    start = jax.random.key(0)
    after = {}
    for name, weight in (("single", 1.0), ("random", 0.0), ("random", 1.0)):
        method = make(name, aux_weight=weight)
        state = method.init(start, data)
        after[name, weight] = bits(method.epoch(state, data)[0].main.params)
    assert after["single", 1.0] == after["random", 0.0] != after["random", 1.0]


def test_the_learning_rate_halves():
    config = LabellingConfig(halve_every=2)
    rate = config.schedule(0.1, steps_per_epoch=3)
    found = [float(rate(t)) for t in (0, 5, 6, 11, 12)]
    np.testing.assert_allclose(found, [0.1, 0.1, 0.05, 0.05, 0.025])


def test_the_defaults_are_the_papers():
    config = LabellingConfig()
    assert (config.batch_size, config.eval_size, config.aux_weight) == (100, 256, 1)
    assert (config.learning_rate, config.halve_every) == (0.01, 50)
    assert (config.ppo.learning_rate, config.ppo.entropy_coef) == (3e-4, 0.01)
    assert config.ppo.epochs == 10
    assert (config.label_learning_rate, config.label_weight_decay) == (1e-3, 5e-4)
    assert config.entropy_weight == 1
    assert dataclasses.replace(config, method="maxl").entropy_weight == 0.2
    assert dataclasses.replace(config, entropy_coef=0.2).entropy_weight == 0.2


def test_label_use_of_a_method_that_gives_one_label(make, blocks, data):
    method = make("human")
    only = data._replace(human=blocks.inside(data.labels * 0, data.labels))
    state = method.init(jax.random.key(0), only)
    assert float(method.epoch(state, only)[1].label_use) == 0
    counts = jnp.zeros(6).at[data.human].add(1)
    found = float(method.epoch(state, data)[1].label_use)
    assert abs(found - float(label_use(counts, blocks))) < 0.1


@pytest.mark.parametrize("name", METHODS)
def test_labels_as_an_agent_draws_them(make, network, blocks, data, name):
    data = jax.tree.map(lambda x: x[:20], data)  # four whole batches
    method = make(name)
    state = method.init(jax.random.key(0), data)
    state, metrics = jax.jit(method.epoch)(state, data)
    if name not in ("rl", "wa-rl"):
        assert metrics.drawn_label_use == metrics.label_use
        return
    learnt = state.label_state  # it learned before the labels were made
    outputs, _ = network(*OUTPUTS[name]).apply(
        learnt.params, learnt.model_state, data.images, train=False
    )
    counts = np.zeros(blocks.num_labels)
    for logits, label in zip(np.asarray(outputs[0]), data.labels, strict=True):
        block = slice(int(label) * blocks.psi, int(label + 1) * blocks.psi)
        counts[block] += np.exp(logits[block]) / np.sum(np.exp(logits[block]))
    expected = float(label_use(jnp.asarray(counts, jnp.float32), blocks))
    assert metrics.drawn_label_use != metrics.label_use
    np.testing.assert_allclose(metrics.drawn_label_use, expected, rtol=1e-5)


def test_networks_of_the_models_room(data):
    blocks = Hierarchy(2, 3)
    net = lambda *out: many_headed(encoder((3,), features=4), *out)  # noqa: E731
    main = net(mlp_head(4, 2), mlp_head(4, 6))
    label_network = net(linear_head(6), linear_head(1))
    config = LabellingConfig(method="wa-maxl", batch_size=5)
    method = make_method(config, blocks, main, label_network)
    state = method.init(jax.random.key(0), data)
    _, metrics = jax.jit(method.epoch)(state, data)
    assert np.isfinite(metrics.reward)


@pytest.mark.parametrize("name", ["wa-maxl", "wa-rl"])
def test_vgg_16_fits(name):
    """Shapes only: it is a large network, and batch statistics go in and out."""
    images = jnp.zeros((12, 8, 8, 1), jnp.uint8)
    data = LabelData(images, jnp.tile(jnp.array([0, 1]), 6))
    config = LabellingConfig(method=name, batch_size=6, eval_size=8, ppo=PPO)
    nets = (vgg16(out, width=1 / 64) for out in ((2, 6), OUTPUTS[name]))
    method = make_method(config, Hierarchy(2, 3), *nets)
    state = jax.eval_shape(lambda: method.init(jax.random.key(0), data))
    after, metrics = jax.eval_shape(method.epoch, state, data)
    assert metrics.reward.shape == ()
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.leaves(after.label_state.model_state)


def test_networks_with_statistics(blocks, data):
    """The state of a network with a running mean goes where it should."""

    def running(*sizes):
        def init(key, images):
            keys = jax.random.split(key, len(sizes))
            heads = [
                jax.random.normal(k, (3, n)) for k, n in zip(keys, sizes, strict=True)
            ]
            return heads, {"mean": jnp.zeros(3), "seen": jnp.zeros((), jnp.int32)}

        def apply(params, state, images, train):
            mean = jnp.mean(images, 0) if train else state["mean"]
            x = images - mean[None]
            if train:
                mean = 0.9 * state["mean"] + 0.1 * mean
                state = {"mean": mean, "seen": state["seen"] + 1}
            return tuple(x @ head for head in params), state

        return Network(init, apply)

    for name, of_main, of_maker in (("maxl", 4, 4), ("rl", 4, 2 * -(-20 // 7))):
        config = LabellingConfig(method=name, batch_size=5, eval_size=8, ppo=PPO)
        method = make_method(config, blocks, running(2, 6), running(*OUTPUTS[name]))
        state, _ = method.epoch(method.init(jax.random.key(0), data), data)
        assert int(state.main.model_state["seen"]) == of_main
        assert int(state.label_state.model_state["seen"]) == of_maker


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.full(23, 2)}, "`labels` should be from 0 to 1. Found 2 to 2"),
        (
            {"labels": np.zeros(23, int)},
            r"every class of 0 … 1. Found no sample",
        ),
        ({"labels": np.zeros(22, int)}, "`labels` should be one number per image"),
        ({"human": np.full(23, 6)}, "`human` should be from 0 to 5. Found 6 to 6"),
        ({"human": np.full(23, 1)}, "`human` should lie in its class's block, 3 to 5"),
        ({"human": np.zeros(23)}, "`human` should be integers. Found float64"),
        ({"human": None}, "`human` should be given for the method `human`"),
    ],
)
def test_bad_data(make, data, change, message):
    with pytest.raises(ValueError, match=message):
        make("human").init(jax.random.key(0), data._replace(**change))


def test_bad_sizes_and_networks(make, network, blocks, data):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="`batch_size` should be at most 23, the numb"):
        make("human", batch_size=24).init(key, data)
    with pytest.raises(ValueError, match="`eval_size` should be at most 23"):
        make("rl", eval_size=24).init(key, data)
    many = PPOConfig(minibatch_size=21)  # 23 images are four batches of five
    with pytest.raises(ValueError, match=r"`ppo\.minibatch_size` should be at most 20"):
        make("rl", ppo=many, rollout_batches=5).init(key, data)
    config = LabellingConfig(method="rl", batch_size=5, eval_size=8, ppo=PPO)
    with pytest.raises(
        ValueError, match="`label_network` should be a network for method"
    ):
        make_method(config, blocks, network(2, 6))
    wrong = make_method(config, blocks, network(2, 5), network(6, 1))
    with pytest.raises(ValueError, match=r"`main` should make outputs of shapes \(\(1"):
        wrong.init(key, data)
    wrong = make_method(config, blocks, network(2, 6), network(6, 21, 1))
    with pytest.raises(
        ValueError, match="`label_network` should make outputs of shapes"
    ):
        wrong.init(key, data)
    with pytest.raises(ValueError, match="`heads` should be at least one"):
        many_headed(encoder((3,)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "best"}, "`method` should be one of single, human, random"),
        ({"meta_method": "x"}, "`meta_method` should be one of exact, difference"),
        ({"restore": "x"}, "`restore` should be one of epoch, batch, never"),
        ({"batch_size": 0}, "`batch_size` should be at least 1. Found 0"),
        ({"learning_rate": 0.0}, "`learning_rate` should be above 0"),
        ({"aux_weight": -1.0}, "`aux_weight` should be at least 0. Found -1.0"),
        ({"entropy_coef": float("nan")}, "`entropy_coef` should be at least 0"),
        ({"weight_formula": "x"}, '`formula` should be "paper" or "code"'),
        ({"num_weights": 1}, "`num_classes` should be at least 2. Found 1"),
    ],
)
def test_what_a_config_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        LabellingConfig(**changes)
