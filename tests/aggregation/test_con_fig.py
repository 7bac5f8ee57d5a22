import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

J = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])


def eq_2(rows):
    """On the gradients themselves: g = (Σ ⟨gᵢ, d⟩) d, d = U⁺1 / ‖U⁺1‖."""
    rows = np.asarray(rows, np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units = np.divide(rows, norms, where=norms > 0, out=np.zeros_like(rows))
    d = np.linalg.pinv(units, rcond=1e-10) @ np.ones(len(rows))
    if np.linalg.norm(d) < 1e-10:
        return np.zeros_like(d)
    d /= np.linalg.norm(d)
    return np.sum(rows @ d) * d


def weights(rows, **options):
    gramian = jnp.asarray(np.asarray(rows) @ np.asarray(rows).T, jnp.float32)
    return np.asarray(auxjax.con_fig_weights(gramian, **options))


def gradient(rows, **options):
    return weights(rows, **options) @ np.asarray(rows)


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 5), (5, 9), (4, 2)])
def test_against_equation_2(shape):
    rng = np.random.default_rng(shape[0])
    for _ in range(5):
        rows = rng.normal(size=shape) * 10.0 ** rng.uniform(-1, 1, (shape[0], 1))
        np.testing.assert_allclose(
            gradient(rows), eq_2(rows), atol=1e-4 * np.abs(rows).max()
        )


def test_by_hand():
    # d = (1, 1) / √2; ⟨g₁, d⟩ + ⟨g₂, d⟩ = 4 / √2
    np.testing.assert_allclose(gradient([[1, 0], [0, 3]]), [2, 2], rtol=1e-5)


def test_cosines_are_equal():
    g = gradient(J)
    cosines = (J @ g) / np.linalg.norm(J, axis=1) / np.linalg.norm(g)
    np.testing.assert_allclose(cosines, cosines[0], rtol=1e-5)
    assert cosines[0] > 0


def test_cosines_follow_a_preference():
    p = np.array([0.5, 0.3, 0.2])
    g = gradient(J, preference=p)
    cosines = (J @ g) / np.linalg.norm(J, axis=1)
    np.testing.assert_allclose(cosines / cosines.sum(), p, rtol=1e-4)


def test_degenerate_gradients():
    np.testing.assert_array_equal(weights(np.zeros((3, 2))), np.zeros(3))
    np.testing.assert_allclose(gradient([[1, 2], [0, 0]]), [1, 2], rtol=1e-5)
    np.testing.assert_allclose(gradient([[1, 2], [2, 4]]), [3, 6], rtol=1e-5)
    for length in (1.0, 0.3, 77.7):
        np.testing.assert_array_equal(
            weights(np.array([[1, 2], [-length, -2 * length]])), [0, 0]
        )


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_scales(scale):
    np.testing.assert_allclose(gradient(J * scale), gradient(J) * scale, rtol=1e-4)


def test_scales_that_differ():
    rows = J * np.array([[1e-10], [1e10], [1.0]])
    np.testing.assert_allclose(gradient(rows), eq_2(rows), rtol=1e-4)


def test_an_absent_task_counts_nothing():
    found = weights(J, present=jnp.array([True, False, True]))
    kept = weights(J[::2])
    np.testing.assert_allclose(found, [kept[0], 0.0, kept[1]], rtol=1e-5)


def test_as_an_aggregator():
    tx = auxjax.con_fig()
    found, _ = tx.update(jnp.asarray(J, jnp.float32), tx.init(jnp.zeros(4)))
    np.testing.assert_allclose(found, eq_2(J), atol=1e-5)


def test_refused_preferences():
    with pytest.raises(ValueError, match="none below zero"):
        auxjax.con_fig(np.array([1.0, -1.0]))
    tx = auxjax.con_fig(np.ones(2))
    with pytest.raises(ValueError, match=r"`preference` should have shape \(3,\)"):
        tx.update(jnp.asarray(J, jnp.float32), tx.init(jnp.zeros(4)))
