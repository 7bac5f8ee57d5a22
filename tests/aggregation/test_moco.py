import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

STEPS = 8
PLAIN = {"tracking_rate": 0.1, "learning_rate": 0.1, "regularisation": 0.1}
FAST = {"tracking_rate": 0.7, "learning_rate": 0.02, "regularisation": 0.0}


def project(x):
    """Onto the simplex, by bisection on what is subtracted."""
    low, high = x.min() - 1.0, x.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if np.maximum(x - middle, 0).sum() > 1 else (low, middle)
        )
    return np.maximum(x - middle, 0)


def algorithm(rows, masks=None, *, tracking_rate, learning_rate, regularisation):
    """The gradients and λ of each step, from Jacobians `[steps, T, n]`."""
    num_tasks = rows.shape[1]
    y, lam = np.zeros(rows.shape[1:]), np.full(num_tasks, 1 / num_tasks)
    masks = np.ones(rows.shape[:2], bool) if masks is None else masks
    found = []
    for jac, here in zip(rows, masks, strict=True):
        y, lam = y.copy(), lam.copy()
        y[here] -= tracking_rate * (y[here] - jac[here])
        own, some = lam[here], y[here]
        slope = some @ (some.T @ own) + regularisation * own
        lam[here] = project(own - learning_rate * slope)
        found.append((lam[here] @ some, lam))
    return [np.array(x) for x in zip(*found, strict=True)]


@functools.cache
def compiled(num_tasks, **options):
    tx = auxjax.moco(num_tasks, **options)

    @jax.jit
    def run(rows, masks):
        def step(state, now):
            g, state = tx.update(now[0], state, task_mask=now[1])
            return state, (g, state.weights)

        return jax.lax.scan(step, tx.init(rows[0, 0]), (rows, masks))

    def call(rows, masks=None):
        masks = np.ones(rows.shape[:2], bool) if masks is None else masks
        return run(jnp.asarray(rows), jnp.asarray(masks))

    return call


def noisy(num_tasks, size=6, steps=STEPS):
    rng = np.random.default_rng(num_tasks)
    mean = rng.normal(size=(num_tasks, size))
    return mean + 0.5 * rng.normal(size=(steps, num_tasks, size))


