import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import auxjax

weights = jax.jit(auxjax.nash_mtl_weights, static_argnames="max_norm")


def gramian(rows):
    rows = jnp.asarray(rows, jnp.float32)
    return rows @ rows.T


@pytest.mark.parametrize(
    ("gram", "expected"),
    [
        ([[16.0, 0.0], [0.0, 0.25]], [0.25, 2.0]),  # α = 1 / length
        ([[1.0, 1.0], [1.0, 1.0]], [0.5**0.5, 0.5**0.5]),  # α (α + α) = 1
        ([[1.0, -0.5], [-0.5, 1.0]], [2**0.5, 2**0.5]),  # α (α − α/2) = 1
        ([[0.0, 0.0], [0.0, 4.0]], [0.0, 0.5]),  # a zero row cannot bargain
        ([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]),
    ],
)
def test_two_tasks_by_hand(gram, expected):
    np.testing.assert_allclose(weights(jnp.array(gram)), expected, rtol=1e-5)


def test_is_the_direction_of_the_largest_product_of_gains(make_rows):
    """Σ log⟨∇Lᵢ, d⟩ − ½‖d‖² is largest at ‖d‖² = T: found by BFGS here."""
    rows = make_rows(4, 6, "alike")

    def loss(d):
        gains = rows @ d
        if np.any(gains <= 0):
            return np.inf
        return 0.5 * d @ d - np.log(gains).sum()

    start = rows.mean(axis=0)
    found = scipy.optimize.minimize(loss, start, method="Nelder-Mead", tol=1e-12)
    found = scipy.optimize.minimize(loss, found.x, method="BFGS", tol=1e-10)
    d = rows.T @ np.asarray(weights(gramian(rows)), np.float64)
    np.testing.assert_allclose(d, found.x, atol=1e-4)
    assert np.linalg.norm(d) == pytest.approx(2, rel=1e-5)


def test_the_size_of_a_loss_does_not_matter(make_rows):
    rows = make_rows(5, 9)
    scale = np.array([1e-4, 1.0, 10.0, 1e3, 0.1])[:, None]
    d = rows.T @ np.asarray(weights(gramian(rows)))
    scaled = (rows * scale).T @ np.asarray(weights(gramian(rows * scale)))
    np.testing.assert_allclose(scaled, d, rtol=1e-4, atol=1e-5)


def test_the_length_is_clipped(make_rows):
    rows = make_rows(4, 9)
    free = rows.T @ np.asarray(weights(gramian(rows)))
    clipped = rows.T @ np.asarray(weights(gramian(rows), max_norm=1.0))
    np.testing.assert_allclose(clipped, free / 2, rtol=1e-5)
    long = rows.T @ np.asarray(weights(gramian(rows), max_norm=3.0))
    np.testing.assert_allclose(long, free, rtol=1e-6)
    tx = auxjax.nash_mtl(max_norm=1.0)
    params = jnp.zeros(9)
    d, _ = tx.update(jnp.asarray(rows, jnp.float32), tx.init(params), params)
    np.testing.assert_allclose(d, clipped, rtol=1e-4, atol=1e-6)


def test_all_but_stands_still_where_the_point_is_pareto_stationary():
    """There is no α with Gα = 1/α; ‖d‖ would be √2 elsewhere."""
    rows = np.array([[1.0, 2.0], [-2.0, -4.0]])
    d = rows.T @ np.asarray(weights(gramian(rows)))
    assert np.linalg.norm(d) < 0.05


@pytest.mark.parametrize("max_norm", [0.0, -1.0, np.nan])
def test_refusals(max_norm):
    with pytest.raises(ValueError, match=r"`max_norm` should be positive\. Found"):
        auxjax.nash_mtl(max_norm=max_norm)
