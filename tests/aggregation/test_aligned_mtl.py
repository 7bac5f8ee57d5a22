import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

J = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])
MODES = ["min", "median", "rmse"]


def by_singular_values(rows, mode):
    """J = V Σ Wᵀ is replaced by σ V Wᵀ, then averaged; no Gramian."""
    v, s, wt = np.linalg.svd(np.asarray(rows, np.float64), full_matrices=False)
    rank = int(np.sum(s > 1e-9 * s[0]))
    v, s, wt = v[:, :rank], s[:rank], wt[:rank]
    squares = np.sort(s**2)
    scale = {
        "min": squares[0],
        "median": squares[(rank - 1) // 2],
        "rmse": squares.mean(),
    }[mode]
    return np.sqrt(scale) * (v @ wt).mean(axis=0)


def weights(rows, **options):
    gramian = jnp.asarray(np.asarray(rows) @ np.asarray(rows).T, jnp.float32)
    return np.asarray(auxjax.aligned_mtl_weights(gramian, **options))


def gradient(rows, **options):
    return weights(rows, **options) @ np.asarray(rows)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 5), (4, 6), (5, 3)])
def test_against_singular_values(shape, mode):
    rng = np.random.default_rng(shape[0])
    for _ in range(3):
        rows = rng.normal(size=shape)
        np.testing.assert_allclose(
            gradient(rows, scale_mode=mode), by_singular_values(rows, mode), atol=1e-4
        )


def test_by_hand():
    rows = [[1, 0, 0], [0, 2, 0], [0, 0, 4]]  # squared singular values 1, 4, 16
    for mode, length in [("min", 1.0), ("median", 2.0), ("rmse", np.sqrt(7.0))]:
        found = gradient(rows, scale_mode=mode)
        np.testing.assert_allclose(found, np.full(3, length / 3), rtol=1e-5)


def test_a_preference_by_hand():
    rows = [[1, 0, 0], [0, 2, 0], [0, 0, 4]]
    found = gradient(rows, preference=np.array([0.5, 0.3, 0.2]))
    np.testing.assert_allclose(found, [0.5, 0.3, 0.2], rtol=1e-5)


def test_the_default_is_the_smallest():
    np.testing.assert_array_equal(weights(J), weights(J, scale_mode="min"))


@pytest.mark.parametrize("mode", MODES)
def test_degenerate_gradients(mode):
    np.testing.assert_allclose(
        weights(np.zeros((3, 2)), scale_mode=mode), np.full(3, 1 / 3), rtol=1e-6
    )
    # One direction of length √2: half of g₁ + g₂ over √2, times √2.
    np.testing.assert_allclose(
        gradient([[1, 0], [1, 0]], scale_mode=mode), [1, 0], atol=1e-6
    )
    np.testing.assert_allclose(
        gradient([[1, 0], [-1, 0]], scale_mode=mode), [0, 0], atol=1e-6
    )
    np.testing.assert_allclose(
        gradient([[3, 0], [0, 0]], scale_mode=mode), [1.5, 0], rtol=1e-6
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_scales(scale, mode):
    np.testing.assert_allclose(
        weights(J * scale, scale_mode=mode), weights(J, scale_mode=mode), rtol=1e-4
    )


def test_scales_that_differ():
    """A float32 Gramian holds no more: what is 1e-3 times smaller is dropped."""
    rows = np.array([[1e-10, 0.0], [0.0, 1e10]])
    np.testing.assert_allclose(gradient(rows), [0.0, 0.5e10], rtol=1e-5)


def test_an_absent_task_counts_nothing():
    for mode in MODES:
        present = jnp.array([True, False, True])
        found = weights(J, present=present, scale_mode=mode)
        kept = weights(J[::2], scale_mode=mode)
        np.testing.assert_allclose(found, [kept[0], 0.0, kept[1]], rtol=1e-5)


def test_as_an_aggregator():
    tx = auxjax.aligned_mtl("rmse")
    found, _ = tx.update(jnp.asarray(J, jnp.float32), tx.init(jnp.zeros(4)))
    np.testing.assert_allclose(found, by_singular_values(J, "rmse"), atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="`scale_mode` should be one of"):
        auxjax.aligned_mtl("max")
    with pytest.raises(ValueError, match="none below zero"):
        auxjax.aligned_mtl(preference=np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="Found 'max'"):
        auxjax.aligned_mtl_weights(jnp.eye(2), scale_mode="max")
