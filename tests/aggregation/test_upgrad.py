import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import auxjax

weights = jax.jit(auxjax.upgrad_weights)


def gramian(rows):
    rows = jnp.asarray(rows, jnp.float32)
    return rows @ rows.T


def test_the_example_of_the_docstring_by_hand():
    """(1, 0) onto {x ≥ 0, y ≥ 3x} is (0.1, 0.3); (-3, 1) becomes (0, 1)."""
    rows = np.array([[1.0, 0.0], [-3.0, 1.0]])
    d = rows.T @ np.asarray(weights(gramian(rows)))
    np.testing.assert_allclose(d, [0.05, 0.65], rtol=1e-5)


@pytest.mark.parametrize(("num_tasks", "size"), [(3, 2), (8, 20), (8, 5)])
def test_is_the_mean_of_the_projected_rows(make_rows, num_tasks, size):
    rows = make_rows(num_tasks, size)
    expected = np.zeros(size)
    for row in rows:
        z, _ = scipy.optimize.nnls(rows.T, -row, maxiter=1000)
        expected += (row + rows.T @ z) / num_tasks
    d = rows.T @ np.asarray(weights(gramian(rows)), np.float64)
    np.testing.assert_allclose(d, expected, atol=2e-4 * np.abs(rows).max())


@pytest.mark.parametrize("kind", ["normal", "opposing", "duplicated"])
@pytest.mark.parametrize("size", [5, 15])
def test_harms_no_task(make_rows, size, kind):
    rows = make_rows(10, size, kind)
    w = np.asarray(weights(gramian(rows)), np.float64)
    scale = np.linalg.norm(rows, axis=1) * np.abs(rows).max() * w.sum()
    assert np.min(rows @ (rows.T @ w) / scale) > -1e-6


def test_is_linear_in_the_length_of_each_row(make_rows):
    """A(diag(c) J) is linear in c: the sum of two calls is the call of the sum."""
    rows = make_rows(4, 9)
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.0, 0.5, 1.0])

    def direction(scale):
        scaled = rows * scale[:, None]
        return scaled.T @ np.asarray(weights(gramian(scaled)), np.float64)

    total = direction(a) + direction(b)
    np.testing.assert_allclose(direction(a + b), total, rtol=1e-4, atol=1e-5)


def test_without_conflict_it_is_the_preference():
    w = auxjax.upgrad_weights(jnp.eye(3), preference=np.array([0.5, 0.0, 2.0]))
    np.testing.assert_allclose(w, [0.5, 0.0, 2.0], rtol=1e-6)
