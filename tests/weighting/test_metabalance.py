"""MetaBalance against NumPy in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, STEPS, STEP = 3, 6, 0.05
rng = np.random.default_rng(7)
INPUTS, TARGETS = rng.normal(size=(6, 3)), rng.normal(size=(TASKS, 6))
TARGETS *= np.array([1.0, 6.0, 0.2])[:, None]
TRUNK, BIAS = rng.normal(size=(3, 2)), rng.normal(size=2)
HEADS = rng.normal(size=(TASKS, 2))
SHARED = {"trunk": True, "bias": True, "heads": False}


def losses(params, shift=0.0):
    """A linear trunk of two leaves, and a head per task."""
    x = jnp.asarray(INPUTS, params["trunk"].dtype) + shift
    z = x @ params["trunk"] + params["bias"][None]
    return tuple(
        jnp.mean((z @ h - jnp.asarray(t, h.dtype)) ** 2)
        for h, t in zip(params["heads"], TARGETS, strict=True)
    )


def start(dtype="float64"):
    tree = {"trunk": TRUNK, "bias": BIAS, "heads": list(HEADS)}
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def rows_of(trunk, bias, heads, shift):
    """By hand: the gradients of the two leaves `[T, ...]` and of each task's head."""
    x = INPUTS + shift
    z = x @ trunk + bias
    error = 2 * (heads @ z.T - TARGETS) / len(x)  # [T, batch]
    back = error[:, :, None] * heads[:, None, :]  # [T, batch, 2]
    return np.einsum("bi,tbj->tij", x, back), back.sum(1), error @ z


def weights_of(means, relax, strategy):
    """`[T]` of one leaf, or of all together."""
    w = np.ones(TASKS)
    for i in range(1, TASKS):
        longer = means[i] > means[0]
        if strategy == "both" or (strategy == "shrink") == longer:
            w[i] = relax * means[0] / means[i] + 1 - relax
    return w


def algorithm(relax=0.7, beta=0.9, strategy="both", per_layer=True):
    trunk, bias, heads = TRUNK.copy(), BIAS.copy(), HEADS.copy()
    sums, found = None, []
    for t in range(STEPS):
        on_trunk, on_bias, on_heads = rows_of(trunk, bias, heads, 0.1 * t)
        squares = np.stack([(on_trunk**2).sum((1, 2)), (on_bias**2).sum(1)])
        norms = np.sqrt(squares if per_layer else squares.sum(0, keepdims=True))
        sums = (1 - beta) * norms if t == 0 else beta * sums + (1 - beta) * norms
        means = sums / (1 - beta ** (t + 1))
        w = np.array([weights_of(m, relax, strategy) for m in means])
        trunk = trunk - STEP * np.einsum("t,tij->ij", w[0], on_trunk)
        bias = bias - STEP * w[-1] @ on_bias
        heads = heads - STEP * on_heads  # a head's gradient is its own
        found.append((trunk, bias, heads, w.mean(0)))
    return [np.array(x) for x in zip(*found, strict=True)]


def library(stacked=False, **options):
    if stacked:  # stacked gradients do not tell what is shared
        options["where"] = SHARED
    tx = optax.chain(auxjax.metabalance(TASKS, **options), optax.sgd(STEP))

    def body(carry, t):
        params, state = carry
        updates, extra = auxjax.task_jacobian(losses, params, 0.1 * t), {}
        if stacked:
            updates, extra = updates.rows(), {"losses": updates.losses}
        updates, state = tx.update(updates, state, params, **extra)
        params = optax.apply_updates(params, updates)
        heads = jnp.stack(params["heads"])
        w = optax.tree.get(state, "weights")
        return (params, state), (params["trunk"], params["bias"], heads, w)

    params = start()
    steps = jnp.arange(STEPS, dtype=params["trunk"].dtype)
    carry = (params, tx.init(params))
    return jax.jit(lambda: jax.lax.scan(body, carry, steps)[1])()


