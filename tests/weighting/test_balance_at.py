"""Balancing at a layer and at an output: against NumPy, and what it costs."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, STEPS, STEP, BATCH = 3, 6, 0.05, 5
rng = np.random.default_rng(2)
INPUTS, TARGETS = rng.normal(size=(BATCH, 4)), rng.normal(size=(TASKS, BATCH, 2))
SIZES = np.array([1.0, 30.0, 0.02])
DEEP, LAST = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
AT_LAST = {"deep": False, "last": True, "probe": False}
AT_OUTPUT = {"deep": False, "last": False, "probe": True}


def losses(params, shift=0.0):
    """Three distances of one output, of very different sizes."""
    x = jnp.asarray(INPUTS, params["deep"].dtype) + shift
    out = jnp.tanh(x @ params["deep"]) @ params["last"]
    out = out + params["probe"] - jax.lax.stop_gradient(params["probe"])
    gaps = [out - jnp.asarray(t, out.dtype) for t in TARGETS]
    return tuple(s * jnp.mean(g**2) for s, g in zip(SIZES, gaps, strict=True))


def start(dtype="float64"):
    arrays = {"deep": DEEP, "last": LAST, "probe": np.zeros((BATCH, 2))}
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), arrays)


def algorithm(weigh):
    """The layers, the norms and the weights of each step, by hand.

    `weigh` is given the gradients at the last layer and at the output, `[T, …]`.
    """
    deep, last, found = DEEP.copy(), LAST.copy(), []
    for k in range(STEPS):
        x = INPUTS + 0.1 * k
        z = np.tanh(x @ deep)
        gap = z @ last - TARGETS
        at_output = 2 * SIZES[:, None, None] * gap / gap[0].size  # [T, batch, 2]
        at_last = np.einsum("bi,tbj->tij", z, at_output)
        back = (at_output @ last.T) * (1 - z**2)
        at_deep = np.einsum("bi,tbj->tij", x, back)
        norms, w = weigh(at_last, at_output)
        deep = deep - STEP * np.einsum("t,tij->ij", w, at_deep)
        last = last - STEP * np.einsum("t,tij->ij", w, at_last)
        found.append((deep, last, norms, w))
    return [np.array(x) for x in zip(*found, strict=True)]


class Average:
    """EnCodec's averager: a sum and a count that decay alike."""

    def __init__(self, decay):
        self.decay, self.total, self.count = decay, 0.0, 0.0

    def __call__(self, x):
        self.total = self.decay * self.total + x
        self.count = self.decay * self.count + 1
        return self.total / self.count


def vqgan(lam=(1.0, 1.0, 1.0), delta=1e-6, decay=0.0, most=1e4):
    """λ = ‖∇rec‖ / (‖∇gan‖ + δ) at the last layer, clipped, times a given weight."""
    mean = Average(decay)

    def weigh(at_last, at_output):
        norms = np.linalg.norm(at_last.reshape(TASKS, -1), axis=1)
        n = mean(norms)
        w = np.array(lam) * np.clip(n[0] / (n + delta), 0, most)
        w[0] = lam[0]
        return norms, w

    return weigh


def encodec(lam=(1.0, 1.0, 1.0), total=1.0, decay=0.999, per_item=False):
    """R λᵢ / Σλ · 1 / ⟨‖gᵢ‖⟩ at the output."""
    mean = Average(decay)

    def weigh(at_last, at_output):
        if per_item:
            norms = np.linalg.norm(at_output, axis=2).mean(1)
        else:
            norms = np.linalg.norm(at_output.reshape(TASKS, -1), axis=1)
        return norms, total * np.array(lam) / np.sum(lam) / (1e-12 + mean(norms))

    return weigh


def library(where, stacked=False, **options):
    tx = optax.chain(auxjax.balance_at(where, TASKS, **options), optax.sgd(STEP))

    def body(carry, t):
        params, state = carry
        updates = auxjax.task_jacobian(losses, params, 0.1 * t)
        updates = updates.rows() if stacked else updates
        updates, state = tx.update(updates, state, params)
        params = optax.apply_updates(params, updates)  # the probe moves as well
        norms, w = (optax.tree.get(state, k) for k in ("norms", "weights"))
        return (params, state), (params["deep"], params["last"], norms, w)

    params = start()
    steps = jnp.arange(STEPS, dtype=params["deep"].dtype)
    carry = (params, tx.init(params))
    return jax.jit(lambda: jax.lax.scan(body, carry, steps)[1])()


LAMBDA = (1.0, 0.5, 3.0)
CASES = {
    "VQGAN": (vqgan(), AT_LAST, {}),
    "VQGAN's code": (
        vqgan((1.0, 0.8, 0.8), 1e-4, most=2.0),
        AT_LAST,
        {"weights": [1.0, 0.8, 0.8], "eps": 1e-4, "max_ratio": 2.0},
    ),
    "VQGAN, averages": (vqgan(decay=0.9), AT_LAST, {"decay": 0.9}),
    "EnCodec": (
        encodec(LAMBDA, 2.0),
        AT_OUTPUT,
        {"weights": LAMBDA, "reference": 2.0, "decay": 0.999},
    ),
    "EnCodec's code": (
        encodec(LAMBDA, decay=0.9, per_item=True),
        AT_OUTPUT,
        {"weights": LAMBDA, "reference": 1.0, "decay": 0.9, "per_example": True},
    ),
}


