"""DB-MTL against Algorithm 1 in NumPy and float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, STEPS, STEP = 3, 7, 0.003
rng = np.random.default_rng(3)
INPUTS, TARGETS = rng.normal(size=(6, 3)), rng.normal(size=(TASKS, 6))
TARGETS *= np.array([1.0, 8.0, 0.1])[:, None]
TRUNK, HEADS = rng.normal(size=(3, 2)), rng.normal(size=(TASKS, 2))
WHERE = {"trunk": True, "heads": False}


def losses(params, shift=0.0):
    """A linear trunk, and a head per task."""
    x = jnp.asarray(INPUTS, params["trunk"].dtype) + shift
    z = x @ params["trunk"]
    return tuple(
        jnp.mean((z @ h - jnp.asarray(t, h.dtype)) ** 2)
        for h, t in zip(params["heads"], TARGETS, strict=True)
    )


def start():
    return {"trunk": jnp.asarray(TRUNK), "heads": [jnp.asarray(h) for h in HEADS]}


def algorithm_1(beta=0.9, log=True, eps=1e-8):
    """The parameters and the weights α/‖ĝ‖ of each step; β a number or β(k), k ≥ 1."""
    trunk, heads, found = TRUNK.copy(), HEADS.copy(), []
    average = np.zeros((TASKS, 3, 2))
    for k in range(STEPS):
        x = INPUTS + 0.1 * k
        z = x @ trunk
        error = heads @ z.T - TARGETS
        values = np.mean(error**2, axis=1)
        slope = 2 * error / error.shape[1]
        if log:
            slope = slope / (values + eps)[:, None]
        g = np.einsum("bi,tb,tj->tij", x, slope, heads)
        b = beta(k + 1) if callable(beta) else beta
        average = b * average + (1 - b) * g
        norms = np.sqrt(np.sum(average**2, axis=(1, 2)))
        w = norms.max() / (norms + eps)
        trunk = trunk - STEP * np.einsum("t,tij->ij", w, average)
        heads = heads - STEP * slope @ z
        found.append((trunk, heads, w))
    return [np.array(x) for x in zip(*found, strict=True)]


def library(stacked=False, **options):
    if stacked:  # stacked gradients do not tell what is shared
        options["where"] = WHERE
    tx = optax.chain(auxjax.db_mtl(TASKS, **options), optax.sgd(STEP))

    def body(carry, t):
        params, state = carry
        updates, extra = auxjax.task_jacobian(losses, params, 0.1 * t), {}
        if stacked:
            updates, extra = updates.rows(), {"losses": updates.losses}
        updates, state = tx.update(updates, state, params, **extra)
        params = optax.apply_updates(params, updates)
        w = optax.tree.get(state, "weights")
        return (params, state), (params["trunk"], jnp.stack(params["heads"]), w)

    params = start()
    steps = jnp.arange(STEPS, dtype=params["trunk"].dtype)
    carry = (params, tx.init(params))
    return jax.jit(lambda: jax.lax.scan(body, carry, steps)[1])()


def root(k):
    """LibMTL's β/k^σ with σ = ½."""
    return 0.9 / k**0.5


