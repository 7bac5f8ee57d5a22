"""One step, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax.supervised import init_state, make_step

KEY = jax.random.key(3)


def losses(params, batch):
    """Two bowls: gradients 2 (w - mean x) and 2 w."""
    return {"main": jnp.mean((batch - params["w"]) ** 2), "small": params["w"] ** 2}


def start(tx, model_state=None):
    return init_state({"w": jnp.asarray(2.0)}, tx, KEY, model_state)


def test_equal_weighting_by_hand():
    tx = optax.chain(auxjax.sum_tasks(), optax.sgd(0.1))
    state, metrics = jax.jit(make_step(losses, tx))(start(tx), jnp.array([1.0, 3.0]))
    # w ← 2 − 0.1 (2 (2 − 2) + 2 · 2)
    np.testing.assert_allclose(state.params["w"], 1.6, rtol=1e-6)
    np.testing.assert_allclose(metrics.losses, [1.0, 4.0], rtol=1e-6)
    assert metrics.weights is None
    assert int(state.step) == 1
    assert state.step.dtype == jnp.int32
    assert state.model_state is None


def test_autolambda_by_hand():
    """λᵢ ← λᵢ + β α ∇Lᵢ(w) ∇L_main(w′), by SGD; then w by the new λ."""
    alpha, beta, init = 0.1, 0.5, 0.1
    tx = auxjax.autolambda(
        optax.sgd(alpha), init=init, lambda_optimizer=optax.sgd(beta)
    )
    batch, second = jnp.array([0.0, 2.0]), jnp.array([5.0, 7.0])
    state, metrics = make_step(losses, tx)(start(tx), batch, second)
    w, rows = 2.0, np.array([2 * (2.0 - 1.0), 2 * 2.0])
    ahead = w - alpha * init * rows.sum()
    weights = init + beta * alpha * rows * 2 * (ahead - 6.0)
    np.testing.assert_allclose(metrics.weights, weights, rtol=1e-5)
    np.testing.assert_allclose(state.params["w"], w - alpha * weights @ rows, rtol=1e-5)


def test_any_chain_and_strict_numerics():
    """Adam raises a float to an integer power, which strict promotion refuses."""
    tx = optax.chain(auxjax.olaux(n=1), optax.adam(0.1))
    state, metrics = jax.jit(make_step(losses, tx))(start(tx), jnp.ones(2), jnp.ones(2))
    np.testing.assert_allclose(state.params["w"], 1.9, rtol=1e-5)
    assert metrics.weights.shape == (2,)


def test_a_parameter_called_weights_is_no_rules_weight():
    """Its momentum has a field's name and two entries, like a rule's weights."""

    def of_two(params, batch):
        return jnp.mean((params["weights"] - batch) ** 2), jnp.sum(params["weights"])

    params = {"weights": jnp.ones(2)}
    tx = optax.chain(auxjax.sum_tasks(), optax.sgd(0.1, momentum=0.9))
    step = make_step(of_two, tx)
    assert step(init_state(params, tx, KEY), jnp.ones(2))[1].weights is None
    tx = optax.chain(auxjax.fixed([1.0, 0.5]), optax.sgd(0.1, momentum=0.9))
    metrics = make_step(of_two, tx)(init_state(params, tx, KEY), jnp.ones(2))[1]
    assert metrics.weights.tolist() == [1.0, 0.5]


def test_the_model_state_passes_once():
    """Running statistics as BatchNorm's, which the second batch must not move."""

    def with_state(params, model_state, batch):
        mean, count = model_state
        centred = batch - jnp.mean(batch)
        found = jnp.mean((centred - params["w"]) ** 2), params["w"] ** 2
        return found, (0.9 * mean + 0.1 * jnp.mean(batch), count + 1)

    tx = auxjax.autolambda(optax.sgd(0.1), meta_gradient="finite_difference")
    step = jax.jit(make_step(with_state, tx, has_state=True))
    state = start(tx, (jnp.zeros(()), jnp.zeros((), jnp.int32)))
    expected = 0.0
    for value in (1.0, 4.0):
        state, _ = step(state, jnp.full(3, value), jnp.full(3, 1e6))
        expected = 0.9 * expected + 0.1 * value
    mean, count = state.model_state
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    assert int(count) == 2


