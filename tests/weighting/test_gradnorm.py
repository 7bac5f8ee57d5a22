"""GradNorm against NumPy in float64, and against JAX's own gradient of Eq. 2."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, STEPS, STEP, BETA = 3, 8, 0.05, 0.02
rng = np.random.default_rng(4)
INPUTS, TARGETS = rng.normal(size=(6, 2)), rng.normal(size=(TASKS, 6))
TARGETS *= np.array([1.0, 4.0, 0.3])[:, None]
TRUNK, HEADS = rng.normal(size=(2, 2)), rng.normal(size=(TASKS, 2))


def losses(params, shift=0.0):
    """A linear trunk, and a head per task."""
    x = jnp.asarray(INPUTS, params["trunk"].dtype) + shift
    z = x @ params["trunk"]
    return tuple(
        jnp.mean((z @ h - jnp.asarray(t, h.dtype)) ** 2)
        for h, t in zip(params["heads"], TARGETS, strict=True)
    )


def start(dtype=None):
    return {
        "trunk": jnp.asarray(TRUNK, dtype),
        "heads": [jnp.asarray(h, dtype) for h in HEADS],
    }


def values_and_rows(trunk, heads, shift):
    """Losses, their gradients in the trunk `[T, 2, 2]` and in their heads `[T, 2]`."""
    x = INPUTS + shift
    z = x @ trunk
    values, rows, tops = [], [], []
    for h, y in zip(heads, TARGETS, strict=True):
        error = 2 * (z @ h - y) / len(x)
        values.append(np.mean((z @ h - y) ** 2))
        rows.append(np.outer(x.T @ error, h))
        tops.append(z.T @ error)
    return np.array(values), np.array(rows), np.array(tops)


def algorithm(alpha=1.5, first=None):
    """Algorithm 1 with W = the trunk."""
    trunk, heads, w = TRUNK.copy(), HEADS.copy(), np.ones(TASKS)
    found = []
    for t in range(STEPS):
        values, rows, tops = values_and_rows(trunk, heads, 0.1 * t)
        first = values if first is None else first
        norms = np.sqrt(np.sum(rows**2, axis=(1, 2)))
        ratio = values / first
        rate = ratio / ratio.mean()
        target = np.mean(w * norms) * rate**alpha
        new = w - BETA * norms * np.where(w * norms > target, 1.0, -1.0)
        trunk = trunk - STEP * np.einsum("t,tij->ij", w, rows)
        heads = heads - STEP * w[:, None] * tops
        w = TASKS * new / new.sum()
        found.append((trunk, w, norms))
    return [np.array(x) for x in zip(*found, strict=True)]


def library(stacked=False, **options):
    options = {"optimizer": optax.sgd(BETA), **options}
    if stacked:  # stacked gradients do not tell what is shared
        options["where"] = {"trunk": True, "heads": False}
    tx = optax.chain(auxjax.gradnorm(TASKS, **options), optax.sgd(STEP))

    def body(carry, t):
        params, state = carry
        updates, extra = auxjax.task_jacobian(losses, params, 0.1 * t), {}
        if stacked:
            updates, extra = updates.rows(), {"losses": updates.losses}
        updates, state = tx.update(updates, state, params, **extra)
        params = optax.apply_updates(params, updates)
        w, norms = (optax.tree.get(state, k) for k in ("weights", "norms"))
        return (params, state), (params["trunk"], w, norms)

    params = start()
    steps = jnp.arange(STEPS, dtype=params["trunk"].dtype)
    carry = (params, tx.init(params))
    return jax.jit(lambda: jax.lax.scan(body, carry, steps)[1])()


def close(found, expected, tol=1e-10):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_equals_algorithm_1(x64, alpha):
    expected = algorithm(alpha)
    assert np.ptp(expected[1][-1]) > 0.1
    close(library(alpha=alpha), expected)
    close(library(alpha=alpha, stacked=True), expected)


def test_initial_losses_may_be_given(x64):
    first = [1.0, 5.0, 0.2]
    expected = algorithm(first=np.array(first))
    assert not np.allclose(expected[1], algorithm()[1])
    close(library(initial_losses=first), expected)


def test_the_slope_is_that_of_the_sum_of_gaps(x64):
    """Where JAX differentiates Eq. 2 as it is printed."""
    params = start()
    jac = auxjax.task_jacobian(losses, params)
    norms = jac.norms({"trunk": True, "heads": False})
    w, first = jnp.array([0.5, 1.5, 1.0]), jnp.array([1.0, 9.0, 0.1])

    def gaps(w):
        rate = jac.losses / first
        rate = rate / jnp.mean(rate)
        target = jax.lax.stop_gradient(jnp.mean(w * norms)) * rate**1.5
        return jnp.sum(jnp.abs(w * norms - target))

    tx = auxjax.scale_by_gradnorm(TASKS, optimizer=optax.sgd(0.01))
    state = tx.init(params)._replace(weights=w, initial_losses=first)
    _, state = tx.update(jac, state, params)
    moved = w - 0.01 * jax.grad(gaps)(w)
    np.testing.assert_allclose(state.weights, moved * 3 / moved.sum(), rtol=1e-12)


def test_two_tasks_and_the_first_shared_leaf(x64):
    """By hand: norms 3 and 1, targets 2 each; then 0.7 and 1.1 over 0.9."""
    tx = auxjax.scale_by_gradnorm(2, optimizer=optax.sgd(0.1))
    losses = lambda p: (1 + 3 * p["a"] + p["b"], 1 + p["a"])  # noqa: E731
    params = {"a": jnp.zeros(()), "b": jnp.zeros(())}  # `b` is the first task's own
    jac = auxjax.task_jacobian(losses, params)
    _, state = tx.update(jac, tx.init(params), params)
    np.testing.assert_allclose(state.norms, [3.0, 1.0], rtol=1e-12)
    np.testing.assert_allclose(state.weights, [0.7 / 0.9, 1.1 / 0.9], rtol=1e-12)


def test_sketched_norms_are_right_on_average(x64):
    """By many probes, and with another draw in every step."""
    params = start()
    jac = auxjax.task_jacobian(losses, params)
    exact = jac.norms({"trunk": True, "heads": False})
    tx = auxjax.scale_by_gradnorm(TASKS, sketch=4000, key=jax.random.key(1))
    _, state = tx.update(jac, tx.init(params), params)
    np.testing.assert_allclose(state.norms, exact, rtol=0.08)
    _, again = tx.update(jac, state, params)
    assert np.all(np.asarray(state.norms) != np.asarray(again.norms))
    assert not np.allclose(state.norms, exact, rtol=1e-6)


def test_a_weight_stays_at_or_above_zero_and_comes_back():
    tx = auxjax.scale_by_gradnorm(2, optimizer=optax.sgd(1.0))
    rows, state = jnp.array([[9.0], [1.0]]), tx.init(jnp.zeros(1))
    _, state = tx.update(rows, state, losses=jnp.ones(2))
    np.testing.assert_allclose(state.weights, [0.0, 2.0], atol=1e-6)
    _, state = tx.update(rows, state, losses=jnp.ones(2))
    np.testing.assert_allclose(state.weights, [2 * 0.9, 2 * 0.1], atol=1e-6)


def test_bad_input():
    for options, message in (
        ({"num_tasks": 1}, "`num_tasks` should be at least 2"),
        ({"alpha": np.inf}, "`alpha` should be finite. Found inf."),
        ({"sketch": 0}, "`sketch` should be at least 1. Found 0."),
        (
            {"initial_losses": [1.0]},
            "`initial_losses` should have shape (2,), one",
        ),
        ({"initial_losses": [1.0, 0.0]}, "`initial_losses` should be 2 numbers above"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            auxjax.gradnorm(**options)
