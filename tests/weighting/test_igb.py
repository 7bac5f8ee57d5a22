"""Improvable gap balancing, against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

STEPS = 13


def values_of(num_tasks, steps=STEPS, seed=0):
    """Losses of very different sizes that fall at different speeds, and noise."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-2, 2, num_tasks)
    speed = rng.uniform(0.7, 1.0, num_tasks)
    falls = size * speed ** np.arange(steps)[:, None]
    return falls * rng.uniform(0.8, 1.2, (steps, num_tasks))


def reference(values, period=1, base_period=1, base=None):
    """Each step's w and what the rows are scaled by."""
    begin, end = base_period * period, (base_period + 1) * period
    found = []
    for t, losses in enumerate(values):
        w = np.ones(len(losses))
        if base is not None or t >= end:
            b = values[begin:end].mean(axis=0) if base is None else np.array(base)
            e = np.exp(losses / b - np.max(losses / b))
            w = len(losses) * e / e.sum()
        found.append(w / losses)
    return np.array(found)


@functools.cache
def compiled(**options):
    tx = auxjax.scale_by_igb(**options)

    @jax.jit
    def run(values, masks):
        rows = jnp.ones((values.shape[1], 1), values.dtype)

        def step(state, now):
            losses, mask = now
            found, state = tx.update(rows, state, losses=losses, task_mask=mask)
            return state, found.grads[:, 0]

        return jax.lax.scan(step, tx.init(rows[0]), (values, masks))

    def call(values, masks=None):
        masks = np.ones(np.shape(values), bool) if masks is None else masks
        return run(jnp.asarray(values), jnp.asarray(masks))

    return call


@pytest.mark.parametrize("num_tasks", [2, 3, 40])
@pytest.mark.parametrize(
    "options", [{}, {"period": 3}, {"period": 2, "base_period": 0}]
)
def test_equals_the_formula(x64, num_tasks, options):
    values = values_of(num_tasks)
    state, found = compiled(num_tasks=num_tasks, **options)(values)
    expected = reference(values, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(state.weights, expected[-1], rtol=1e-10)
    w = np.asarray(found) * values
    assert np.ptp(w, axis=1).max() > 0.05  # the weights come apart
    np.testing.assert_allclose(w.sum(axis=1), num_tasks, rtol=1e-12)


def test_a_base_that_is_known(x64):
    values, base = values_of(3), (0.5, 2.0, 30.0)
    state, found = compiled(num_tasks=3, base_losses=base)(values)
    np.testing.assert_allclose(found, reference(values, base=base), rtol=1e-10)
    np.testing.assert_array_equal(state.base, base)
    np.testing.assert_array_equal(state.steps, [2, 2, 2])  # as if it had been measured


def test_a_task_has_epochs_of_its_own(x64):
    """Till its base is known it weighs 1, and the others' w sum to their number."""
    values = values_of(3)
    masks = np.ones_like(values, bool)
    masks[::2, 1] = False  # it comes half as often
    state, found = compiled(num_tasks=3, period=2)(values, masks)
    base = [values[2:4, 0].mean(), values[[5, 7], 1].mean(), values[2:4, 2].mean()]
    np.testing.assert_allclose(state.base, base, rtol=1e-12)
    w = np.asarray(found) * values
    np.testing.assert_array_equal(w[::2, 1], 0)  # absent
    np.testing.assert_allclose(w[5, 1], 1.0, rtol=1e-12)
    two = np.exp(values[5, [0, 2]] / np.array(base)[[0, 2]])
    np.testing.assert_allclose(w[5, [0, 2]], 2 * two / two.sum(), rtol=1e-12)
    three = np.exp(values[9] / base)
    np.testing.assert_allclose(w[9], 3 * three / three.sum(), rtol=1e-12)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_loss_without_a_logarithm_is_left_out_of_the_base(x64, bad):
    values = values_of(2)
    values[2, 1] = bad  # in the base period, of steps 2 and 3
    state, found = compiled(num_tasks=2, period=2)(values)
    np.testing.assert_allclose(state.base[1], values[3:5, 1].mean(), rtol=1e-12)
    np.testing.assert_array_equal(found[2, 1], 1.0)
    assert np.all(np.isfinite(found))


def test_the_sum_is_that_of_logarithms(x64):
    def losses(p):
        return jnp.stack([jnp.sum(p**2) + 1, 7.0 * jnp.sum((p - 1) ** 2) + 2])

    params = jnp.array([0.3, -0.4])
    tx = auxjax.igb(2, base_losses=[2.0, 30.0])
    jac = auxjax.task_jacobian(losses, params)
    found, _ = tx.update(jac, tx.init(params), params)
    gaps = losses(params) / jnp.array([2.0, 30.0])
    w = 2 * jax.nn.softmax(gaps)
    expected = jax.grad(lambda p: jnp.sum(w * jnp.log(losses(p))))(params)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_single_precision_is_close():
    values = values_of(40).astype(np.float32)
    _, found = compiled(num_tasks=40, period=3)(values)
    expected = reference(values.astype(np.float64), period=3)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period": 0}, "`period` should be at least 1. Found 0."),
        ({"base_period": -1}, "`base_period` should be at least 0. Found -1."),
        ({"base_losses": [1.0, 0.0]}, r"`base_losses` should be above 0. Found \[1"),
        ({"base_losses": [1.0]}, r"`base_losses` should have shape \(2,\), one per"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        auxjax.igb(**options)