def test_keys_differ_between_the_passes_and_the_steps(tell_tale):
    def draws(params, batch, key):
        first = params["w"] * 0 + jax.random.uniform(key)
        return first, jnp.mean(batch) * params["w"]

    step = jax.jit(make_step(draws, tell_tale, has_key=True))
    state, drawn = start(tell_tale), []
    for _ in range(3):
        state, metrics = step(state, jnp.ones(2), jnp.ones(2))
        drawn += [float(metrics.losses[0]), float(metrics.weights[0])]
    assert len(set(drawn)) == 6


def test_state_and_key_together(tell_tale):
    def both(params, model_state, batch, key):
        noise = jax.random.normal(key, batch.shape)
        found = jnp.mean((batch + noise - params["w"]) ** 2), params["w"] ** 2
        return found, model_state + jnp.sum(batch)

    step = make_step(both, tell_tale, has_state=True, has_key=True)
    state, _ = step(start(tell_tale, jnp.zeros(())), jnp.ones(3), 5 * jnp.ones(3))
    assert float(state.model_state) == 3.0


@pytest.mark.parametrize("has_state", [False, True])
def test_a_jitted_loss_keeps_its_order(tell_tale, has_state):
    """A dict that leaves `jit` has sorted keys; "aux" must not become the main one."""

    def plain(params, batch):
        return {"main": jnp.mean(batch) * params["w"], "aux": params["w"] ** 2}

    def stateful(params, model_state, batch):
        return plain(params, batch), model_state

    wrapped = jax.jit(stateful if has_state else plain)
    step = make_step(wrapped, tell_tale, has_state=has_state)
    state = start(tell_tale, jnp.zeros(()) if has_state else None)
    _, metrics = step(state, jnp.full(2, 3.0), jnp.full(2, 5.0))
    assert metrics.losses.tolist() == [6.0, 4.0]
    assert metrics.weights.tolist() == [10.0, 4.0]


def test_without_a_second_batch_the_rule_says_what_it_needs():
    tx = auxjax.autolambda(optax.sgd(0.1))
    with pytest.raises(ValueError, match="needs the losses on a second batch"):
        make_step(losses, tx)(start(tx), jnp.ones(2))


def test_a_chain_that_sums_nothing_up():
    tx = auxjax.scale_by_gcs()
    with pytest.raises(ValueError, match=r"`tx` should sum up .* Found one that"):
        make_step(losses, tx)(start(tx), jnp.ones(2))


@pytest.mark.parametrize("axes", ["Auto", "Explicit"])
def test_a_batch_over_eight_devices(axes):
    """The same step, on a batch that is sharded over a mesh."""
    tx = auxjax.autolambda(optax.sgd(0.1, momentum=0.9))

    def regression(params, batch):
        x, y = batch
        out = jnp.tanh(x @ params["w"])
        return jnp.mean((out - y) ** 2), jnp.mean(jnp.abs(out + y))

    keys = jax.random.split(KEY, 4)
    batches = [
        (jax.random.normal(keys[i], (16, 3)), jax.random.normal(keys[i + 1], (16,)))
        for i in (0, 2)
    ]
    mesh = jax.make_mesh((8,), ("data",), (getattr(jax.sharding.AxisType, axes),))
    sharded = jax.device_put(batches, jax.NamedSharding(mesh, jax.P("data")))
    assert len(sharded[0][0].sharding.device_set) == 8
    step = jax.jit(make_step(regression, tx))
    state = init_state({"w": jnp.ones(3)}, tx, KEY)
    everywhere = jax.device_put(state, jax.NamedSharding(mesh, jax.P()))
    single, many = step(state, *batches), step(everywhere, *sharded)
    for one, other in zip(
        jax.tree.leaves((single[0].params, single[1])),
        jax.tree.leaves((many[0].params, many[1])),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert not np.allclose(single[0].params["w"], 1.0)