OPTIONS = {
    "constant": ({}, {}),
    "no average": ({"beta": 0.0}, {"beta": 0.0}),
    "no logarithm": ({"beta": 0.5, "log": False}, {"beta": 0.5, "log": False}),
    "another ε": ({"eps": 0.1}, {"eps": 0.1}),
    "β / √k": ({"beta": root}, {"beta": lambda count: root(count.astype(float) + 1)}),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("stacked", [False, True])
def test_equals_algorithm_1(x64, name, stacked):
    theirs, ours = OPTIONS[name]
    expected = algorithm_1(**theirs)
    assert np.ptp(expected[-1][-1]) > 1  # the gradients differ in length
    for a, b in zip(library(stacked, **ours), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_every_task_has_the_same_share(x64):
    """Rows of any length: each adds a vector as long as the longest."""
    rows = np.eye(4) * np.array([1e-3, 1.0, 50.0, 7.0])[:, None]
    tx = auxjax.db_mtl(4, beta=0.0, log=False, eps=0.0)
    d, state = tx.update(jnp.asarray(rows), tx.init(jnp.zeros(4)))
    np.testing.assert_allclose(d, np.full(4, 50.0), rtol=1e-12)
    np.testing.assert_allclose(state.weights, [5e4, 50.0, 1.0, 50 / 7], rtol=1e-12)


def test_what_a_loss_is_multiplied_by_does_not_matter(x64):
    """∇ log cL = ∇ log L, on the trunk and on the heads."""
    tx, factors = auxjax.db_mtl(TASKS, eps=0.0), (1.0, 1e-3, 40.0)

    def scaled(p):
        return tuple(c * x for c, x in zip(factors, losses(p), strict=True))

    params = start()
    found, expected = (
        tx.update(auxjax.task_jacobian(f, params), tx.init(params), params)[0]
        for f in (scaled, losses)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), found, expected
    )


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_degenerate_gradients(beta):
    tx = auxjax.db_mtl(3, beta=beta, eps=0.0)
    update = jax.jit(tx.update)
    for rows in (np.zeros((3, 2)), [[0, 0], [1, 0], [0, 2]], [[1, 0]] * 3):
        rows = jnp.asarray(rows, jnp.float32)
        values = jnp.array([1.0, -1.0, 0.0])  # two have no logarithm
        d, state = update(rows, tx.init(rows[0]), losses=values)
        assert np.all(np.isfinite(d))
        assert np.all(np.isfinite(state.weights))
    np.testing.assert_allclose(d, [3.0 * (1 - beta), 0.0], rtol=1e-5)


def test_an_absent_task_keeps_its_average(x64):
    rows = jnp.asarray(rng.normal(size=(3, 4)))
    more = jnp.asarray(rng.normal(size=(3, 4)))
    tx, values = auxjax.db_mtl(3, beta=0.5), jnp.ones(3)
    _, first = tx.update(rows, tx.init(rows[0]), losses=values)
    mask = jnp.array([True, False, True])
    spoilt = more.at[1].set(jnp.nan)
    found, state = tx.update(spoilt, first, losses=values, task_mask=mask)
    two = auxjax.db_mtl(2, beta=0.5)
    _, kept = two.update(rows[::2], two.init(rows[0]), losses=values[::2])
    expected, _ = two.update(more[::2], kept, losses=values[::2])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(state.averages[0][1], first.averages[0][1])
    assert float(state.weights[1]) == float(first.weights[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_seen_and_not_remembered(bad):
    rows = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)
    tx, values = auxjax.db_mtl(3), jnp.ones(3)
    update = jax.jit(tx.update)
    _, first = update(rows, tx.init(rows[0]), losses=values)
    found, state = update(rows.at[1, 2].set(bad), first, losses=values)
    assert not np.all(np.isfinite(found))
    assert np.all(np.isfinite(state.averages[0]))
    np.testing.assert_array_equal(state.averages[0][1], first.averages[0][1])
    assert np.any(state.averages[0][0] != first.averages[0][0])
    assert np.all(np.isfinite(state.weights))


def test_what_is_kept():
    """The shared leaves' averages in single precision or better; nothing without β."""
    half = {"trunk": jnp.ones((3, 2), jnp.bfloat16), "heads": [jnp.ones(2)]}
    state = auxjax.db_mtl(3, where=WHERE).init(half)
    assert [x.shape for x in jax.tree.leaves(state.averages)] == [(3, 3, 2)]
    assert jax.tree.leaves(state.averages)[0].dtype == jnp.float32
    assert not jax.tree.leaves(auxjax.db_mtl(3, beta=0.0).init(half).averages)


def test_bad_input():
    for options, message in (
        ({"num_tasks": 0}, "`num_tasks` should be at least 1. Found 0."),
        ({"beta": 1.0}, "`beta` should be in [0, 1). Found 1.0."),
        ({"eps": -1.0}, "`eps` should be finite and at least 0. Found -1.0."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            auxjax.db_mtl(**options)
    tx, rows = auxjax.db_mtl(), jnp.eye(2)
    with pytest.raises(ValueError, match="`db_mtl` needs the losses"):
        tx.update(rows, tx.init(rows[0]))
    tx = auxjax.db_mtl(log=False)
    assert np.all(np.isfinite(tx.update(rows, tx.init(rows[0]))[0]))
