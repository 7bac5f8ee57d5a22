"""OL-AUX on cosines and with exponentiated weights, against NumPy in float64."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from tests._rules import TASKS, TRUNK, batches, losses, start
from tests.weighting.test_olaux import ALPHA, PROBLEM, SIZES, STEPS, library

BETA = 0.8


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def cosines(rows):
    lengths = np.linalg.norm(rows, axis=1)
    return rows @ rows[0] / np.maximum(lengths * lengths[0], 1e-300)


def reference(
    n,
    *,
    cosine,
    exponentiated,
    log=True,
    init=1.0,
    beta=BETA,
    mask=1.0,
    window=1,
    last_step=False,
    clip=False,
):
    """θ, w after each step; the weights of a step are those of before."""
    theta, num = PROBLEM.start.copy(), TASKS - 1
    w, since_start, dots, past = np.full(num, init), np.zeros(num), [], []
    thetas, weights = [], []
    for t in range(STEPS):
        values, rows = PROBLEM.values_and_rows(theta, PROBLEM.batches[t])
        g = rows / values[:, None] if log else rows
        past.append(g)
        smooth = np.mean(past[-window:], axis=0) * mask
        found = cosines(smooth) if cosine else smooth @ smooth[0]
        dots.append(found[1:])
        theta = theta - ALPHA * (g[0] + w @ g[1:])
        if (t + 1) % n == 0:
            rate = beta(t) if callable(beta) else beta
            part = dots[-1:] if last_step else dots[-n:]
            moved = rate * ALPHA * np.sum(part, axis=0)
            since_start = since_start + moved
            w = num * init * softmax(since_start) if exponentiated else w + moved
            w = np.maximum(w, 0) if clip else w
        thetas.append(theta)
        weights.append(np.concatenate([[1.0], w]))
    return np.array(thetas), np.array(weights)


EVERY_FORM = [(c, e) for c in (False, True) for e in (False, True)][1:]
VARIANTS = {
    "n of 1": ({"n": 1}, {}),
    "n of 5": ({"n": 5}, {}),
    "without log": ({"n": 2, "log": False}, {}),
    "another start": ({"n": 3, "init": 0.25}, {"init_weight": 0.25}),
    "a schedule": (
        {"n": 2, "beta": lambda t: 9 * 0.8**t},
        {"learning_rate": lambda count: 9 * 0.8 ** count.astype(jnp.float64)},
    ),
    "some leaves": (
        {"n": 2, "mask": np.repeat([1.0, 0.0], SIZES)},
        {"where": {"u": True, "v": False}},
    ),
    "smoothed": ({"n": 2, "window": 4}, {"smoothing": 4}),
    "last step": ({"n": 3, "last_step": True}, {"statistic": "last_step"}),
    "clipped": ({"n": 1, "beta": 90.0, "clip": True}, {"clip_at_zero": True}),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("cosine", "exponentiated"), EVERY_FORM)
def test_every_form(x64, variant, cosine, exponentiated):
    theirs, mine = VARIANTS[variant]
    mine = {
        "learning_rate": theirs.get("beta", BETA),
        "log": theirs.get("log", True),
        "inner_products": "cosine" if cosine else "raw",
        "update": "exponentiated" if exponentiated else "additive",
        **mine,
    }
    thetas, weights = library(theirs["n"], **mine)
    expected = reference(**theirs, cosine=cosine, exponentiated=exponentiated)
    np.testing.assert_allclose(thetas, expected[0], atol=1e-9, rtol=0)
    np.testing.assert_allclose(weights, expected[1], atol=1e-9, rtol=0)
    assert np.ptp(expected[1][:, 1:]) > 0.01  # the weights do move
    if exponentiated:
        whole = (TASKS - 1) * theirs.get("init", 1.0)
        np.testing.assert_allclose(weights[:, 1:].sum(1), whole, rtol=1e-12)


# Rows in the plane: cosines with the first of 0.8 and -0.6; products of 8 and -3.
ROWS = jnp.array([[1.0, 0.0], [8.0, 6.0], [-3.0, 4.0]])
P = jnp.zeros(2)


def run(tx, steps, rows=ROWS, state=None, masks=None):
    """The state after so many steps with the same rows."""
    state = tx.init(P) if state is None else state
    for t in range(steps):
        more = {} if masks is None else {"task_mask": jnp.array(masks[t])}
        _, state = tx.update(rows, state, P, **more)
    return state


def test_cosines_by_hand():
    tx = auxjax.scale_by_olaux(1, 3, 0.5, inner_products="cosine")
    state = run(tx, 1, ROWS * jnp.array([[2.0], [100.0], [1e-3]]))
    np.testing.assert_allclose(state.weights, [1.0, 1.4, 0.7], rtol=1e-6)


def test_exponentiated_by_hand():
    """Twice the sum of two, to e^{0.1·8} and e^{-0.1·3}; then once more."""
    tx = auxjax.scale_by_olaux(1, 3, 0.1, init_weight=2.0, update="exponentiated")
    for steps in (1, 2):
        e = np.exp(0.1 * steps * np.array([8.0, -3.0]))
        expected = [1.0, *(4.0 * e / e.sum())]
        state = run(tx, steps)
        np.testing.assert_allclose(state.weights, expected, rtol=1e-6)


def test_the_weights_start_as_they_are_given_and_change_every_nth_step():
    tx = auxjax.scale_by_olaux(3, 3, 0.1, update="exponentiated")
    for steps in range(6):
        state = run(tx, steps)
        e = np.exp(0.1 * (steps - steps % 3) * np.array([8.0, -3.0]))
        expected = [1.0, *(2.0 * e / e.sum())]
        np.testing.assert_allclose(state.weights, expected, rtol=1e-6)


def test_one_auxiliary_task_shares_with_nobody():
    tx = auxjax.scale_by_olaux(1, 2, 0.1, init_weight=0.5, update="exponentiated")
    np.testing.assert_array_equal(run(tx, 3, ROWS[:2]).weights, [1.0, 0.5])


def test_forty_tasks_find_their_helper():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 400))
    rows[7] += 3 * rows[0]
    tx = auxjax.scale_by_olaux(
        1, 40, 10.0, inner_products="cosine", update="exponentiated"
    )
    state = tx.init(jnp.zeros(400))
    _, state = tx.update(jnp.asarray(rows, jnp.float32), state)
    expected = 39 * softmax(10.0 * cosines(rows)[1:])
    np.testing.assert_allclose(state.weights[1:], expected, rtol=1e-4)
    assert state.weights[7] > 30


@pytest.mark.parametrize("huge", [1e4, -1e4])
def test_weights_that_are_gone_may_come_back(huge):
    tx = auxjax.scale_by_olaux(1, 3, huge, update="exponentiated")
    state = run(tx, 1)
    np.testing.assert_array_equal(np.sort(state.weights), [0.0, 1.0, 2.0])
    flipped = run(tx, 2, rows=ROWS * jnp.array([[-1.0], [1.0], [1.0]]), state=state)
    np.testing.assert_array_equal(flipped.weights, state.weights[jnp.array([0, 2, 1])])


# Who is there


def test_an_absent_task_keeps_its_weight_and_the_others_share_what_is_left():
    """Three helpers, one of whom is away in the second step."""
    rows = jnp.array([[1.0, 0.0], [1.0, 0.0], [2.0, 1.0], [-1.0, 0.0]])
    tx = auxjax.scale_by_olaux(1, 4, 0.5, update="exponentiated")
    everybody, away = [True] * 4, [True, False, True, True]
    first = run(tx, 1, rows)
    w = 3 * softmax(0.5 * np.array([1.0, 2.0, -1.0]))
    np.testing.assert_allclose(first.weights[1:], w, rtol=1e-6)
    second = run(tx, 1, rows, first, [away])
    rest = (3 - w[0]) * softmax(np.array([2.0, -1.0]))
    np.testing.assert_allclose(second.weights[1:], [w[0], *rest], rtol=1e-6)
    np.testing.assert_allclose(second.logits[1:], [0.5, 2.0, -1.0], rtol=1e-6)
    third = run(tx, 1, rows, second, [everybody])  # the sum of all, as ever
    w = 3 * softmax(np.array([1.0, 3.0, -1.5]))
    np.testing.assert_allclose(third.weights[1:], w, rtol=1e-6)


def test_who_comes_back_is_dealt_with_at_the_next_nth_step():
    rows = jnp.array([[1.0, 0.0], [1.0, 0.0], [2.0, 1.0], [-1.0, 0.0]])
    tx = auxjax.scale_by_olaux(2, 4, 0.5, update="exponentiated")
    away = [True, False, True, True]
    state = run(tx, 2, rows, masks=[away, away])
    between = run(tx, 1, rows, state)  # all are there, and one of two steps is over
    np.testing.assert_array_equal(between.weights, state.weights)
    after = run(tx, 1, rows, between)
    w = 3 * softmax(np.array([1.0, 4.0, -2.0]))
    np.testing.assert_allclose(after.weights[1:], w, rtol=1e-6)


def test_without_the_main_task_nothing_is_learned():
    for options in ({"update": "exponentiated"}, {"inner_products": "cosine"}):
        tx = auxjax.scale_by_olaux(1, 3, 0.5, **options)
        first = run(tx, 1)
        second = run(tx, 1, state=first, masks=[[False, True, True]])
        np.testing.assert_array_equal(second.weights, first.weights)


# Of which leaves


def test_heads_are_not_in_the_cosine():
    """Of the shared leaves by default, whatever the way the rows come."""
    params, x = start(), batches()[0]
    jac = auxjax.task_jacobian(losses, params, x)
    expected = cosines(np.asarray(jac.rows()["w"]).reshape(TASKS, -1))
    for options in ({}, {"smoothing": 2}, {"where": TRUNK}, {"statistic": "last_step"}):
        tx = auxjax.scale_by_olaux(1, TASKS, 1.0, inner_products="cosine", **options)
        _, state = tx.update(jac, tx.init(params), params)
        np.testing.assert_allclose(state.weights[1:], 1 + expected[1:], rtol=1e-5)
    tx = auxjax.scale_by_olaux(1, TASKS, 1.0, inner_products="cosine", where=True)
    _, state = tx.update(jac, tx.init(params), params)
    heads = [jnp.reshape(h, (TASKS, -1)) for h in jac.rows()["heads"]]
    rows = jnp.concatenate([jac.rows()["w"].reshape(TASKS, -1), *heads], axis=1)
    whole = cosines(np.asarray(rows))
    np.testing.assert_allclose(state.weights[1:], 1 + whole[1:], rtol=1e-5)
    assert np.all(np.abs(whole[1:] - expected[1:]) > 1e-3)


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_a_gradient_of_zero_has_no_direction(num_tasks):
    tx = auxjax.scale_by_olaux(1, num_tasks, 1.0, inner_products="cosine")
    for zero in range(num_tasks):
        rows = ROWS[:num_tasks].at[zero].set(0.0)
        state = run(tx, 1, rows)
        there = np.arange(num_tasks) != zero
        found = cosines(np.asarray(rows, np.float64))
        expected = 1 + found * there * (zero != 0)
        np.testing.assert_allclose(state.weights[1:], expected[1:], rtol=1e-6)
        np.testing.assert_array_equal(state.nonfinite, np.zeros(num_tasks))


def test_cosines_of_another_jacobian():
    tx = auxjax.scale_by_olaux(
        1, 3, 0.5, statistic="last_step", inner_products="cosine"
    )
    other = jnp.array([[1.0, 0.0], [0.0, 9.0], [5.0, 0.0]])
    _, state = tx.update(ROWS, tx.init(P), P, statistic_jacobian=other)
    np.testing.assert_allclose(state.weights, [1.0, 1.0, 1.5], rtol=1e-6)


# Norms by sketches


def test_sketches_agree_in_the_long_run():
    options = {"inner_products": "cosine", "where": TRUNK, "n": 1}
    exact = auxjax.scale_by_olaux(num_tasks=TASKS, learning_rate=1.0, **options)
    sketched = auxjax.scale_by_olaux(
        num_tasks=TASKS,
        learning_rate=1.0,
        **options,
        sketch=4,
        sketch_ema=0.99,
        key=jax.random.key(1),
    )

    @functools.partial(jax.jit, static_argnums=0)
    def weights(tx, length):
        jac = auxjax.task_jacobian(losses, start(), batches()[0])

        def one(state, _):
            _, new = tx.update(jac, state, start())
            return new, new.weights - state.weights

        return jax.lax.scan(one, tx.init(start()), length)[1]

    expected = weights(exact, jnp.zeros(1))[0]
    found = weights(sketched, jnp.zeros(1500))
    # The last one of an average of about 200 updates of 4 draws: 4 σ.
    tolerance = 4 * np.sqrt(2 / (4 * 199)) / 2
    assert np.all(np.abs(expected[1:]) > 0.05)
    np.testing.assert_allclose(found[-1][1:], expected[1:], rtol=tolerance)
    assert np.any(found[-1] != expected)


def test_a_sketch_is_debiased_and_waits_for_absent_tasks():
    """Of rows that are written down it is exact, from the first step."""
    tx = auxjax.scale_by_olaux(1, 3, 1.0, inner_products="cosine", sketch=2)
    state = run(tx, 1)
    np.testing.assert_allclose(state.weights, [1.0, 1.8, 0.4], rtol=1e-6)
    again = run(tx, 1, 2 * ROWS, state, [[True, False, True]])
    np.testing.assert_array_equal(again.draws, [2, 1, 2])
    squares = np.array([1.0, 100.0, 25.0])
    expected = 0.1 * squares * np.array([0.9 + 4, 1.0, 0.9 + 4])
    np.testing.assert_allclose(again.squares, expected, rtol=1e-6)
    keys = [jax.random.key_data(s.key) for s in (state, again)]
    assert np.any(keys[0] != keys[1])


# What the options are not


def test_the_default_state_has_the_fields_of_before():
    state = auxjax.scale_by_olaux(num_tasks=3).init(P)
    assert state[-4:] == (None, None, None, None)
    assert len(jax.tree.leaves(state)) == 5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"inner_products": "cos"}, '`inner_products` should be "raw" or "cosine".'),
        ({"update": "soft"}, '`update` should be "additive" or "exponentiated". Fou'),
        ({"sketch": 2}, '`sketch` should be given with `inner_products="cosine"`'),
        (
            {"sketch": 2, "inner_products": "cosine", "smoothing": 2},
            "`sketch` should be given with",
        ),
        (
            {"sketch": 2, "inner_products": "cosine", "statistic": "last_step"},
            "`sketch` should be given with",
        ),
        ({"sketch": 0, "inner_products": "cosine"}, "`sketch` should be at least 1."),
        ({"sketch_ema": 1.0}, "`sketch_ema` should be in [0, 1). Found 1.0."),
        (
            {"update": "exponentiated", "init_weight": 0.0},
            "`init_weight` should be above 0. Found 0.0.",
        ),
    ],
)
def test_bad_arguments(kwargs, message):
    for make in (auxjax.olaux, auxjax.scale_by_olaux):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(**kwargs)


def test_the_size_of_a_loss():
    """A loss times a thousand: raw weights move a thousand times as far."""
    factors = jnp.array([[1.0], [1000.0], [1.0]])
    for products, same in (("raw", False), ("cosine", True)):
        tx = optax.chain(auxjax.scale_by_olaux(1, 3, 0.1, inner_products=products))
        one, other = (run(tx, 1, rows)[0].weights for rows in (ROWS, factors * ROWS))
        assert np.allclose(one, other, rtol=1e-5) == same
