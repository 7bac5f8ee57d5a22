import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

weights = jax.jit(auxjax.mgda_weights)


def gramian(rows):
    rows = jnp.asarray(rows, jnp.float32)
    return rows @ rows.T


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[3.0, 0.0], [0.0, 1.0]], [0.1, 0.9]),  # inverse squares
        ([[1.0, 1.0], [3.0, 3.0]], [1.0, 0.0]),  # the shorter one of a ray
        ([[1.0, 2.0], [-2.0, -4.0]], [2 / 3, 1 / 3]),  # inverse lengths: d = 0
        ([[1.0, 0.0], [1.0, 1.0]], [1.0, 0.0]),  # already the closest
        ([[1.0, 0.0], [0.0, 0.0]], [0.0, 1.0]),  # a zero row takes it all
        ([[0.0, 0.0], [0.0, 0.0]], [0.5, 0.5]),
        ([[2.0, 1.0], [2.0, 1.0]], [0.5, 0.5]),
    ],
)
def test_two_tasks_by_hand(rows, expected):
    np.testing.assert_allclose(weights(gramian(rows)), expected, atol=2e-6)


@pytest.mark.parametrize("size", [3, 7, 30])
def test_every_task_gains_at_least_the_squared_length(make_rows, size):
    rows = make_rows(12, size)
    d = rows.T @ np.asarray(weights(gramian(rows)), np.float64)
    scale = np.linalg.norm(rows, axis=1) * np.linalg.norm(rows, axis=1).min()
    assert np.min((rows @ d - d @ d) / scale) > -1e-4


def test_stands_still_where_the_point_is_pareto_stationary():
    """The three corners of a triangle around 0."""
    angles = 2 * np.pi * np.arange(3) / 3
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    w = weights(gramian(rows))
    np.testing.assert_allclose(w, np.full(3, 1 / 3), rtol=1e-6)
    np.testing.assert_allclose(rows.T @ np.asarray(w), 0, atol=1e-6)


def test_two_groups_are_two_problems():
    rows = {"a": jnp.array([[3.0, 0.0], [0.0, 1.0]]), "b": jnp.array([[1.0], [1.0]])}
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    tx = auxjax.mgda(groups="leaf")
    updates, _ = tx.update(rows, tx.init(params), params)
    np.testing.assert_allclose(updates["a"], [0.3, 0.9], rtol=1e-5)
    np.testing.assert_allclose(updates["b"], [1.0], rtol=1e-5)
