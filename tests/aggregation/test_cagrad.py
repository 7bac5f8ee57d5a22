import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import auxjax

weights = jax.jit(auxjax.cagrad_weights, static_argnames=("c", "rescale"))


def gramian(rows):
    rows = jnp.asarray(rows, jnp.float32)
    return rows @ rows.T


def least_upper_bound(rows, c):
    """The dual objective, minimised over the simplex by SLSQP from many points."""
    g0 = rows.mean(axis=0)
    radius = c * np.linalg.norm(g0)

    def objective(w):
        return rows @ g0 @ w + radius * np.linalg.norm(rows.T @ w)

    size = len(rows)
    starts = [np.full(size, 1 / size), *(0.9 * np.eye(size) + 0.1 / size)]
    return min(
        scipy.optimize.minimize(
            objective,
            start,
            bounds=[(0, 1)] * size,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        ).fun
        for start in starts
    )


def test_two_tasks_by_hand():
    """Orthogonal rows of one length: g₀ and g_w are parallel, d = (1 + c) g₀."""
    for c in (0.0, 0.4, 2.0):
        np.testing.assert_allclose(
            weights(jnp.eye(2), c=c), (1 + c) * np.array([0.5, 0.5]), rtol=1e-6
        )
    w = weights(jnp.eye(2), c=2.0, rescale=True)
    np.testing.assert_allclose(w, [0.3, 0.3], rtol=1e-6)


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9, 1.5])
@pytest.mark.parametrize(("num_tasks", "size"), [(3, 7), (6, 20), (6, 4)])
def test_no_direction_within_the_radius_is_better(make_rows, num_tasks, size, c):
    """Weak duality is the certificate: its gain is the dual's upper bound."""
    rows = make_rows(num_tasks, size)
    d = rows.T @ np.asarray(weights(gramian(rows), c=c), np.float64)
    g0 = rows.mean(axis=0)
    assert np.linalg.norm(d - g0) <= c * np.linalg.norm(g0) * (1 + 1e-4)
    gap = least_upper_bound(rows, c) - (rows @ d).min()
    scale = np.linalg.norm(rows, axis=1).max() * np.linalg.norm(g0)
    assert abs(gap) < 2e-5 * scale


@pytest.mark.parametrize("size", [4, 12, 40])
@pytest.mark.parametrize("c", [1.0, 3.0])
def test_harms_no_task_from_c_1_on(make_rows, size, c):
    rows = make_rows(10, size)
    d = rows.T @ np.asarray(weights(gramian(rows), c=c), np.float64)
    scale = np.linalg.norm(rows, axis=1) * np.linalg.norm(rows, axis=1).max()
    assert np.min(rows @ d / scale) > -1e-4


def test_where_no_task_can_gain_it_is_the_closest_that_harms_none():
    """g_w = 0 for the first two rows; the mean (0, 1) harms neither, and helps."""
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0]])
    for c in (0.4, 1.0):
        d = rows.T @ np.asarray(weights(gramian(rows), c=c))
        np.testing.assert_allclose(d, [0.0, 1.0], atol=1e-5)
    stuck = np.array([[2.0, 0.0], [-1.0, 0.0]])
    for c in (1.0, 1.5):  # 0 is as far away as g₀ is long: on the ball, inside of it
        d = stuck.T @ np.asarray(weights(gramian(stuck), c=c))
        np.testing.assert_allclose(d, [0.0, 0.0], atol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("c", [1.0, 1.5])
def test_stays_in_its_ball_where_no_direction_helps_everybody(c):
    """A positive combination of the rows is 0: only d = 0 harms nobody."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 4, 8))
    shares = rng.uniform(0.2, 3, size=(200, 3))
    rows[:, -1] = -np.einsum("kt,ktn->kn", shares, rows[:, :-1])
    rows[:100] *= 10.0 ** rng.uniform(-2, 2, size=(100, 1, 1))
    g0 = rows.mean(axis=1)
    find = jax.jit(jax.vmap(functools.partial(auxjax.cagrad_weights, c=c)))
    w = find(jnp.asarray(rows @ rows.transpose(0, 2, 1)))
    d = np.einsum("kt,ktn->kn", w, rows)
    length = np.linalg.norm(g0, axis=1)
    assert np.max(np.linalg.norm(d - g0, axis=1) / length - c) < 1e-8
    assert np.max(np.linalg.norm(d, axis=1) / length) < 1e-6
    assert np.max(w) < 100


def test_the_whole_radius_is_used(make_rows):
    """In float32, even where it is small and the rows are unlike."""
    find = jax.jit(jax.vmap(functools.partial(auxjax.cagrad_weights, c=0.01)))
    rows = np.stack([make_rows(5, 9, "unequal lengths", seed) for seed in range(60)])
    rows = np.sign(rows) * np.abs(rows) ** (2 / 3)  # lengths in 1e-2..1e2
    w = find(jnp.asarray(rows @ rows.transpose(0, 2, 1), jnp.float32))
    off = np.einsum("kt,ktn->kn", np.asarray(w, np.float64) - 0.2, rows)
    share = np.linalg.norm(off, axis=1) / np.linalg.norm(rows.mean(axis=1), axis=1)
    np.testing.assert_allclose(share, 0.01, rtol=3e-5)


def test_with_a_mean_of_zero_it_stands_still():
    rows = np.array([[1.0, 2.0], [-1.0, -2.0]])
    d = rows.T @ np.asarray(weights(gramian(rows), c=0.4))
    np.testing.assert_allclose(d, [0.0, 0.0], atol=1e-6)


def test_a_scan_of_steps_can_be_differentiated(make_rows):
    rows = jnp.asarray(make_rows(3, 4), jnp.float32)
    tx = auxjax.cagrad(c=0.4)

    def end(rate):
        def step(params, _):
            d, _ = tx.update(rows * (1 + params[None, :]), tx.init(params), params)
            return params - rate * d, None

        return jnp.sum(jax.lax.scan(step, jnp.zeros(4), None, length=2)[0])

    assert np.isfinite(jax.jit(jax.grad(end))(0.1))


@pytest.mark.parametrize("c", [-0.1, np.inf, np.nan])
def test_refusals(c):
    with pytest.raises(
        ValueError, match=r"`c` should be finite and at least 0\. Found"
    ):
        auxjax.cagrad(c)


def test_the_aggregator_passes_its_arguments_on(make_rows):
    rows = jnp.asarray(make_rows(3, 4), jnp.float32)
    tx = auxjax.cagrad(c=0.7, rescale=True)
    d, _ = jax.jit(functools.partial(tx.update))(rows, tx.init(rows[0]), rows[0])
    w = weights(rows @ rows.T, c=0.7, rescale=True)
    np.testing.assert_allclose(d, w @ rows, rtol=1e-5)
