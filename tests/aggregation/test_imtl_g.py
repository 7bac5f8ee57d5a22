import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

J = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])


def eq_6(rows):
    """The paper's closed form: α₂.. = g₁ Uᵀ (D Uᵀ)⁻¹, α₁ = 1 − Σ α₂.."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    d, u = rows[:1] - rows[1:], units[:1] - units[1:]
    rest = rows[0] @ u.T @ np.linalg.inv(d @ u.T)
    return np.concatenate([[1 - rest.sum()], rest])


def weights(rows, **options):
    gramian = jnp.asarray(np.asarray(rows) @ np.asarray(rows).T, jnp.float32)
    return np.asarray(auxjax.imtl_g_weights(gramian, **options))


@pytest.mark.parametrize("shape", [(2, 3), (3, 5), (5, 9)])
def test_against_equation_6(shape):
    rng = np.random.default_rng(shape[0])
    for _ in range(5):
        rows = rng.normal(size=shape) * 10.0 ** rng.uniform(-1, 1, (shape[0], 1))
        np.testing.assert_allclose(weights(rows), eq_6(rows), rtol=1e-3, atol=1e-4)


def test_projections_are_equal_and_weights_sum_to_one():
    w = weights(J)
    products = (J @ (w @ J)) / np.linalg.norm(J, axis=1)
    np.testing.assert_allclose(products, products[0], rtol=1e-5)
    np.testing.assert_allclose(w.sum(), 1.0, rtol=1e-6)


def test_two_tasks_by_hand():
    """Two tasks: wᵢ ∝ 1 / ‖gᵢ‖, whatever the angle."""
    np.testing.assert_allclose(weights([[3, 4], [0, 1]]), [1 / 6, 5 / 6], rtol=1e-6)
    np.testing.assert_allclose(weights([[3, 4], [0, -1]]), [1 / 6, 5 / 6], rtol=1e-6)


def test_degenerate_gradients():
    np.testing.assert_array_equal(weights(np.zeros((3, 2))), np.zeros(3))
    np.testing.assert_allclose(weights([[1, 2], [0, 0]]), [1, 0], rtol=1e-6)
    np.testing.assert_allclose(weights([[1, 2], [1, 2]]), [0.5, 0.5], rtol=1e-6)
    # The limit of nearly parallel gradients: 1/‖g‖ each.
    np.testing.assert_allclose(weights([[1, 2], [2, 4]]), [2 / 3, 1 / 3], rtol=1e-5)
    for length in (1.0, 2.0, 0.3, 77.7):  # opposed: no step at all
        np.testing.assert_array_equal(
            weights(np.array([[1, 2], [-length, -2 * length]])), [0, 0]
        )
    np.testing.assert_allclose(weights([[3.0, 4.0]]), [1.0], rtol=1e-6)


def test_more_tasks_than_dimensions_is_least_squares():
    rows = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    # (1, 0), (0, 1), (-1, 0) · d nearest to (1, 1, 1): d = (0, 1)
    direction = weights(rows) @ rows
    expected = np.linalg.lstsq(units, np.ones(3), rcond=None)[0]
    np.testing.assert_allclose(expected, [0, 1], atol=1e-12)
    np.testing.assert_allclose(direction[0], 0.0, atol=1e-6)
    assert direction[1] > 0.1


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_scales(scale):
    np.testing.assert_allclose(weights(J * scale), weights(J), rtol=1e-4)


def test_scales_that_differ():
    """In unit gradients nothing is lost: the shortest row gets all the weight."""
    rows = J * np.array([[1e-10], [1e10], [1.0]])
    expected = eq_6(rows)
    np.testing.assert_allclose(weights(rows)[0], 1.0, rtol=1e-5)
    np.testing.assert_allclose(expected[0], 1.0, rtol=1e-5)
    np.testing.assert_allclose(weights(rows)[2], expected[2], rtol=1e-3)


def test_an_absent_task_counts_nothing():
    found = weights(J, present=jnp.array([True, False, True]))
    kept = weights(J[::2])
    np.testing.assert_allclose(found, [kept[0], 0.0, kept[1]], rtol=1e-5)


def test_as_an_aggregator():
    tx = auxjax.imtl_g()
    found, _ = tx.update(jnp.asarray(J, jnp.float32), tx.init(jnp.zeros(4)))
    np.testing.assert_allclose(found, eq_6(J) @ J, atol=1e-5)
