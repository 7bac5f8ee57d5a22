import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

weights = jax.jit(auxjax.fairgrad_weights, static_argnames="alpha")


def gramian(rows):
    rows = jnp.asarray(rows, jnp.float32)
    return rows @ rows.T


def test_by_hand():
    """Orthogonal rows: wᵢ = lengthᵢ^(−2α / (1 + α))."""
    gram = jnp.diag(jnp.array([64.0, 1.0]))
    np.testing.assert_allclose(weights(gram), [1 / 16, 1.0], rtol=1e-5)  # α = 2
    np.testing.assert_allclose(weights(gram, alpha=1.0), [1 / 8, 1.0], rtol=1e-5)
    np.testing.assert_allclose(weights(gram, alpha=0.5), [1 / 4, 1.0], rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0, 10.0])
def test_solves_its_equation(make_rows, alpha):
    rows = make_rows(8, 30)
    w = np.asarray(weights(gramian(rows), alpha=alpha), np.float64)
    np.testing.assert_allclose(rows @ (rows.T @ w), w ** (-1 / alpha), rtol=1e-4)


def test_alpha_1_is_nash(make_rows):
    gram = gramian(make_rows(5, 9))
    np.testing.assert_allclose(
        weights(gram, alpha=1.0), auxjax.nash_mtl_weights(gram), rtol=1e-6
    )


def test_a_large_alpha_is_the_direction_of_mgda(make_rows):
    """It maximises the smallest gain."""
    rows = make_rows(4, 12)
    d = rows.T @ np.asarray(weights(gramian(rows), alpha=100.0), np.float64)
    m = rows.T @ np.asarray(auxjax.mgda_weights(gramian(rows)), np.float64)
    assert d @ m / np.linalg.norm(d) / np.linalg.norm(m) > 0.9999


def test_a_small_alpha_is_the_sum(make_rows):
    w = weights(gramian(make_rows(4, 12, "alike")), alpha=0.01)
    np.testing.assert_allclose(w / w[0], np.ones(4), rtol=0.02)


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.inf, np.nan])
def test_refusals(alpha):
    with pytest.raises(
        ValueError, match=r"`alpha` should be finite and above 0\. Found"
    ):
        auxjax.fairgrad(alpha)
