import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

J = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])


def algorithm_1(rows, u, leak):
    total = np.zeros(rows.shape[1])
    for k in range(rows.shape[1]):
        column = rows[:, k]
        size = np.abs(column).sum()
        p = 0.5 * (1 + column.sum() / size) if size else 0.5
        for g, share in zip(column, leak, strict=True):
            keep = (p > u[k] and g > 0) or (p < u[k] and g < 0)
            total[k] += (share + (1 - share) * keep) * g
    return total


def drop(rows, key, leak=None):
    leak = None if leak is None else jnp.asarray(leak, jnp.float32)
    return auxjax.graddrop_rows(jnp.asarray(rows, jnp.float32), key, leak)


@pytest.mark.parametrize("leak", [None, [0.0, 0.5, 0.25], [1.0, 0.0, 0.0]])
def test_against_algorithm_1(leak):
    for seed in range(5):
        key = jax.random.key(seed)
        u = np.asarray(jax.random.uniform(key, (4,)))
        expected = algorithm_1(J, u, leak or [0.0] * 3)
        np.testing.assert_allclose(drop(J, key, leak), expected, atol=1e-6)


def test_agrees_with_torchjd(monkeypatch):
    """TorchJD 0.18 with torch.rand = u: GradDrop(leak=leak)(torch.tensor(J))."""
    u = jnp.array([0.1, 0.6, 0.55, 0.4])
    monkeypatch.setattr(jax.random, "uniform", lambda *_: u)
    found = drop(J, jax.random.key(0), [0.0, 0.5, 0.25])
    np.testing.assert_allclose(found, [2.0, 1.25, 1.375, 3.0], atol=1e-6)


def test_one_sign_an_element_with_the_probability_of_its_purity():
    """Rows +3 and −1: P = ¾."""
    rows = np.stack([np.full(4000, 3.0), np.full(4000, -1.0)])
    found = np.asarray(drop(rows, jax.random.key(0)))
    assert set(found.tolist()) == {3.0, -1.0}
    assert abs((found > 0).mean() - 0.75) < 0.03


def test_the_mask_is_shared_by_the_tasks():
    rows = np.stack([np.ones(50), -np.ones(50), 2 * np.ones(50), -2 * np.ones(50)])
    found = np.asarray(drop(rows, jax.random.key(1)))
    assert set(found.tolist()) == {3.0, -3.0}


def test_agreement_and_zeros_pass():
    rows = [[1.0, -2.0, 0.0], [3.0, 0.0, 0.0]]
    for seed in range(5):
        found = drop(rows, jax.random.key(seed))
        np.testing.assert_array_equal(found, [4.0, -2.0, 0.0])


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_scales(scale):
    key = jax.random.key(2)
    np.testing.assert_allclose(drop(J * scale, key), drop(J, key) * scale, rtol=1e-5)


def test_bfloat16_rows_are_summed_in_float32():
    rows = jnp.concatenate([jnp.full((1, 3), 256.0), jnp.ones((64, 3))])
    found = auxjax.graddrop_rows(rows.astype(jnp.bfloat16), jax.random.key(0))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(jnp.float32), np.full(3, 320.0))


def test_a_leaking_main_task_is_never_dropped():
    tx = auxjax.graddrop(leak=[1.0, 0.0], key=jax.random.key(5))
    rows = jnp.stack([jnp.full(100, 1.0), jnp.full(100, -10.0)])
    found, _ = tx.update(rows, tx.init(jnp.zeros(100)))
    assert set(np.asarray(found).tolist()) <= {1.0, -9.0}
    assert float(found.max()) == 1.0


def test_leaves_and_updates_are_drawn_apart():
    params = {"a": jnp.zeros(64), "b": jnp.zeros(64)}
    rows = jax.tree.map(lambda p: jnp.stack([p + 1, p - 1]), params)
    tx = auxjax.graddrop()
    state = tx.init(params)
    first, after = tx.update(rows, state, params)
    again, _ = tx.update(rows, state, params)
    second, _ = tx.update(rows, after, params)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], second["a"])
    assert isinstance(state[0], auxjax.GradDropState)


def test_an_absent_task_counts_nothing():
    tx = auxjax.graddrop(leak=[0.5, 0.5, 0.5])
    small = auxjax.graddrop(leak=[0.5, 0.5])
    rows = jnp.asarray(J, jnp.float32)
    state = tx.init(jnp.zeros(4))
    found, _ = tx.update(rows, state, task_mask=jnp.array([True, False, True]))
    expected, _ = small.update(rows[::2], state)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_refusals():
    for leak in ([0.5, 1.5], [-0.1, 0.0], [[0.1]]):
        with pytest.raises(ValueError, match=r"`leak` should be numbers in \[0, 1\]"):
            auxjax.graddrop(leak)
    tx = auxjax.graddrop([0.0, 0.0])
    with pytest.raises(ValueError, match="`num_tasks` should be 3"):
        tx.update(jnp.asarray(J, jnp.float32), tx.init(jnp.zeros(4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("leak", [None, jnp.array([0.5, 1.0])])
def test_what_is_not_finite_passes_with_and_without_jit(bad, leak):
    """Whoever skips bad steps stands behind; a product with 0 is a choice to XLA."""
    rows, key = jnp.array([[1.0, bad], [-2.0, 3.0]]), jax.random.key(0)
    for run in (auxjax.graddrop_rows, jax.jit(auxjax.graddrop_rows)):
        gradient = run(rows, key, leak)
        np.testing.assert_array_equal(jnp.isfinite(gradient), [True, False])
