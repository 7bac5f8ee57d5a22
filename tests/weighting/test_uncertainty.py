"""Uncertainty weighting, as first proposed and revised, against NumPy in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, STEPS, ALPHA, BETA = 3, 8, 0.05, 0.3
CENTRES = np.array([[1.0, -2.0], [0.5, 0.5], [-1.0, 3.0]])
SIZES = np.array([1.0, 4.0, 0.1])
START = np.array([0.2, -0.3])


def losses(params, shift=0.0):
    """Quadratics of very different sizes."""
    off = params[None] + shift - jnp.asarray(CENTRES, params.dtype)
    return jnp.asarray(SIZES, params.dtype) * jnp.sum(off**2, axis=1) + 0.1


def values_and_rows(theta, shift):
    off = theta + shift - CENTRES
    return SIZES * np.sum(off**2, axis=1) + 0.1, 2 * SIZES[:, None] * off


def kendall(s, values, factor):
    """Eq. 7 and 10: Σ factor·exp(−s) L + ½ s; its slope in s."""
    return -factor * np.exp(-s) * values + 0.5


def liebel(s, values, factor):
    """Eq. 3: Σ factor·exp(−s) L + log(1 + exp(s)); its slope in s."""
    return -factor * np.exp(-s) * values + np.exp(s) / (1 + np.exp(s))


RULES = {
    "kendall": (kendall, auxjax.uncertainty, auxjax.scale_by_uncertainty),
    "liebel": (liebel, auxjax.revised_uncertainty, auxjax.scale_by_revised_uncertainty),
}
every_rule = pytest.mark.parametrize("rule", RULES)


class NumpyDescent:
    def step(self, g):
        return -BETA * g


class NumpyAdam:
    """With Optax's own numbers and the rule's learning rate."""

    def __init__(self):
        self.t, self.m, self.v = 0, np.zeros(TASKS), np.zeros(TASKS)

    def step(self, g):
        self.t += 1
        self.m, self.v = 0.9 * self.m + 0.1 * g, 0.999 * self.v + 0.001 * g**2
        m_hat, v_hat = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return -1e-3 * m_hat / (np.sqrt(v_hat) + 1e-8)


def algorithm(slope_of, optimizer, *, start=0.0, classification=()):
    """θ and s after each step, both moved by the gradients of before the step."""
    theta, s = START.copy(), np.full(TASKS, start)
    factor = np.array([1.0 if i in classification else 0.5 for i in range(TASKS)])
    thetas, logs = [], []
    for t in range(STEPS):
        values, rows = values_and_rows(theta, 0.1 * t)
        theta = theta - ALPHA * (factor * np.exp(-s)) @ rows
        s = s + optimizer.step(slope_of(s, values, factor))
        thetas.append(theta)
        logs.append(s)
    weights = factor * np.exp(-np.array(logs))
    return np.array(thetas), np.array(logs), weights


def library(make, *, stacked=False, **options):
    tx = optax.chain(make(TASKS, **options), optax.sgd(ALPHA))

    def body(carry, t):
        params, state = carry
        if stacked:
            values, updates = auxjax.task_grads(losses)(params, 0.1 * t)
            extra = {"losses": values}
        else:
            updates, extra = auxjax.task_jacobian(losses, params, 0.1 * t), {}
        updates, state = tx.update(updates, state, params, **extra)
        params = optax.apply_updates(params, updates)
        found = [optax.tree.get(state, k) for k in ("log_variance", "weights")]
        return (params, state), (params, *found)

    params = jnp.asarray(START)
    steps = jnp.arange(STEPS, dtype=params.dtype)
    run = jax.jit(lambda: jax.lax.scan(body, (params, tx.init(params)), steps)[1])
    return run()


VARIANTS = {
    "descent": (NumpyDescent, {}, {"optimizer": optax.sgd(BETA)}),
    "default": (NumpyAdam, {}, {}),
    "start": (
        NumpyDescent,
        {"start": -0.7},
        {"init_log_variance": -0.7, "optimizer": optax.sgd(BETA)},
    ),
    "classification": (
        NumpyDescent,
        {"classification": (0, 2)},
        {"classification": (0, 2), "optimizer": optax.sgd(BETA)},
    ),
}


@every_rule
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_paper(x64, rule, variant):
    slope_of, make, _ = RULES[rule]
    theirs, reference_options, options = VARIANTS[variant]
    expected = algorithm(slope_of, theirs(), **reference_options)
    found = library(make, **options)
    moved = np.abs(expected[1][-1] - expected[1][0])
    assert np.max(moved) > (1e-3 if variant == "default" else 0.1)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@every_rule
def test_stacked_gradients_are_as_good(x64, rule):
    _, make, _ = RULES[rule]
    options = {"optimizer": optax.sgd(BETA), "classification": (1,)}
    lazy, stacked = library(make, **options), library(make, stacked=True, **options)
    for a, b in zip(lazy, stacked, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@every_rule
def test_the_slope_is_that_of_the_total_loss(x64, rule):
    """Where JAX differentiates the printed formula itself."""
    _, _, make = RULES[rule]
    s, values = jnp.array([-0.5, 0.0, 1.2]), jnp.array([3.0, 0.2, 1.0])

    def total(s):
        variance = jnp.exp(s)  # σ²
        spread = jnp.log(1 + variance) if rule == "liebel" else jnp.log(variance) / 2
        return jnp.sum(values / (2 * variance) + spread)

    tx = make(TASKS, optimizer=optax.sgd(1.0))
    state = tx.init(jnp.zeros(2))._replace(log_variance=s, weights=jnp.exp(-s) / 2)
    _, state = tx.update(jnp.ones((TASKS, 2)), state, losses=values)
    np.testing.assert_allclose(state.log_variance, s - jax.grad(total)(s), rtol=1e-12)


def rest(make, values, **options):
    """Weights after many steps on losses that do not change."""
    tx = make(TASKS, optimizer=optax.sgd(0.5), **options)
    rows = jnp.ones((TASKS, 2))

    def body(state, _):
        return tx.update(rows, state, losses=jnp.asarray(values))[1], None

    run = jax.jit(lambda: jax.lax.scan(body, tx.init(jnp.zeros(2)), None, length=400))
    return run()[0].weights


def test_the_weights_come_to_rest_at_one_over_twice_the_loss():
    values = np.array([0.2, 1.0, 5.0], np.float32)
    found = rest(auxjax.scale_by_uncertainty, values)
    np.testing.assert_allclose(found, 1 / (2 * values), rtol=1e-5)
    # exp(−s) L = ½ all the same where the weight itself is exp(−s).
    found = rest(auxjax.scale_by_uncertainty, values, classification=(0, 1, 2))
    np.testing.assert_allclose(found, 1 / (2 * values), rtol=1e-5)


def test_the_revised_weights_come_to_rest_where_its_slope_is_zero():
    """½ L exp(−s) = σ²/(1 + σ²): σ⁴ − ½ L σ² − ½ L = 0."""
    values = np.array([0.2, 1.0, 5.0], np.float32)
    variance = values / 4 + np.sqrt(values**2 / 16 + values / 2)
    found = rest(auxjax.scale_by_revised_uncertainty, values)
    np.testing.assert_allclose(found, 1 / (2 * variance), rtol=1e-5)


@every_rule
def test_the_step_is_made_with_the_weights_of_before(rule):
    _, make, _ = RULES[rule]
    tx = make(2, optimizer=optax.sgd(1.0), classification=[1], init_log_variance=0.5)
    state = tx.init(jnp.zeros(1))
    before = np.exp(-0.5) * np.array([0.5, 1.0])
    np.testing.assert_allclose(optax.tree.get(state, "weights"), before, rtol=1e-6)
    rows = jnp.array([[2.0], [3.0]])
    total, state = tx.update(rows, state, losses=jnp.array([4.0, 1.0]))
    np.testing.assert_allclose(total, before @ rows, rtol=1e-6)
    after = optax.tree.get(state, "log_variance")
    weights = optax.tree.get(state, "weights")
    np.testing.assert_allclose(weights, np.exp(-after) * [0.5, 1.0], rtol=1e-6)


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_jit_and_in_any_precision(rule, dtype):
    _, make, scale = RULES[rule]
    params = jnp.asarray(START, dtype)
    jac = auxjax.task_jacobian(losses, params)
    tx = make(TASKS)
    state = tx.init(params)
    args = (jac, state, params)
    updates, new = tx.update(*args)
    again = jax.jit(tx.update)(*args)
    for a, b in zip(
        jax.tree.leaves((updates, new)), jax.tree.leaves(again), strict=True
    ):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(*(np.asarray(x, np.float64) for x in (a, b)), 1e-2)
    assert updates.dtype == dtype
    assert optax.tree.get(new, "weights").dtype == jnp.float32
    assert jax.tree.structure(new) == jax.tree.structure(state)
    scaled, _ = scale(TASKS).update(jac, scale(TASKS).init(params), params)
    assert isinstance(scaled, auxjax.TaskJacobian)


@every_rule
def test_bad_input(rule):
    _, alias, scale = RULES[rule]
    for make in (alias, scale):
        for options, message in (
            ({"num_tasks": 1}, "`num_tasks` should be at least 2, the main task and"),
            ({"classification": (2,)}, "`classification` should hold indices in 0..1."),
            ({"classification": (-1,)}, "`classification` should hold indices in 0."),
            ({"init_log_variance": np.nan}, "`init_log_variance` should be finite."),
        ):
            with pytest.raises(ValueError, match=re.escape(message)):
                make(**options)
        tx, rows = make(2), jnp.ones((2, 3))
        state = tx.init(jnp.zeros(3))
        with pytest.raises(ValueError, match=r"needs the losses\. Found stacked"):
            tx.update(rows, state)
        with pytest.raises(ValueError, match="`num_tasks` should be 3"):
            tx.update(jnp.ones((3, 3)), state, losses=jnp.ones(3))
        with pytest.raises(ValueError, match=r"`losses` should have shape \(2,\)"):
            tx.update(rows, state, losses=jnp.ones(3))
        with pytest.raises(ValueError, match="already summed over the tasks"):
            tx.update(jnp.ones(3), state, jnp.zeros(3), losses=jnp.ones(2))