@functools.cache
def expected_of(name):
    return algorithm(CASES[name][0])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stacked", [False, True])
def test_equals_the_paper(x64, name, stacked):
    _, where, options = CASES[name]
    expected = expected_of(name)
    assert np.ptp(expected[-1][-1]) > 0.3
    found = library(where, stacked, **options)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_the_shares_at_the_output_are_those_asked_for(x64):
    """Whatever the losses are multiplied by: EnCodec's promise, without an average."""
    params = start()
    jac = auxjax.task_jacobian(losses, params)
    tx = auxjax.scale_by_balance_at(
        AT_OUTPUT, TASKS, weights=[1.0, 2.0, 1.0], reference=8.0
    )
    rows, _ = tx.update(jac, tx.init(params), params)
    np.testing.assert_allclose(rows.norms(AT_OUTPUT), [2.0, 4.0, 2.0], rtol=1e-8)


def test_a_probe_is_never_seen_in_the_output(x64):
    params = start()
    moved = params | {"probe": jnp.asarray(rng.normal(size=(BATCH, 2)))}
    np.testing.assert_allclose(losses(moved), losses(params), rtol=1e-12)


def problem(num_tasks):
    """Six layers of 64, and losses of the last one's output."""
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape) / 8, jnp.float32)  # noqa: E731
    params = {"trunk": [draw(64, 64) for _ in range(6)], "last": draw(64, 64)}
    targets = [draw(32, 64) for _ in range(num_tasks)]

    def losses(p, x):
        for layer in p["trunk"]:
            x = jnp.tanh(x @ layer)
        return tuple(jnp.mean(jnp.abs(x @ p["last"] - t)) for t in targets)

    return losses, params, draw(32, 64)


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_no_pass_goes_deeper_than_where(num_tasks):
    """As the compiler counts: a step costs little more than equal weighting's."""
    losses, params, x = problem(num_tasks)

    def flops(tx):
        def step(params, state, x):
            return tx.update(auxjax.task_jacobian(losses, params, x), state, params)

        program = jax.jit(step).lower(params, tx.init(params), x).compile()
        return program.cost_analysis()["flops"]

    equal = flops(auxjax.sum_tasks())
    last = {"trunk": False, "last": True}
    assert flops(auxjax.balance_at(last, num_tasks)) < (1 + 0.08 * num_tasks) * equal
    whole = {"trunk": True, "last": True}
    assert flops(auxjax.balance_at(whole, num_tasks)) > (1 + 0.5 * num_tasks) * equal


def test_a_task_that_does_not_reach_the_place_has_its_lambda():
    rows = {"at": jnp.array([[2.0], [0.0], [4.0]]), "off": jnp.ones((3, 1))}
    where, params = {"at": True, "off": False}, jax.tree.map(lambda x: x[0], rows)
    for reference, expected in (("main", [1.0, 3.0, 1.0]), (6.0, [0.5, 3.0, 0.5])):
        tx = auxjax.scale_by_balance_at(
            where, 3, weights=[1.0, 3.0, 2.0], reference=reference
        )
        found, state = tx.update(rows, tx.init(params))
        np.testing.assert_allclose(state.weights, expected, rtol=1e-5)
        np.testing.assert_allclose(found["off"][:, 0], expected, rtol=1e-5)


def test_while_the_main_task_is_absent_its_last_norm_stands(x64):
    tx = auxjax.scale_by_balance_at(True, 2, eps=0.0)
    update = jax.jit(tx.update)
    start_of = tx.init(jnp.zeros(1))
    away = jnp.array([False, True])
    rows = jnp.array([[8.0], [3.0]])
    found, _ = update(rows, start_of, task_mask=away)
    np.testing.assert_array_equal(found[:, 0], [0.0, 3.0])  # nothing is known yet
    _, first = update(jnp.array([[6.0], [1.0]]), start_of)
    found, state = update(rows, first, task_mask=away)
    np.testing.assert_allclose(found[:, 0], [0.0, 6.0], rtol=1e-12)
    _, state = update(rows.at[1].set(jnp.nan), first)
    np.testing.assert_array_equal(state.nonfinite, [0, 1])
    assert float(state.weights[1]) == 6.0


def test_bad_input():
    for options, message in (
        ({"num_tasks": 1}, "`num_tasks` should be at least 2"),
        ({"weights": [1.0, -1.0]}, "`weights` should be at least 0"),
        ({"reference": "first"}, '`reference` should be "main" or a number above 0.'),
        ({"reference": 0.0}, "`reference` should be above 0. Found 0.0."),
        ({"decay": 1.0}, "`decay` should be in [0, 1). Found 1.0."),
        ({"eps": -1.0}, "`eps` should be at least 0. Found -1.0."),
        ({"max_ratio": 0.0}, "`max_ratio` should be above 0. Found 0.0."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            auxjax.balance_at(True, **options)
    rows = jnp.ones((2, 3))
    for where, options, message in (
        (False, {}, "`where` should pick a leaf of the parameters. Found none."),
        (True, {"per_example": True}, "`per_example` should be False where a leaf"),
    ):
        tx = auxjax.balance_at(where, **options)
        params = jnp.zeros(3) if where is False else jnp.zeros(())
        given = rows if where is False else rows[:, 0]
        with pytest.raises(ValueError, match=re.escape(message)):
            tx.update(given, tx.init(params))
