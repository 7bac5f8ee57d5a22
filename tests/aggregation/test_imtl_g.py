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
        rows = np.array([[1, 2], [-length, -2 * length]])
        w = weights(rows)
        np.testing.assert_allclose(w, eq_6(rows), rtol=1e-5)
        np.testing.assert_allclose(w @ rows, [0, 0], atol=1e-6)
    np.testing.assert_allclose(weights([[3.0, 4.0]]), [1.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 0], [0, 1], [2, 2]], [2 / 3, 2 / 3, -1 / 3]),
        ([[1, 0], [0, 2], [-3, 0]], [0.75, 0.0, 0.25]),
    ],
)
def test_one_row_too_many_is_no_step(rows, expected):
    """Three unit gradients of a plane have the same product with 0 alone."""
    rows = np.array(rows, np.float64)
    np.testing.assert_allclose(eq_6(rows), expected, atol=1e-12)
    np.testing.assert_allclose(weights(rows), expected, atol=1e-6)
    np.testing.assert_allclose(weights(rows) @ rows, [0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 2), (4, 3), (6, 5)])
def test_against_equation_6_where_the_rows_are_dependent(shape, x64):
    """One task more than dimensions: Eq. 6 is not singular, and Σ wᵢ∇Lᵢ = 0."""
    rng = np.random.default_rng(shape[0])
    for _ in range(20):
        rows = rng.normal(size=shape) * 10.0 ** rng.uniform(-1, 1, (shape[0], 1))
        w = np.asarray(auxjax.imtl_g_weights(jnp.asarray(rows @ rows.T)))
        np.testing.assert_allclose(w, eq_6(rows), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rows", [[[1, 0], [0, 1], [2, 2]], [[1, 2], [2, 4], [0, 3]]])
def test_dependent_rows_are_the_limit_of_independent_ones(rows, x64):
    """A little of its own for every unit gradient, smaller and smaller."""
    rows = np.array(rows, np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    found = auxjax.imtl_g_weights(jnp.asarray(rows @ rows.T))
    for own in (1e-2, 1e-3):
        near = np.concatenate([rows, own * np.diag(lengths)], axis=1)
        np.testing.assert_allclose(eq_6(near), found, atol=5 * own)


def test_far_too_many_rows_are_no_step():
    """Six tasks in three dimensions: many weights, and all of them stand still."""
    rows = np.random.default_rng(0).normal(size=(6, 3))
    w = weights(rows)
    np.testing.assert_allclose(w.sum(), 1.0, rtol=1e-5)
    scale = np.abs(w) @ np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(w @ rows, np.zeros(3), atol=1e-5 * scale)


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
