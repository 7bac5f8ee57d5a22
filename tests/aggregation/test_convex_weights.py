"""What all weights from convex problems have in common."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import auxjax
from auxjax.aggregation._build import gramian_of, weighted_sum

WEIGHTS = {
    "mgda": (auxjax.mgda_weights, 0.0),  # name: function, degree in the Gramian
    "upgrad": (auxjax.upgrad_weights, 0.0),
    "dualproj": (auxjax.dualproj_weights, 0.0),
    "cagrad": (auxjax.cagrad_weights, 0.0),
    "nash_mtl": (auxjax.nash_mtl_weights, -1 / 2),
    "fairgrad": (auxjax.fairgrad_weights, -1 / (1 + 1 / 2)),
}
JITTED = {name: jax.jit(function) for name, (function, _) in WEIGHTS.items()}
SLOPES = {
    name: jax.jit(jax.grad(lambda gram, f=function: jnp.sum(f(gram) ** 2)))
    for name, (function, _) in WEIGHTS.items()
}
every_rule = pytest.mark.parametrize("name", list(WEIGHTS))

DEGENERATE = {
    "zero": np.zeros((4, 2)),
    "a zero row": np.array([[1.0, 2.0], [0.0, 0.0], [-1.0, 1.0], [2.0, 0.5]]),
    "duplicated": np.array([[1.0, 2.0], [1.0, 2.0], [-1.0, 1.0], [-1.0, 1.0]]),
    "opposing": np.array([[1.0, 2.0], [-1.0, -2.0], [3.0, 1.0], [-6.0, -2.0]]),
    "one direction": np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [1e-3, 0.0]]),
    "tiny beside large": np.diag([1e3, 1e-3, 1.0, 1.0]) @ np.ones((4, 4)),
    "all but opposing": np.array([[1.0, 1e-4], [-1.0, 1e-4], [1.0, 0.0], [-1.0, 0.0]]),
}


def gramian(rows):
    rows = rows.astype(np.float32)
    return jnp.asarray(rows @ rows.T)


@every_rule
@pytest.mark.parametrize("kind", list(DEGENERATE))
def test_degenerate_rows_give_finite_weights_and_slopes(name, kind):
    gram = gramian(DEGENERATE[kind])
    assert np.all(np.isfinite(JITTED[name](gram)))
    assert np.all(np.asarray(JITTED[name](gram)) >= 0)
    assert np.all(np.isfinite(SLOPES[name](gram)))


@every_rule
def test_equal_rows_get_equal_weights(name):
    w = JITTED[name](gramian(DEGENERATE["duplicated"]))
    np.testing.assert_allclose(w[0], w[1], rtol=1e-4)
    np.testing.assert_allclose(w[2], w[3], rtol=1e-4)


@every_rule
@pytest.mark.parametrize("scale", [1e-10, 1e-5, 1e5, 1e10])
def test_scaled_rows_give_scaled_weights(name, scale, make_rows):
    """The rows times s, the Gramian times s²."""
    rows = make_rows(4, 9)
    expected = np.asarray(JITTED[name](gramian(rows)), np.float64)
    found = JITTED[name](gramian(rows * scale))
    degree = WEIGHTS[name][1]
    np.testing.assert_allclose(found, expected * scale ** (2 * degree), rtol=1e-5)


@every_rule
def test_the_order_of_the_tasks_does_not_matter(name, make_rows):
    order = np.array([2, 0, 3, 1])
    for rows in (make_rows(4, 9), make_rows(4, 2), DEGENERATE["opposing"]):
        w, permuted = JITTED[name](gramian(rows)), JITTED[name](gramian(rows[order]))
        scale = np.abs(rows.T @ np.asarray(w)).max() + np.abs(rows).max()
        np.testing.assert_allclose(
            rows[order].T @ np.asarray(permuted),
            rows.T @ np.asarray(w),
            atol=5e-3 * scale,
        )
    for rows in (make_rows(4, 9), DEGENERATE["zero"]):
        w, permuted = JITTED[name](gramian(rows)), JITTED[name](gramian(rows[order]))
        np.testing.assert_allclose(permuted, np.asarray(w)[order], rtol=1e-5)


@every_rule
def test_an_absent_task_is_a_row_removed(name, make_rows):
    """However large it is, and even where it is not finite."""
    rows = make_rows(5, 9, seed=3)
    kept = np.array([True, False, True, True, True])
    expected = JITTED[name](gramian(rows[kept]))
    for factor in (1.0, 1e4, np.nan):
        rows[1] *= factor
        found = JITTED[name](gramian(rows), jnp.asarray(kept))
        assert found[1] == 0
        np.testing.assert_allclose(found[kept], expected, rtol=2e-5, atol=1e-6)


@every_rule
def test_nobody_present_is_finite(name, make_rows):
    w = JITTED[name](gramian(make_rows(5, 9)), jnp.zeros(5, bool))
    np.testing.assert_array_equal(w, np.zeros(5))


@every_rule
def test_a_batch_is_a_loop(name, make_rows):
    grams = [gramian(make_rows(4, n, kind, 5)) for n, kind in BATCH]
    found = jax.jit(jax.vmap(WEIGHTS[name][0]))(jnp.stack(grams))
    expected = [JITTED[name](gram) for gram in grams]
    np.testing.assert_allclose(found, np.stack(expected), rtol=2e-4, atol=1e-6)


BATCH = [(9, "normal"), (6, "alike"), (9, "duplicated"), (9, "unequal lengths")]


@every_rule
def test_a_single_task_is_followed(name):
    """Its own gradient, as long as the rule makes one without conflict."""
    w = JITTED[name](jnp.array([[4.0]]))
    expected = {"nash_mtl": 1 / 2, "fairgrad": 4 ** (-2 / 3), "cagrad": 1.4}
    np.testing.assert_allclose(w, [expected.get(name, 1.0)], rtol=1e-6)


@pytest.mark.usefixtures("x64")
@every_rule
def test_float64_stays_and_agrees(name, make_rows):
    rows = make_rows(4, 9)
    found = JITTED[name](jnp.asarray(rows @ rows.T))
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, JITTED[name](gramian(rows)), rtol=2e-5)


@pytest.mark.usefixtures("x64")
@every_rule
def test_slopes_are_those_of_finite_differences(name, make_rows):
    rows = make_rows(4, 6, seed=1)
    rows[0] = 0.5 * rows[0] - 2 * np.sum(rows[1:], axis=0)  # the mean conflicts
    values = jnp.array([1.0, -2.0, 0.5, 3.0])
    value = jax.jit(lambda x: values @ WEIGHTS[name][0](x @ x.T))
    step = 1e-6 * np.random.default_rng(0).normal(size=rows.shape)
    difference = (value(rows + step) - value(rows - step)) / 2
    assert abs(difference) > 1e-8
    found = jax.jit(jax.grad(value))(jnp.asarray(rows))
    np.testing.assert_allclose(np.sum(found * step), difference, rtol=1e-5)


@every_rule
@pytest.mark.parametrize("mask", [None, (True, False, True)])
def test_the_aggregator_sums_the_rows_with_these_weights(name, mask, make_rows):
    rows = jnp.asarray(make_rows(3, 4), jnp.float32)
    present = None if mask is None else jnp.asarray(mask)
    tx = getattr(auxjax, name)()
    params = jnp.zeros(4)
    updates, _ = jax.jit(functools.partial(tx.update, task_mask=present))(
        rows, tx.init(params), params
    )
    w = JITTED[name](rows @ rows.T, present)
    np.testing.assert_allclose(updates, w @ rows, rtol=1e-5, atol=1e-6)


def projected(rule, rows):
    """D in float64, and Σ vᵢ‖∇Lᵢ‖, the lengths that it is made of."""
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    units, size = rows / lengths[:, None], len(rows)
    wishes = np.eye(size) if rule == "upgrad" else np.ones((1, size))
    d, total = np.zeros(rows.shape[1]), 0.0
    for wish in wishes / size * lengths:
        z, _ = scipy.optimize.nnls(units.T, -units.T @ wish, maxiter=10_000)
        d, total = d + units.T @ (wish + z), total + np.sum(wish + z)
    return d, total


@pytest.mark.parametrize("rule", ["dualproj", "upgrad"])
def test_opposed_rows_of_unlike_length_are_as_exact_as_float32_has_them(rule):
    """Long rows cancel, and what is left may have no digit; nor is more in the rows."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 5, 40))
    rows[:, 2:4] = -rows[:, :2]
    rows *= 10.0 ** rng.uniform(-3, 3, size=(60, 5, 1))
    rows = rows.astype(np.float32)

    @jax.jit
    @jax.vmap
    def find(x):
        w = getattr(auxjax, f"{rule}_weights")(gramian_of([x]))
        return weighted_sum(w, [x])[0]

    found = np.asarray(find(jnp.asarray(rows)), np.float64)
    up = rng.random(rows.shape) < 0.5
    other = np.nextafter(rows, np.where(up, np.inf, -np.inf).astype(np.float32))
    errors, changes = [], []
    for mine, row, changed in zip(found, rows, other, strict=True):
        d, scale = projected(rule, row)
        errors.append(np.linalg.norm(mine - d) / scale)
        changes.append(np.linalg.norm(projected(rule, changed)[0] - d) / scale)
    assert max(errors) < 5e-7
    assert np.median(changes) > np.median(errors) / 2  # by their last bits
