"""DGA against NumPy in float64, its price, and batches that are drawn by it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, STEPS, STEP = 4, 8, 0.02
rng = np.random.default_rng(5)
INPUTS, TARGETS = rng.normal(size=(6, 3)), rng.normal(size=(TASKS, 6))
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


def algorithm(
    rate=0.1, ema=0.0, every=1, cosine=False, total=TASKS - 1, main_weight=1.0
):
    """The parameters and the weights of each step."""
    trunk, heads, found = TRUNK.copy(), HEADS.copy(), []
    alpha = mean = np.full(TASKS - 1, 1 / (TASKS - 1))
    for k in range(STEPS):
        x = INPUTS + 0.1 * k
        z = x @ trunk
        slope = 2 * (heads @ z.T - TARGETS) / len(x)
        g = np.einsum("bi,tb,tj->tij", x, slope, heads).reshape(TASKS, -1)
        if k % every == 0:
            dots = g[1:] @ g[0]
            if cosine:
                dots = dots / np.linalg.norm(g[1:], axis=1) / np.linalg.norm(g[0])
            alpha = alpha * np.exp(rate * dots)
            alpha = alpha / alpha.sum()
            mean = ema * mean + (1 - ema) * alpha
        w = np.concatenate([[main_weight], total * mean])
        trunk = trunk - STEP * (w @ g).reshape(trunk.shape)
        heads = heads - STEP * w[:, None] * (slope @ z)
        found.append((trunk, heads, w))
    return [np.array(x) for x in zip(*found, strict=True)]


def library(stacked=False, rate=0.1, cosine=False, **options):
    if stacked:  # stacked gradients do not tell what is shared
        options["where"] = WHERE
    products = "cosine" if cosine else "raw"
    rule = auxjax.dga(TASKS, learning_rate=rate, inner_products=products, **options)
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


OPTIONS = [
    {},
    {"cosine": True, "rate": 0.5},
    {"ema": 0.8, "rate": 0.3},
    {"every": 3, "ema": 0.5, "rate": 0.5},
    {"total": 1.0, "main_weight": 0.0},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("stacked", [False, True])
def test_equals_the_formula(x64, options, stacked):
    expected = algorithm(**options)
    assert np.ptp(expected[-1][-1][1:]) > 0.05  # the weights have come apart
    for a, b in zip(library(stacked, **options), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_it_is_the_slope_of_the_main_loss_after_a_step_along_the_mixture(x64):
    """Mirror descent: the step of log α is minus that slope, to a common number."""
    params = {"trunk": jnp.asarray(TRUNK), "heads": [jnp.asarray(h) for h in HEADS]}
    jac = auxjax.task_jacobian(losses, params)
    rows, rho = jac.rows()["trunk"], 1e-3

    def after(alpha):
        moved = params["trunk"] - rho * jnp.einsum("t,tij->ij", alpha, rows[1:])
        return losses(params | {"trunk": moved})[0]

    even = jnp.full(TASKS - 1, 1 / (TASKS - 1))
    slope = jax.grad(after)(even)
    tx = auxjax.scale_by_dga(TASKS, learning_rate=1.0, where=WHERE)
    _, state = tx.update(jac, tx.init(params), params)
    found = state.logits[1:] - jnp.mean(state.logits[1:])
    expected = -(slope - jnp.mean(slope)) / rho
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-2)


def test_a_share_comes_back_from_where_float32_has_no_number():
    tx = auxjax.scale_by_dga(3, learning_rate=1.0)
    update = jax.jit(tx.update)
    state = tx.init(jnp.zeros(2))
    one = jnp.array([[20.0, 0.0], [10.0, 0.0], [0.0, 1.0]])
    _, state = update(one, state)
    assert state.weights[2] == 0
    for _ in range(2):
        _, state = update(one[jnp.array([0, 2, 1])], state)
    assert state.weights[2] > 1.99


def test_who_is_absent_keeps_its_share_and_the_others_theirs(x64):
    rows = jnp.asarray(rng.normal(size=(4, 5)))
    tx = auxjax.scale_by_dga(4, learning_rate=0.5, ema=0.5)
    update = jax.jit(tx.update)
    _, first = update(rows, tx.init(rows[0]))
    mask = jnp.array([True, True, False, True])
    _, state = update(rows.at[2].set(jnp.nan), first, task_mask=mask)
    assert float(state.weights[2]) == float(first.weights[2])
    np.testing.assert_allclose(jnp.sum(state.mixture), 1.0, rtol=1e-12)
    assert not np.allclose(state.weights[1::2], first.weights[1::2])
    away = jnp.array([False, True, True, True])
    for _, after in (
        update(rows, first, task_mask=away),
        update(rows.at[0].set(jnp.inf), first),
    ):
        np.testing.assert_array_equal(after.weights, first.weights)
        np.testing.assert_array_equal(after.logits, first.logits)


def test_a_single_helper_has_all_of_the_mixture():
    tx = auxjax.scale_by_dga(2, learning_rate=9.0)
    rows = jnp.array([[1.0, 2.0], [-1.0, 0.5]])
    found, state = tx.update(rows, tx.init(rows[0]))
    np.testing.assert_array_equal(found, rows)
    np.testing.assert_array_equal(state.weights, [1.0, 1.0])


# As sampling probabilities.


def test_probabilities_are_found_in_any_state_and_sum_to_one():
    tx = optax.chain(auxjax.dga(3, learning_rate=1.0), optax.adam(1e-3))
    params = jnp.zeros(2)
    rows = jnp.array([[1.0, 0.0], [1.0, 1.0], [-1.0, 1.0]])
    with jax.numpy_dtype_promotion("standard"):
        _, state = tx.update(rows, tx.init(params), params)
    e = np.exp([1.0, -1.0])
    p = jax.jit(auxjax.dga_probabilities)(state)
    np.testing.assert_allclose(p, [0.0, *(e / e.sum())], rtol=1e-6)
    p = auxjax.dga_probabilities({"opt": state}, main_share=0.25)
    np.testing.assert_allclose(p, [0.25, *(0.75 * e / e.sum())], rtol=1e-6)
    with pytest.raises(ValueError, match=r"should hold one `DGAState`.* Found 0"):
        auxjax.dga_probabilities(params)
    with pytest.raises(ValueError, match=r"`main_share` should be in \[0, 1\]"):
        auxjax.dga_probabilities(state, main_share=1.5)


def domains(size):
    """Linear regressions: the main task has 6 samples, and four domains have many.

    The first is the main task's own problem, the second that with another slope in a
    half of the inputs, the third its enemy, the fourth noise.
    """
    draw = np.random.default_rng(8)
    truth = draw.normal(size=8)
    near = truth * np.repeat([1.0, -1.0], 4)
    x = draw.normal(size=(5, size, 8))
    y = np.stack([x[0] @ truth, x[1] @ truth, x[2] @ near, -x[3] @ truth, x[4, :, 0]])
    y[4] = 3.0 * draw.normal(size=size)
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), truth


def test_batches_drawn_by_it_train_the_main_task():
    """Every tenth step it looks at six samples of all; batches are of one domain each.

    Nothing is ever trained on the main task's own data.
    """
    x, y, truth = domains(512)
    look = auxjax.scale_by_dga(5, learning_rate=0.02, ema=0.5)

    def loss(theta, x, y):
        return 0.5 * jnp.mean((x @ theta - y) ** 2)

    def probe(theta, picked):
        main = loss(theta, x[0, :6], y[0, :6])
        return (main, *(loss(theta, x[i][picked], y[i][picked]) for i in range(1, 5)))

    def step(carry, inputs):
        theta, state, adapts = carry
        key, count = inputs
        seen, which, samples = jax.random.split(key, 3)
        picked = jax.random.choice(seen, 512, (6,))

        def observe():
            jac = auxjax.task_jacobian(probe, theta, picked)
            return look.update(jac, state, theta)[1]

        due = jnp.logical_and(adapts, count % 10 == 0)
        state = jax.lax.cond(due, observe, lambda: state)
        domain = jax.random.choice(which, 5, p=auxjax.dga_probabilities(state))
        own = jax.random.choice(samples, 512, (16,))
        g = jax.grad(loss)(theta, x[domain][own], y[domain][own])
        return (theta - 0.05 * g, state, adapts), domain

    @jax.jit
    def train(adapts):
        theta = jnp.zeros(8)
        keys = jax.random.split(jax.random.key(1), 600)
        carry = (theta, look.init(theta), adapts)
        carry, drawn = jax.lax.scan(step, carry, (keys, jnp.arange(600)))
        return carry[0], auxjax.dga_probabilities(carry[1]), drawn

    theta, p, drawn = train(True)
    even, q, _ = train(False)
    np.testing.assert_allclose(q, [0.0, *[0.25] * 4], rtol=1e-6)
    assert p[1] > 0.6
    assert p[1] > 3 * np.max(p[2:])
    counts = np.bincount(np.asarray(drawn[300:]), minlength=5) / 300
    assert counts[0] == 0
    assert counts[1] > 0.5
    error, before = (np.linalg.norm(t - truth) for t in (theta, even))
    assert error < 0.6 * before


def test_bad_input():
    for options, message in (
        ({"num_tasks": 1}, "`num_tasks` should be at least 2"),
        ({"learning_rate": np.inf}, "`learning_rate` should be finite. Found inf."),
        ({"inner_products": "dots"}, "`inner_products` should be"),
        ({"ema": 1.0}, "`ema` should be in [0, 1). Found 1.0."),
        ({"every": 0}, "`every` should be at least 1. Found 0."),
        ({"total": 0.0}, "`total` should be above 0. Found 0.0."),
        ({"main_weight": -1.0}, "`main_weight` should be at least 0. Found -1.0."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            auxjax.dga(**options)
