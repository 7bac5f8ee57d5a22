"""MoDo, against NumPy and TorchJD's numbers."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

GOLDEN = Path(__file__).parents[1] / "aggregation" / "golden"
GOLDEN = json.loads((GOLDEN / "torchjd_all_matter.json").read_text())["modo"]
STEPS = 9
NAMES = ("updates", "second_jacobian", "third_jacobian")
PLAIN = {"learning_rate": 0.1, "regularisation": 0.1}
SLOW = {"learning_rate": 0.01, "regularisation": 0.0}


def project(x):
    """Onto the simplex, by bisection on what is subtracted."""
    low, high = x.min() - 1.0, x.max()
    for _ in range(200):
        middle = (low + high) / 2
        if np.maximum(x - middle, 0).sum() > 1:
            low = middle
        else:
            high = middle
    return np.maximum(x - middle, 0)


def algorithm(batches, given, masks=None, *, learning_rate, regularisation):
    """λ of each step, from Jacobians `[steps, 3, T, n]` of which some are given."""
    lam = np.full(batches.shape[2], 1 / batches.shape[2])
    masks = np.ones((len(batches), len(lam)), bool) if masks is None else masks
    found = []
    for jacs, here in zip(batches, masks, strict=True):
        one, two = {1: jacs[[0, 0]], 2: jacs[:2], 3: jacs[1:]}[given]
        own, lam = lam[here], lam.copy()
        slope = one[here] @ (two[here].T @ own) + regularisation * own
        lam[here] = project(own - learning_rate * slope)
        found.append(lam)
    return np.array(found)


@functools.cache
def compiled(num_tasks, given, **options):
    tx = auxjax.scale_by_modo(num_tasks, **options)

    @jax.jit
    def run(batches, masks):
        def step(state, now):
            jacs, mask = now
            more = dict(zip(NAMES[1:given], jacs[1:given], strict=True))
            rows, state = tx.update(jacs[0], state, task_mask=mask, **more)
            return state, (rows.grads, state.weights)

        return jax.lax.scan(step, tx.init(batches[0, 0, 0]), (batches, masks))[1]

    def call(batches, masks=None):
        shape = (len(batches), num_tasks)
        masks = np.ones(shape, bool) if masks is None else masks
        return run(jnp.asarray(batches), jnp.asarray(masks))

    return call


def draw(num_tasks, size=6):
    rng = np.random.default_rng(num_tasks)
    mean = rng.normal(size=(num_tasks, size))
    return mean + 0.5 * rng.normal(size=(STEPS, 3, num_tasks, size))


@pytest.mark.parametrize("options", [PLAIN, SLOW], ids=["plain", "slow"])
@pytest.mark.parametrize("given", [1, 2, 3])
@pytest.mark.parametrize("num_tasks", [2, 3, 40])
def test_equals_the_algorithm(x64, num_tasks, given, options):
    batches = draw(num_tasks)
    rows, weights = compiled(num_tasks, given, **options)(batches)
    expected = algorithm(batches, given, **options)
    np.testing.assert_allclose(weights, expected, rtol=1e-9, atol=1e-11)
    scaled = expected[..., None] * batches[:, 0]
    np.testing.assert_allclose(rows, scaled, rtol=1e-9, atol=1e-11)
    assert np.ptp(expected[-1]) > 1e-3  # the weights have come apart


@pytest.mark.parametrize("case", range(len(GOLDEN)))
def test_equals_torchjd(x64, case):
    case = GOLDEN[case]
    pairs = np.array(case["pairs"]).reshape(5, 2, 3, 4)
    options = case["options"]
    run = compiled(3, 2, learning_rate=options["gamma"], regularisation=options["rho"])
    batches = np.concatenate([pairs, pairs[:, :1]], axis=1)
    _, weights = run(batches)
    np.testing.assert_allclose(weights, case["weights"], rtol=1e-7, atol=1e-9)


def test_absent_tasks_keep_their_weight(x64):
    batches, masks = draw(4), np.ones((STEPS, 4), bool)
    masks[1:4, 2], masks[5, 0] = False, False
    spoilt = np.where(masks[:, None, :, None], batches, np.nan)
    rows, weights = compiled(4, 3, **SLOW)(spoilt, masks)
    expected = algorithm(batches, 3, masks, **SLOW)
    np.testing.assert_allclose(weights, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(np.asarray(rows)[~masks], 0)


def model(params, x):
    features = jnp.tanh(x @ params["body"])
    return tuple(jnp.mean((features @ params[h] - i) ** 2) for i, h in enumerate("abc"))


PARAMS = {
    "a": jnp.array([1.0, -1.0]),
    "b": jnp.array([0.5, 0.5]),
    "body": jnp.array([[0.5, -0.3], [0.2, 0.8]]),
    "c": jnp.array([-0.5, 2.0]),
}


@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
@pytest.mark.parametrize("given", [1, 2, 3])
def test_heads_neither_count_nor_are_scaled(kind, given):
    x = [jax.random.normal(jax.random.key(i), (8, 2)) for i in range(3)]
    jacs = [auxjax.task_jacobian(model, PARAMS, batch) for batch in x]
    where = {"a": False, "b": False, "body": True, "c": False}
    tx = auxjax.modo(3, where=where if kind == "stacked" else None, **PLAIN)
    given_jacs = [j.rows() for j in jacs] if kind == "stacked" else jacs
    more = dict(zip(NAMES[1:given], given_jacs[1:given], strict=True))
    found, state = tx.update(given_jacs[0], tx.init(PARAMS), PARAMS, **more)
    bodies = np.array([np.asarray(j.rows()["body"]).reshape(3, -1) for j in jacs])
    lam = algorithm(bodies[None], given, **PLAIN)[0]
    np.testing.assert_allclose(state[0].weights, lam, rtol=1e-4)
    np.testing.assert_allclose(found["body"].reshape(-1), lam @ bodies[0], rtol=1e-4)
    total = jacs[0].vjp(jnp.ones(3))
    for head in "abc":
        np.testing.assert_allclose(found[head], total[head], rtol=1e-5)


def test_the_step_of_the_paper_from_two_batches():
    """`updates` of both together, λ from one against the other."""
    x = [jax.random.normal(jax.random.key(i), (8, 2)) for i in range(2)]
    one, two = (auxjax.task_jacobian(model, PARAMS, batch) for batch in x)
    both = auxjax.task_jacobian(model, PARAMS, jnp.concatenate(x))
    tx = auxjax.modo(3, **PLAIN)
    found, state = tx.update(
        both, tx.init(PARAMS), PARAMS, second_jacobian=one, third_jacobian=two
    )
    rows = [np.asarray(j.rows()["body"]).reshape(3, -1) for j in (one, two)]
    lam = algorithm(np.array([[rows[0], *rows]]), 3, **PLAIN)[0]
    np.testing.assert_allclose(state[0].weights, lam, rtol=1e-4)
    mean = lam @ (rows[0] + rows[1]) / 2
    np.testing.assert_allclose(found["body"].reshape(-1), mean, rtol=1e-4, atol=1e-6)


def test_on_one_batch_for_good_it_comes_to_mgda(x64):
    rows = np.random.default_rng(2).normal(size=(4, 6))
    batches = np.tile(rows, (4000, 3, 1, 1))
    run = compiled(4, 1, learning_rate=0.05, regularisation=0.0)
    _, weights = run(batches)
    w = np.asarray(auxjax.mgda_weights(jnp.asarray(rows @ rows.T)))
    np.testing.assert_allclose(weights[-1], w, atol=1e-8)


def test_a_second_batch_takes_the_bias_out():
    """Noise of unlike size: J Jᵀ sees the noisy task as long, J₁ J₂ᵀ does not."""
    rng = np.random.default_rng(0)
    truth = np.array([[1.0, 0.0, 0.3], [0.0, 1.0, 0.3]])
    noise = rng.normal(size=(4000, 3, 2, 3)) * np.array([[2.0], [0.1]])
    batches = (truth + noise).astype(np.float32)
    options = {"learning_rate": 0.003, "regularisation": 0.0}
    means = {}
    for given in (1, 2, 3):
        _, weights = compiled(2, given, **options)(batches)
        means[given] = np.asarray(weights)[1000:].mean(axis=0)
    assert abs(means[2][0] - 0.5) < 0.06
    assert abs(means[3][0] - 0.5) < 0.06
    assert means[1][0] < 0.2


def test_complex_and_integer_parameters():
    params = {"z": jnp.array([1 + 2j, 3 - 1j]), "n": jnp.array([3])}

    def losses(p):
        z = p["z"]
        return (
            jnp.sum(jnp.abs(z) ** 2),
            z[0].real * p["n"][0].astype(float) + 2 * z[1].imag,
            jnp.sum(z.real * z.imag),
        )

    jac = auxjax.task_jacobian(losses, params)
    rows = np.asarray(jac.rows()["z"])
    flat = np.concatenate([rows.real, rows.imag], axis=1)
    slow = {"learning_rate": 1e-3, "regularisation": 0.0}
    expected = algorithm(flat[None, None].repeat(3, 1), 1, **slow)[0]
    for second in ({}, {"second_jacobian": jac}, {"second_jacobian": jac.rows()}):
        tx = auxjax.scale_by_modo(3, **slow)
        scaled, state = tx.update(jac, tx.init(params), params, **second)
        np.testing.assert_allclose(state.weights, expected, rtol=1e-5)
        assert scaled.rows()["n"].dtype == jax.dtypes.float0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_moves_nobody(bad):
    batches = draw(3).astype(np.float32)
    batches[4, 1, 2, 0] = bad  # of the second batch
    _, weights = compiled(3, 2, **PLAIN)(batches)
    np.testing.assert_array_equal(weights[4], weights[3])
    assert np.all(np.isfinite(weights))
    assert np.any(weights[5] != weights[4])


def test_an_infinite_loss_with_a_finite_gradient_is_left_out(x64):
    jacs = draw(3)[0]
    tx = auxjax.scale_by_modo(3, **PLAIN)
    rows = jnp.asarray(jacs[0])
    losses = jnp.array([1.0, jnp.inf, 1.0])
    _, state = tx.update(rows, tx.init(rows[0]), losses=losses)
    here = np.array([[True, False, True]])
    expected = algorithm(jacs[None], 1, here, **PLAIN)[0]
    np.testing.assert_allclose(state.weights, expected, rtol=1e-10)
    np.testing.assert_array_equal(state.nonfinite, [0, 1, 0])


def test_it_trains_to_a_stationary_point_under_noise():
    """Three bowls: what is left of the gradients' hull is nearly 0."""
    centres = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])

    def losses(p, shift):
        return jnp.sum((p[None] - centres + shift) ** 2, axis=1)

    tx = optax.chain(auxjax.modo(3, learning_rate=0.01, regularisation=0.0))

    def step(carry, key):
        params, state = carry
        noise = 0.5 * jax.random.normal(key, (2, 3, 2))
        jac, other = (auxjax.task_jacobian(losses, params, x) for x in noise)
        g, state = tx.update(jac, state, params, second_jacobian=other)
        return (params - 0.01 * g, state), params

    params = jnp.array([3.0, 4.0])
    keys = jax.random.split(jax.random.key(0), 3000)
    run = jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), keys)[1])
    last = np.asarray(run()[-500:]).mean(axis=0)
    rows = np.asarray(jax.jacobian(losses)(jnp.asarray(last), jnp.zeros((3, 2))))
    w = np.asarray(auxjax.mgda_weights(jnp.asarray(rows @ rows.T)))
    assert np.linalg.norm(w @ rows) < 0.05 * np.linalg.norm(rows)


def test_refusals():
    for options, message in [
        ({"num_tasks": 1}, "`num_tasks` should be at least 2, the main task and one"),
        ({"learning_rate": -0.1}, "`learning_rate` should be at least 0. Found -0.1."),
        ({"regularisation": np.inf}, "`regularisation` should be finite. Found inf."),
    ]:
        with pytest.raises(ValueError, match=message):
            auxjax.modo(**options)
    tx, rows = auxjax.modo(2), jnp.ones((2, 2))
    state = tx.init(rows[0])
    with pytest.raises(ValueError, match="`second_jacobian` should be given with"):
        tx.update(rows, state, third_jacobian=rows)
    with pytest.raises(ValueError, match="`num_tasks` should be 3"):
        tx.update(rows, state, second_jacobian=jnp.ones((3, 2)))