OPTIONS = [
    {},
    {"relax": 1.0, "beta": 0.0},
    {"relax": 0.3, "beta": 0.99},
    {"strategy": "shrink"},
    {"strategy": "grow"},
    {"per_layer": False, "relax": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_paper(x64, options):
    expected = algorithm(**options)
    assert np.ptp(expected[-1]) > 0.1  # the weights differ
    for stacked in (False, True):
        for a, b in zip(library(stacked, **options), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("strategy", ["both", "shrink", "grow"])
def test_with_r_of_one_the_lengths_are_those_of_the_main_task(x64, strategy):
    """Whatever the losses are multiplied by; β = 0."""
    rows = {
        "a": jnp.asarray(rng.normal(size=(4, 5)) * [[1.0], [9.0], [0.1], [2.0]]),
        "b": jnp.asarray(rng.normal(size=(4, 2)) * [[1.0], [0.1], [8.0], [2.0]]),
    }
    tx = auxjax.scale_by_metabalance(4, relax=1.0, beta=0.0, strategy=strategy)
    found, _ = tx.update(rows, tx.init(jax.tree.map(lambda x: x[0], rows)))
    for name in rows:
        before, after = (np.linalg.norm(x[name], axis=1) for x in (rows, found))
        expected = {
            "both": np.full(4, before[0]),
            "shrink": np.minimum(before, before[0]),
            "grow": np.maximum(before, before[0]),
        }
        np.testing.assert_allclose(after, expected[strategy], rtol=1e-12)


def test_with_r_of_zero_nothing_is_changed():
    rows = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)
    tx = auxjax.scale_by_metabalance(3, relax=0.0)
    found, state = tx.update(rows, tx.init(rows[0]))
    np.testing.assert_array_equal(found, rows)
    np.testing.assert_array_equal(state.weights, [1, 1, 1])


def test_a_leaf_that_one_of_the_two_has_no_gradient_on_is_left_alone():
    """The main task does not reach "b", the second helper not "a"."""
    rows = {
        "a": jnp.array([[2.0], [8.0], [0.0]]),
        "b": jnp.array([[0.0], [3.0], [5.0]]),
    }
    tx = auxjax.scale_by_metabalance(3, relax=1.0)
    zeros = jax.tree.map(lambda x: x[0], rows)
    found, state = tx.update(rows, tx.init(zeros))
    np.testing.assert_allclose(found["a"][:, 0], [2.0, 2.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(found["b"][:, 0], [0.0, 3.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose(state.weights, [1.0, 0.625, 1.0], rtol=1e-6)


def test_who_is_absent_keeps_its_average_and_the_main_task_too(x64):
    """Norms of 4 and 1, then of 8 and 3 with a task away; β = ½, debiased."""
    tx = auxjax.scale_by_metabalance(2, relax=1.0, beta=0.5)
    update = jax.jit(tx.update)
    _, first = update(jnp.array([[4.0], [1.0]]), tx.init(jnp.zeros(1)))
    rows = jnp.array([[8.0], [3.0]])
    found, state = update(rows, first, task_mask=jnp.array([False, True]))
    mean = (0.25 * 1 + 0.5 * 3) / 0.75
    np.testing.assert_allclose(found[:, 0], [0.0, 3.0 * 4.0 / mean], rtol=1e-12)
    np.testing.assert_array_equal(state.steps, [1, 2])
    _, state = update(rows, first, task_mask=jnp.array([True, False]))
    np.testing.assert_array_equal(state.averages[1], first.averages[1])
    assert float(state.weights[1]) == float(first.weights[1])
    found, _ = update(rows, state)
    main = (0.125 * 4 + 0.25 * 8 + 0.5 * 8) / 0.875
    np.testing.assert_allclose(found[1, 0], 3.0 * main / mean, rtol=1e-12)


def test_forty_leaves_are_compiled_quickly():
    """A scaling of its own for every leaf costs no backward pass of its own."""
    import time

    params = {
        "layers": [jnp.eye(4) for _ in range(40)],
        "heads": [jnp.ones(4) for _ in range(4)],
    }

    def deep(p, x):
        for layer in p["layers"]:
            x = jnp.tanh(x @ layer)
        return tuple(jnp.mean((x @ h) ** 2) for h in p["heads"])

    tx = auxjax.metabalance(4)

    def step(params, state, x):
        return tx.update(auxjax.task_jacobian(deep, params, x), state, params)

    begin = time.process_time()
    jax.jit(step).lower(params, tx.init(params), jnp.ones((3, 4)))
    assert time.process_time() - begin < 5


def test_bad_input():
    for options, message in (
        ({"num_tasks": 1}, "`num_tasks` should be at least 2"),
        ({"relax": 1.5}, "`relax` should be in [0, 1]. Found 1.5."),
        ({"beta": 1.0}, "`beta` should be in [0, 1). Found 1.0."),
        ({"strategy": "C"}, "`strategy` should be one of both, shrink, grow. Found 'C"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            auxjax.metabalance(**options)
