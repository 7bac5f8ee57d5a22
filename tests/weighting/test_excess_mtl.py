"""ExcessMTL against NumPy in float64, and against TorchJD."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

GOLDEN = json.loads(
    (
        Path(__file__).parents[1] / "aggregation" / "golden" / "torchjd_main_task.json"
    ).read_text()
)["ExcessMTL"]
TASKS, STEPS, STEP = 3, 8, 0.05
rng = np.random.default_rng(11)
INPUTS, TARGETS = rng.normal(size=(6, 3)), rng.normal(size=(TASKS, 6))
TARGETS *= np.array([1.0, 4.0, 0.2])[:, None]
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


class Paper:
    """Eq. 6, 7 and 9 on rows `[T, n]`, weights on the simplex."""

    def __init__(self, num_tasks, rate, warmup, eps=1e-7):
        self.rate, self.warmup, self.eps = rate, warmup, eps
        self.squares, self.first = 0.0, []
        self.w = np.full(num_tasks, 1 / num_tasks)

    def step(self, rows):
        self.squares = self.squares + rows**2
        excess = np.sum(rows**2 / np.sqrt(self.squares + self.eps), axis=1)
        if len(self.first) < self.warmup:
            self.first.append(excess)
            return self.w
        w = self.w * np.exp(self.rate * excess / np.mean(self.first, axis=0))
        self.w = w / w.sum()
        return self.w


def algorithm(rate=0.01, warmup=1, eps=1e-7):
    trunk, heads, found = TRUNK.copy(), HEADS.copy(), []
    paper = Paper(TASKS, rate, warmup, eps)
    for k in range(STEPS):
        x = INPUTS + 0.1 * k
        z = x @ trunk
        slope = 2 * (heads @ z.T - TARGETS) / len(x)
        g = np.einsum("bi,tb,tj->tij", x, slope, heads)
        w = paper.step(g.reshape(TASKS, -1))
        trunk = trunk - STEP * np.einsum("t,tij->ij", w, g)
        heads = heads - STEP * w[:, None] * (slope @ z)
        found.append((trunk, heads, w))
    return [np.array(x) for x in zip(*found, strict=True)]


def library(stacked=False, rate=0.01, **options):
    if stacked:  # stacked gradients do not tell what is shared
        options["where"] = WHERE
    rule = auxjax.excess_mtl(TASKS, learning_rate=rate, **options)
    tx = optax.chain(rule, optax.sgd(STEP))

    def body(carry, t):
        params, state = carry
        updates = auxjax.task_jacobian(losses, params, 0.1 * t)
        updates = updates.rows() if stacked else updates
        updates, state = tx.update(updates, state, params)
        params = optax.apply_updates(params, updates)
        w = optax.tree.get(state, "weights")
        return (params, state), (params["trunk"], jnp.stack(params["heads"]), w)

    params = start()
    steps = jnp.arange(STEPS, dtype=params["trunk"].dtype)
    carry = (params, tx.init(params))
    return jax.jit(lambda: jax.lax.scan(body, carry, steps)[1])()


@pytest.mark.parametrize("options", [{}, {"rate": 0.7, "warmup": 3}, {"eps": 0.1}])
@pytest.mark.parametrize("stacked", [False, True])
def test_equals_the_paper(x64, options, stacked):
    expected = algorithm(**options)
    assert np.ptp(expected[-1][-1]) > 1e-3  # the weights have come apart
    for a, b in zip(library(stacked, **options), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", list(GOLDEN))
def test_equals_torchjd(case):
    """Theirs is in float64, ours in float32."""
    found = GOLDEN[case]
    steps, theirs = np.array(found["jacobians"]), np.array(found["outputs"])
    tx = auxjax.excess_mtl(steps.shape[1], **found["options"])
    state, update = tx.init(jnp.zeros(steps.shape[-1])), jax.jit(tx.update)
    for rows, expected in zip(steps, theirs, strict=True):
        d, state = update(jnp.asarray(rows, jnp.float32), state)
        length = np.linalg.norm(rows, axis=1).max()
        np.testing.assert_allclose(d / length, expected / length, atol=1e-4)


def test_weights_come_back_from_where_float32_has_no_number():
    """Their logarithms are what is kept: e⁻²⁰⁰ is 0 in float32."""
    tx = auxjax.scale_by_excess_mtl(2, learning_rate=100.0)
    state, update = tx.init(jnp.zeros(2)), jax.jit(tx.update)
    one, other = jnp.eye(2), jnp.array([[1.0, 0.0], [0.0, 0.0]])
    _, state = update(one, state)
    for _ in range(4):
        _, state = update(other, state)
    assert state.weights[1] == 0
    assert np.all(np.isfinite(state.logits))
    for _ in range(40):
        _, state = update(jnp.array([[0.0, 0.0], [0.0, 1.0]]), state)
    assert state.weights[1] > 0.99


def test_who_is_absent_keeps_its_weight_and_the_others_theirs(x64):
    rows = jnp.asarray(rng.normal(size=(3, 4)))
    tx = auxjax.scale_by_excess_mtl(3, learning_rate=0.5)
    update = jax.jit(tx.update)
    _, state = update(rows, tx.init(rows[0]))
    _, first = update(rows * jnp.array([[1.0], [2.0], [0.3]]), state)
    mask = jnp.array([True, False, True])
    spoilt = rows.at[1].set(jnp.nan)
    _, state = update(spoilt, first, task_mask=mask)
    assert float(state.weights[1]) == float(first.weights[1])
    np.testing.assert_allclose(jnp.sum(state.weights), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(state.squares[0][1], first.squares[0][1])
    assert not np.allclose(state.weights[::2], first.weights[::2])
    _, nobody = update(rows, first, task_mask=jnp.zeros(3, bool))
    jax.tree.map(np.testing.assert_array_equal, nobody, first)


def test_a_task_that_comes_later_has_a_baseline_of_its_own(x64):
    """A gradient of zero, as of a head that starts at zero, makes none."""
    tx = auxjax.scale_by_excess_mtl(2, learning_rate=1.0, warmup=1)
    update = jax.jit(tx.update)
    late = jnp.array([[1.0], [0.0]])
    _, state = update(late, tx.init(jnp.zeros(1)))
    _, state = update(late, state)
    np.testing.assert_allclose(state.weights, [0.5, 0.5], rtol=1e-12)
    _, state = update(jnp.array([[1.0], [3.0]]), state)
    np.testing.assert_array_equal(state.steps, [3, 1])
    np.testing.assert_allclose(state.risks, [3**-0.5, 1.0], rtol=1e-6)


def test_bad_input():
    for options, message in (
        ({"num_tasks": 1}, "`num_tasks` should be at least 2"),
        ({"learning_rate": 0.0}, "`learning_rate` should be above 0. Found 0.0."),
        ({"warmup": 0}, "`warmup` should be at least 1. Found 0."),
        ({"eps": -1.0}, "`eps` should be at least 0. Found -1.0."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            auxjax.excess_mtl(**options)
