import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

J = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])
J2 = np.array([[1.0, 1.0, 0.0, -1.0], [2.0, -1.0, 1.0, 0.0], [-1.0, 0.5, 2.0, 1.0]])


def algorithm_1(rows, targets, beta):
    """On the gradients themselves, in float64, tasks in order; targets in place."""
    total = np.zeros(rows.shape[1])
    for i, row in enumerate(rows):
        g = row.copy()
        for j, other in enumerate(rows):
            if j == i:
                continue
            n, m = np.linalg.norm(g), np.linalg.norm(other)
            phi, hat = g @ other / (n * m), targets[i, j]
            if phi < hat:
                up = n * (hat * np.sqrt(1 - phi**2) - phi * np.sqrt(1 - hat**2))
                g = g + up / (m * np.sqrt(1 - hat**2)) * other
            targets[i, j] = (1 - beta) * hat + beta * phi
        total += g
    return total


def step(rows, targets, **options):
    rows = jnp.asarray(rows, jnp.float32)
    gramian = jnp.matmul(rows, rows.T, precision="highest")
    w, targets = auxjax.gradvac_weights(gramian, targets, **options)
    return w @ rows, targets


@pytest.mark.parametrize("shape", [(1, 3), (2, 4), (3, 6), (5, 9)])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0])
def test_against_algorithm_1(shape, beta):
    rng = np.random.default_rng(shape[0])
    targets = np.zeros((shape[0], shape[0]))
    mine = jnp.zeros((shape[0], shape[0]))
    for _ in range(4):
        rows = rng.normal(size=shape) + 0.5
        expected = algorithm_1(rows, targets, beta)
        found, mine = step(rows, mine, beta=beta)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(mine, targets, atol=1e-5)


def test_by_hand():
    """Orthogonal rows whose target is cosine 0.6 are turned to it."""
    targets = jnp.array([[0.0, 0.6], [0.0, 0.0]])
    found, moved = step([[1.0, 0.0], [0.0, 2.0]], targets, beta=0.25)
    # g₁ = (1, ¾): cosine with (0, 2) is ¾ / (5/4) = 0.6. g₂ has its target already.
    np.testing.assert_allclose(found, [1.0, 2.75], rtol=1e-6)
    np.testing.assert_allclose(moved, [[0.0, 0.45], [0.0, 0.0]], rtol=1e-6)


def test_at_first_it_is_pcgrad():
    gramian = jnp.asarray(J @ J.T, jnp.float32)
    w, _ = auxjax.gradvac_weights(gramian, jnp.zeros((3, 3)))
    np.testing.assert_allclose(w, auxjax.pcgrad_weights(gramian), rtol=1e-5)


def test_agrees_with_torchjd():
    """TorchJD 0.18, torch.randperm = torch.arange: GradVac(0.5) on J, J2, J."""
    targets = jnp.zeros((3, 3))
    for rows, expected in [
        (J, [2.4671429, 2.7371429, 2.1757143, 2.6228571]),
        (J2, [2.457352, 1.2075063, 3.333539, -0.457352]),
        (J, [2.4603741, 2.5785954, 2.1499863, 1.9781525]),
    ]:
        found, targets = step(rows, targets)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_degenerate_gradients():
    high = jnp.full((2, 2), 0.5)
    for rows, expected in [
        ([[1.0, 2.0], [0.0, 0.0]], [1.0, 2.0]),  # a zero gradient turns nobody
        ([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]),
        ([[1.0, 2.0], [1.0, 2.0]], [2.0, 4.0]),  # closer than their target
    ]:
        found, _ = step(rows, high)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    found, targets = step([[1.0, 2.0], [-3.0, -6.0]], jnp.zeros((2, 2)))
    np.testing.assert_allclose(found, [0.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(targets, [[0.0, -0.5], [-0.5, 0.0]], rtol=1e-6)


def test_a_target_of_one_bounds_the_correction():
    w, _ = auxjax.gradvac_weights(jnp.eye(2), jnp.ones((2, 2)))
    np.testing.assert_allclose(w, [1001.0, 1001.0], rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_scales(scale):
    targets = jnp.full((3, 3), 0.3)
    expected, moved = step(J, targets)
    found, moved_too = step(J * scale, targets)
    np.testing.assert_allclose(found, expected * scale, rtol=1e-4)
    np.testing.assert_allclose(moved_too, moved, atol=1e-5)


def test_an_absent_task_counts_nothing():
    targets = jnp.arange(9.0).reshape(3, 3) / 10
    gramian = jnp.asarray(J @ J.T, jnp.float32)
    present = jnp.array([True, False, True])
    found, moved = auxjax.gradvac_weights(gramian, targets, present=present)
    small = targets[::2, ::2]
    kept, moved_small = auxjax.gradvac_weights(gramian[::2, ::2], small)
    np.testing.assert_allclose(found, [kept[0], 0.0, kept[1]], rtol=1e-5)
    np.testing.assert_allclose(moved[::2, ::2], moved_small, rtol=1e-5)
    np.testing.assert_array_equal(moved[1], targets[1])
    np.testing.assert_array_equal(moved[:, 1], targets[:, 1])


def test_the_state_carries_targets_and_key():
    tx = auxjax.gradvac(0.5, 3, key=jax.random.key(1))
    rows = jnp.asarray(J, jnp.float32)
    state = tx.init(jnp.zeros(4))
    assert isinstance(state[0], auxjax.GradVacState)
    np.testing.assert_array_equal(state[0].targets, np.zeros((3, 3)))
    first, after = tx.update(rows, state)
    again, _ = tx.update(rows, state)
    np.testing.assert_array_equal(first, again)
    assert after[0].targets.shape == (3, 3)
    assert np.all(np.asarray(after[0].targets)[~np.eye(3, dtype=bool)] != 0)
    keys = [jax.random.key_data(s[0].key) for s in (state, after)]
    assert not np.array_equal(*keys)


def test_float32_rows_keep_the_state_as_it_is_in_x64(x64):
    tx = auxjax.gradvac(num_tasks=3)
    rows = jnp.asarray(J, jnp.float32)
    state = tx.init(jnp.zeros(4, jnp.float32))
    found, after = tx.update(rows, state)
    assert found.dtype == jnp.float32
    assert after[0].targets.dtype == state[0].targets.dtype


def test_refusals():
    for beta in (-0.1, 1.5):
        with pytest.raises(ValueError, match=r"`beta` should be in \[0, 1\]"):
            auxjax.gradvac(beta)
    with pytest.raises(ValueError, match=r"`num_tasks` should be at least 1\. Found 0"):
        auxjax.gradvac(num_tasks=0)
    tx = auxjax.gradvac()
    with pytest.raises(ValueError, match="`num_tasks` should be 3"):
        tx.update(jnp.asarray(J, jnp.float32), tx.init(jnp.zeros(4)))
