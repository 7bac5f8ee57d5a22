import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax
from auxjax.aggregation._keys import keys_of_groups, visiting_orders

J = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])


def algorithm_1(rows, orders):
    """On the gradients themselves, in float64, as the paper has it."""
    rows = np.asarray(rows, np.float64)
    total = np.zeros(rows.shape[1])
    for i, order in enumerate(orders):
        g = rows[i].copy()
        for j in order:
            if j != i and g @ rows[j] < 0:
                g -= (g @ rows[j]) / (rows[j] @ rows[j]) * rows[j]
        total += g
    return total


def gradient(rows, **options):
    rows = jnp.asarray(rows, jnp.float32)
    gramian = jnp.matmul(rows, rows.T, precision="highest")
    return auxjax.pcgrad_weights(gramian, **options) @ rows


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 8), (5, 4), (6, 3)])
def test_against_algorithm_1(shape):
    rng = np.random.default_rng(shape[0])
    for _ in range(5):
        rows = rng.normal(size=shape) * 10.0 ** rng.uniform(-1, 1, (shape[0], 1))
        expected = algorithm_1(rows, [range(shape[0])] * shape[0])
        np.testing.assert_allclose(
            gradient(rows), expected, atol=2e-5 * np.abs(rows).max()
        )


def test_against_algorithm_1_in_the_order_of_a_key():
    rows = np.random.default_rng(0).normal(size=(6, 4))
    different = set()
    for seed in range(4):
        orders = np.asarray(visiting_orders(jax.random.key(seed), 6))
        assert all(sorted(order) == list(range(6)) for order in orders.tolist())
        found = gradient(rows, key=jax.random.key(seed))
        np.testing.assert_allclose(found, algorithm_1(rows, orders), atol=2e-5)
        different.add(tuple(np.round(np.asarray(found), 3).tolist()))
    assert len(different) == 4


def test_two_conflicting_gradients_by_hand():
    # g₁ = (1, 0) + ½ (-2, 2)·½ = (½, ½); g₂ = (-2, 2) + 2 (1, 0) = (0, 2)
    np.testing.assert_allclose(gradient([[1, 0], [-2, 2]]), [0.5, 2.5], atol=1e-6)


def test_without_conflict_it_is_the_sum():
    np.testing.assert_array_equal(
        auxjax.pcgrad_weights(jnp.array([[4.0, 1.0], [1.0, 9.0]])), [1.0, 1.0]
    )


# TorchJD 0.18, with torch.randperm = torch.arange:
#   PCGrad()(torch.tensor(J)), and the same with J[2] = J[0] - J[1]
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (J, [2.4671429, 2.7371429, 2.1757143, 2.6228571]),
        (
            np.stack([J[0], J[1], J[0] - J[1]]),
            [5.2571429, 0.4190476, 2.8380952, -2.4380952],
        ),
    ],
)
def test_agrees_with_torchjd(rows, expected):
    np.testing.assert_allclose(gradient(rows), expected, atol=1e-5)


def test_degenerate_gradients():
    np.testing.assert_array_equal(auxjax.pcgrad_weights(jnp.zeros((3, 3))), np.ones(3))
    np.testing.assert_allclose(gradient([[1, 2], [1, 2]]), [2, 4], rtol=1e-6)
    np.testing.assert_allclose(gradient([[1, 2], [-3, -6]]), [0, 0], atol=1e-5)
    np.testing.assert_allclose(gradient([[1, 2], [0, 0]]), [1, 2], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_scales(scale):
    np.testing.assert_allclose(gradient(J * scale), gradient(J) * scale, rtol=1e-5)


def test_scales_that_differ():
    rows = J * np.array([[1e-10], [1e10], [1.0]])
    weights = auxjax.pcgrad_weights(jnp.asarray(rows @ rows.T, jnp.float32))
    cosine = J[0] @ J[1] / np.linalg.norm(J[0]) / np.linalg.norm(J[1])
    assert cosine < 0
    # The tiny row is added to the huge one until that is orthogonal to it.
    expected = -(rows[1] @ rows[0]) / (rows[0] @ rows[0])
    np.testing.assert_allclose(weights[0], expected, rtol=1e-4)
    assert np.all(np.isfinite(weights))


def test_an_absent_task_counts_nothing():
    present = jnp.array([True, False, True])
    gramian = jnp.asarray(J @ J.T, jnp.float32)
    found = auxjax.pcgrad_weights(gramian, present=present)
    kept = auxjax.pcgrad_weights(gramian[::2, ::2])
    np.testing.assert_allclose(found, [kept[0], 0.0, kept[1]], rtol=1e-6)


def test_every_order_is_drawn():
    """Three tasks: each meets the two others in one of two orders, eight in all."""
    orders = [list(itertools.permutations(range(3)))[k] for k in range(6)]
    expected = {
        tuple(np.round(algorithm_1(J, choice), 3))
        for choice in itertools.product(orders, repeat=3)
    }
    assert len(expected) > 2
    tx = auxjax.pcgrad(key=jax.random.key(3))
    rows = jnp.asarray(J, jnp.float32)
    step = jax.jit(lambda state: tx.update(rows, state))
    state, found = tx.init(jnp.zeros(4)), set()
    for _ in range(60):
        g, state = step(state)
        found.add(tuple(np.round(np.asarray(g, np.float64), 3)))
    assert found == expected


def test_the_state_carries_the_key():
    rows = jnp.asarray(J, jnp.float32)
    default, given = auxjax.pcgrad(), auxjax.pcgrad(key=jax.random.key(0))
    state = default.init(jnp.zeros(4))
    assert len(state) == 1
    assert isinstance(state[0], auxjax.PCGradState)
    once, after = default.update(rows, state)
    again, _ = given.update(rows, given.init(jnp.zeros(4)))
    np.testing.assert_array_equal(once, again)
    data = [jax.random.key_data(s[0].key) for s in (state, after)]
    assert not np.array_equal(*data)


def test_groups_have_keys_of_their_own():
    params = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
    state = auxjax.pcgrad(groups="leaf").init(params)
    data = [jax.random.key_data(s.key) for s in state]
    assert len(data) == 2
    assert not np.array_equal(*data)


@pytest.mark.parametrize(
    "key", [0, jax.random.PRNGKey(0), jax.random.split(jax.random.key(0))]
)
def test_a_key_that_is_none(key):
    with pytest.raises(ValueError, match="`key` should be one typed key"):
        keys_of_groups(key)