@pytest.mark.parametrize("options", [PLAIN, FAST], ids=["plain", "fast"])
@pytest.mark.parametrize("num_tasks", [2, 3, 40])
def test_equals_the_algorithm(x64, num_tasks, options):
    rows = noisy(num_tasks)
    state, (found, weights) = compiled(num_tasks, **options)(rows)
    expected, lam = algorithm(rows, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(weights, lam, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(state.weights, lam[-1], rtol=1e-9, atol=1e-11)
    assert np.ptp(lam[-1]) > 0.01  # the weights have come apart


def test_absent_tasks_stay_as_they_are(x64):
    rows, masks = noisy(3), np.ones((STEPS, 3), bool)
    masks[1:4, 2], masks[5, 0] = False, False
    spoilt = np.where(masks[..., None], rows, np.nan)
    _, (found, weights) = compiled(3, **FAST)(spoilt, masks)
    expected, lam = algorithm(rows, masks, **FAST)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(weights, lam, rtol=1e-9, atol=1e-11)


def test_on_one_batch_for_good_it_comes_to_mgda(x64, make_rows):
    rows = make_rows(4, 6)
    many = np.tile(rows, (4000, 1, 1))
    options = {"tracking_rate": 0.1, "learning_rate": 0.05, "regularisation": 0.0}
    _, (found, weights) = compiled(4, **options)(many)
    w = np.asarray(auxjax.mgda_weights(jnp.asarray(rows @ rows.T)))
    np.testing.assert_allclose(weights[-1], w, atol=1e-6)
    np.testing.assert_allclose(found[-1], w @ rows, atol=1e-6)


def test_noise_does_not_bias_it():
    """MGDA on each batch is a quarter short; tracked, the mean step is the true one."""
    rng = np.random.default_rng(0)
    truth = np.array([[1.0, 0.2, 0.0], [0.2, 1.0, 0.0]])
    noise = 2.0 * rng.normal(size=(6000, 2, 3))
    rows = (truth + noise).astype(np.float32)
    options = {"tracking_rate": 0.01, "learning_rate": 0.02, "regularisation": 0.0}
    _, (found, _) = compiled(2, **options)(rows)
    exact = np.array([0.6, 0.6, 0.0])  # half of each
    mine = np.asarray(found[1000:]).mean(axis=0)
    weigh = jax.jit(jax.vmap(auxjax.mgda_weights))
    w = np.asarray(weigh(jnp.einsum("kin,kjn->kij", rows, rows)))
    theirs = np.einsum("ki,kin->kn", w, rows)[1000:].mean(axis=0)
    assert np.linalg.norm(mine - exact) < 0.1 * np.linalg.norm(exact)
    assert np.linalg.norm(theirs) < 0.8 * np.linalg.norm(exact)


def model(params, x):
    features = jnp.tanh(x @ params["body"])
    return tuple(jnp.mean((features @ params[h] - i) ** 2) for i, h in enumerate("ab"))


PARAMS = {
    "a": jnp.array([1.0, -1.0]),
    "b": jnp.array([0.5, 0.5]),
    "body": jnp.array([[0.5, -0.3], [0.2, 0.8]]),
}


@pytest.mark.parametrize("where", [None, {"a": False, "b": False, "body": True}])
def test_heads_keep_the_gradient_of_now(where):
    tx, state = auxjax.moco(where=where, **PLAIN), None
    seen = []
    for seed in range(3):
        x = jax.random.normal(jax.random.key(seed), (8, 2))
        jac = auxjax.task_jacobian(model, PARAMS, x)
        state = tx.init(PARAMS) if state is None else state
        found, state = tx.update(jac, state, PARAMS)
        seen.append(np.asarray(jac.rows()["body"], np.float64).reshape(2, -1))
        total = jac.vjp(jnp.ones(2))
        for head in "ab":
            np.testing.assert_allclose(found[head], total[head], rtol=1e-5)
    expected, lam = algorithm(np.array(seen), **PLAIN)
    np.testing.assert_allclose(found["body"].reshape(-1), expected[-1], rtol=1e-4)
    np.testing.assert_allclose(state.weights, lam[-1], rtol=1e-5)
    memory = [x is not None for x in state.tracked]
    assert memory == ([True] * 3 if where is None else [False, False, True])
    if where is None:
        assert not np.any(state.tracked[0])


def test_gradients_in_half_precision_are_tracked_in_single():
    """256 ± 1 is 256 in bfloat16: steps of 1/100 would be lost."""
    params = jnp.zeros(1, jnp.bfloat16)
    tx = auxjax.moco(tracking_rate=0.01, learning_rate=0.0)
    rows = jnp.full((2, 1), 256.0, jnp.bfloat16)
    state = tx.init(params)
    update = jax.jit(tx.update)
    for _ in range(5):
        found, state = update(rows, state, params)
    assert found.dtype == jnp.bfloat16
    expected = 256 * (1 - 0.99**5)
    np.testing.assert_allclose(state.tracked[0], expected, rtol=1e-5)
    np.testing.assert_allclose(float(found[0]), expected, rtol=1e-2)


def test_complex_and_integer_parameters():
    params = {"z": jnp.array([1 + 2j, 3 - 1j]), "n": jnp.array([3])}

    def losses(p):
        return jnp.sum(jnp.abs(p["z"]) ** 2), p["z"][0].real * p["n"][0].astype(float)

    tx = auxjax.moco(tracking_rate=1.0, learning_rate=0.0)
    jac = auxjax.task_jacobian(losses, params)
    found, state = tx.update(jac, tx.init(params), params)
    np.testing.assert_allclose(found["z"], jac.vjp(jnp.full(2, 0.5))["z"], rtol=1e-6)
    assert found["n"].dtype == jax.dtypes.float0
    assert [None if x is None else x.shape for x in state.tracked] == [None, (2, 2, 2)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_batch_that_is_not_finite_leaves_no_trace(bad):
    tx, rows = auxjax.moco(), jnp.eye(2) * 2.0
    _, before = tx.update(rows, tx.init(rows[0]))
    found, after = tx.update(rows.at[0, 1].set(bad), before)
    assert not np.all(np.isfinite(found))
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_behind_logarithms_the_units_do_not_count():
    def losses(p, unit):
        return jnp.sum(p**2) + 1, unit * (jnp.sum((p - 1) ** 2) + 1)

    tx = optax.chain(auxjax.scale_by_log_loss(), auxjax.moco())
    params = jnp.array([0.3, -0.5])
    found = []
    for unit in (1.0, 1000.0):
        state = tx.init(params)
        for _ in range(3):
            jac = auxjax.task_jacobian(losses, params, unit)
            g, state = tx.update(jac, state, params)
        found.append(g)
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_refusals():
    for options, message in [
        ({"num_tasks": 0}, "`num_tasks` should be at least 1. Found 0."),
        ({"tracking_rate": 0.0}, r"`tracking_rate` should be in \(0, 1\]. Found 0.0."),
        ({"learning_rate": -0.1}, "`learning_rate` should be finite and at least 0."),
        ({"regularisation": np.inf}, "`regularisation` should be finite and at least"),
    ]:
        with pytest.raises(ValueError, match=message):
            auxjax.moco(**options)
    tx = auxjax.moco(2)
    with pytest.raises(ValueError, match="`num_tasks` should be 3"):
        tx.update(jnp.ones((3, 2)), tx.init(jnp.zeros(2)))
