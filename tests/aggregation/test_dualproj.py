import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

weights = jax.jit(auxjax.dualproj_weights)


def gramian(rows):
    rows = jnp.asarray(rows, jnp.float32)
    return rows @ rows.T


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1.0, 0.0], [0.0, 2.0]], [0.5, 1.0]),  # no conflict: the mean
        ([[1.0, 0.0], [-3.0, 1.0]], [0.0, 0.5]),  # the mean (-1, ½) onto x ≥ 0
        ([[1.0, 2.0], [-2.0, -4.0]], [0.0, 0.0]),  # nothing helps both
        ([[0.0, 0.0], [0.0, 2.0]], [0.0, 1.0]),  # a zero row is no constraint
    ],
)
def test_two_tasks_by_hand(rows, expected):
    d = np.asarray(rows).T @ np.asarray(weights(gramian(rows)))
    np.testing.assert_allclose(d, expected, atol=1e-6)


def test_is_gradient_episodic_memory_for_one_task():
    """Task 0's gradient if it harms nobody; else the closest that does not."""
    rows = np.array([[1.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 5.0]])
    tx = auxjax.dualproj(preference=np.array([1.0, 0.0, 0.0]))
    params = jnp.zeros(3)
    d, _ = tx.update(jnp.asarray(rows, jnp.float32), tx.init(params), params)
    np.testing.assert_allclose(d, [0.0, 1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("size", [5, 15])
def test_harms_no_task(make_rows, size):
    rows = make_rows(10, size)
    v = np.asarray(weights(gramian(rows)), np.float64)
    scale = np.linalg.norm(rows, axis=1) * np.abs(rows).max() * v.sum()
    assert np.min(rows @ (rows.T @ v) / scale) > -1e-6


def test_regularisation_is_that_of_the_normalised_gramian():
    """V = argmin vᵀ(G / tr G + ρI)v, v ≥ u: by hand for two opposing rows.

    With G = [[1, -1], [-1, 1]] and u = (1, 0): v₂ = ½ / (½ + ρ).
    """
    tx = auxjax.dualproj(np.array([1.0, 0.0]), regularisation=0.1)
    rows, params = jnp.array([[1.0], [-1.0]]), jnp.zeros(1)
    d, _ = tx.update(rows, tx.init(params), params)
    np.testing.assert_allclose(d, [1 - 0.5 / 0.6], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preference": np.ones((1, 1))}, "`preference` should be a vector. Found"),
        ({"preference": np.array([1.0, -1.0])}, "none below zero. Found"),
        ({"preference": np.array([1.0, np.nan])}, "finite numbers"),
        ({"regularisation": -1e-4}, "`regularisation` should be .* Found -0.0001."),
        ({"regularisation": np.inf}, "`regularisation` should be"),
    ],
)
@pytest.mark.parametrize("make", [auxjax.dualproj, auxjax.upgrad])
def test_refusals(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("make", [auxjax.dualproj, auxjax.upgrad])
def test_a_preference_for_other_tasks_is_refused(make):
    tx = make(preference=np.ones(3))
    with pytest.raises(ValueError, match=r"`preference` should have shape \(2,\)"):
        tx.update(jnp.ones((2, 4)), tx.init(jnp.zeros(4)), jnp.zeros(4))


@pytest.mark.parametrize("function", [auxjax.dualproj_weights, auxjax.upgrad_weights])
def test_an_absent_task_has_no_preference(function, make_rows):
    rows = make_rows(3, 6)
    u, kept = np.array([0.5, 0.3, 0.2]), np.array([True, False, True])
    found = function(gramian(rows), jnp.asarray(kept), preference=u)
    expected = function(gramian(rows[kept]), preference=u[kept])
    np.testing.assert_allclose(found[kept], expected, rtol=1e-5)
    assert found[1] == 0
