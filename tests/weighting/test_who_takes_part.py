"""Rules that compare the tasks: who is absent, whose loss is no good, bad input."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

GAMMA = 0.2
VALUES = np.array([[3.0, 1.0, 7.0], [2.5, 1.2, 9.0], [1.0, 1.1, 2.0], [0.9, 0.3, 8.0]])
ROWS = np.array([[1.0, 0.0], [0.5, 2.0], [4.0, -3.0]])
sgd = optax.sgd(GAMMA, momentum=0.9)


def stch(num_tasks, **options):
    return auxjax.scale_by_stch(num_tasks, preference=[0.4] * num_tasks, **options)


RULES = {
    "dwa": auxjax.scale_by_dwa,
    "gls": auxjax.scale_by_gls,
    "imtl_l": lambda n: auxjax.scale_by_imtl_l(n, optimizer=sgd),
    "stch": stch,
    "stch log": lambda n: stch(n, log=True, warmup=2),
    "famo": lambda n: auxjax.scale_by_famo(n, optimizer=sgd, decay=0.1),
    "gradnorm": lambda n: auxjax.scale_by_gradnorm(n, optimizer=optax.sgd(0.02)),
    "cosmos": lambda n: auxjax.scale_by_cosmos(n, preference=[0.4] * n),
    "pbi": auxjax.scale_by_pbi,
    "igb": lambda n: auxjax.scale_by_igb(n, base_period=0),
    "go4align": lambda n: auxjax.scale_by_go4align(n, beta=0.1),
}
ALL = {**RULES, "rlw": auxjax.scale_by_rlw, "equal": auxjax.scale_by_equal}
every_rule = pytest.mark.parametrize("rule", RULES)


def run(tx, values, masks=None, rows=ROWS, state=None):
    """Each step's scaled rows and the state after it."""
    rows, values = jnp.asarray(rows), jnp.asarray(values, rows.dtype)
    state = tx.init(rows[0]) if state is None else state
    update, found = jax.jit(tx.update), []
    for t, losses in enumerate(values):
        extra = {} if masks is None else {"task_mask": jnp.asarray(masks[t])}
        updates, state = update(rows, state, losses=losses, **extra)
        found.append((np.asarray(updates), state))
    return found


def fields_of(state, task):
    """What a state holds for one task."""
    return [np.asarray(x[task]) for x in jax.tree.leaves(state) if x.shape[:1] == (3,)]


def same(a, b, tol=0.0):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=tol, atol=tol)


@every_rule
def test_an_absent_task_is_as_if_it_were_not_there(x64, rule):
    masks = [[True, True, False]] * 4
    with_it = run(RULES[rule](3), VALUES, masks)
    without = run(RULES[rule](2), VALUES[:, :2], rows=ROWS[:2])
    start = RULES[rule](3).init(jnp.zeros(2))
    for (rows, state), (fewer, _) in zip(with_it, without, strict=True):
        np.testing.assert_allclose(rows[:2], fewer, rtol=1e-12)
        np.testing.assert_array_equal(rows[2], 0)
        same(fields_of(state, 2), fields_of(start, 2))


@every_rule
def test_a_task_that_comes_and_goes_keeps_its_own(x64, rule):
    masks = [[True, True, True], [True, True, False], [True, True, True]]
    (_, first), (rows, second), (_, third) = run(RULES[rule](3), VALUES[:3], masks)
    np.testing.assert_array_equal(rows[2], 0)
    same(fields_of(second, 2), fields_of(first, 2))
    pairs = zip(fields_of(second, 2), fields_of(third, 2), strict=True)
    assert any(np.any(a != b) for a, b in pairs)


def test_random_weights_are_drawn_among_those_present(x64):
    masks = [[True, False, True]] * 2
    for rows, state in run(auxjax.scale_by_rlw(3), VALUES[:2], masks):
        scale = rows / np.where(ROWS == 0, 1, ROWS)
        np.testing.assert_allclose(scale[0, 0] + scale[2, 0], 1, rtol=1e-6)
        np.testing.assert_array_equal(rows[1], 0)
        assert float(state.weights[1]) == 1.0  # as before


@every_rule
@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5, 0.0])
def test_a_loss_that_is_no_good_for_one_step(x64, rule, bad):
    """It disturbs nobody else, and its task goes on afterwards as documented."""
    values = VALUES.copy()
    values[1, 2] = bad
    found = run(RULES[rule](3), values)
    for rows, state in found:
        assert all(np.all(np.isfinite(x)) for x in (rows, *jax.tree.leaves(state)))
    (_, first), (rows, second), _, _ = found
    expected = [0, 0, 0 if np.isfinite(bad) else 1]
    np.testing.assert_array_equal(second.nonfinite, expected)
    second = second._replace(nonfinite=first.nonfinite)
    scale = np.linalg.norm(rows, axis=1) / np.linalg.norm(ROWS, axis=1)
    takes_any_number = rule in ("stch", "dwa", "cosmos", "pbi") and np.isfinite(bad)
    if takes_any_number:
        return
    unscaled = ("gls", "stch", "stch log", "famo", "cosmos", "pbi", "igb", "go4align")
    if rule in unscaled:
        np.testing.assert_allclose(scale[2], 1, rtol=1e-12)
        absent = run(RULES[rule](3), VALUES[:2], [[True] * 3, [True, True, False]])
        np.testing.assert_allclose(rows[:2], absent[1][0][:2], rtol=1e-12)
        first, second = (s._replace(weights=jnp.ones(3)) for s in (first, second))
    else:  # its row is scaled as ever
        assert scale[2] > 0.1
    if rule == "dwa":
        first, second = (s._replace(weights=jnp.ones(3)) for s in (first, second))
    same(fields_of(second, 2), fields_of(first, 2))


def test_dwa_takes_a_period_below_zero_for_one_that_stands_still(x64):
    """A ratio of negative numbers would say the opposite of what happened."""
    values = [[4.0, -1.0], [2.0, -3.0], [1.0, 1.0]]
    _, _, (rows, _) = run(auxjax.scale_by_dwa(2), values, rows=ROWS[:2])
    e = np.exp([0.25, 0.5])
    np.testing.assert_allclose(rows[0, 0], 2 * e[0] / e.sum(), rtol=1e-12)


@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_states_keep_their_structure_shapes_and_dtypes(x64, rule, dtype):
    tx, rows = ALL[rule](3), jnp.asarray(ROWS, dtype)
    state = tx.init(rows[0])
    losses = jnp.asarray(VALUES[0], dtype)
    after = jax.eval_shape(tx.update, rows, state, losses=losses)
    kinds = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert kinds((after[0].grads, after[1])) == kinds((rows, state))
    weights = optax.tree.get(state, "weights")
    assert weights.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_array_equal(weights, np.ones(3))


@pytest.mark.parametrize("rule", [r for r in RULES if r != "equal"])
def test_the_losses_are_needed_and_counted(rule):
    tx, rows = RULES[rule](3), jnp.asarray(ROWS)
    state = tx.init(rows[0])
    with pytest.raises(ValueError, match=r"needs the losses\. Found stacked"):
        tx.update(rows, state)
    with pytest.raises(ValueError, match=r"`losses` should have shape \(3,\)"):
        tx.update(rows, state, losses=jnp.ones(2))
    with pytest.raises(ValueError, match=r"`task_mask` should be bools of shape \(3"):
        tx.update(rows, state, losses=jnp.ones(3), task_mask=jnp.ones(2, bool))


@pytest.mark.parametrize("rule", ALL)
def test_another_number_of_tasks_is_refused(rule):
    with pytest.raises(ValueError, match="`num_tasks` should be at least 2"):
        ALL[rule](1)
    tx, rows = ALL[rule](3), jnp.asarray(ROWS)
    with pytest.raises(ValueError, match="`num_tasks` should be 2"):
        tx.update(rows[:2], tx.init(rows[0]), losses=jnp.ones(2))


BAD = (
    (auxjax.dwa, {"period": 0}, "`period` should be at least 1. Found 0."),
    (auxjax.dwa, {"temperature": 0.0}, "`temperature` should be above 0. Found 0.0."),
    (auxjax.dwa, {"temperature": np.nan}, "`temperature` should be finite. Found nan."),
    (auxjax.rlw, {"distribution": "t"}, '`distribution` should be "normal" or "diri'),
    (auxjax.imtl_l, {"init_log_scale": np.inf}, "`init_log_scale` should be finite."),
    (auxjax.famo, {"decay": -1.0}, "`decay` should be at least 0. Found -1.0."),
    (auxjax.famo, {"lower_bound": [0.0]}, "`lower_bound` should have shape (2,), one"),
    (auxjax.famo, {"lower_bound": [0.0, np.inf]}, "`lower_bound` should be finite. Fo"),
    (auxjax.stch, {"mu": 0.0}, "`mu` should be above 0. Found 0.0."),
    (
        auxjax.stch,
        {"preference": [1.0]},
        "`preference` should have shape (2,), one p",
    ),
    (auxjax.stch, {"preference": [1.0, -1.0]}, "`preference` should be at least 0."),
    (auxjax.stch, {"ideal": [0.0, np.nan]}, "`ideal` should be finite. Found"),
    (auxjax.stch, {"nadir": [1.0, 0.0]}, "`nadir` should be above `ideal`. Found"),
    (auxjax.stch, {"warmup": 2}, "`warmup` should be 0 without `log`. Found 2"),
    (auxjax.stch, {"log": True}, "`warmup` should be at least 1 with `log` and with"),
    (
        auxjax.stch,
        {"log": True, "warmup": 2, "nadir_steps": 3},
        "`nadir_steps` should be at most `warmup`, 2, and only without a `nadir`. Fou",
    ),
)


@pytest.mark.parametrize(("make", "options", "message"), BAD)
def test_bad_input(make, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(2, **options)


def test_next_losses_have_to_be_those_of_all_tasks():
    tx, rows = auxjax.scale_by_famo(2), jnp.ones((2, 1))
    state, params = tx.init(rows[0]), jnp.zeros(1)
    good = {"losses": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"`next_losses` should have shape \(2,\)"):
        tx.update(rows, state, params, next_losses=jnp.ones(3), **good)
    with pytest.raises(ValueError, match=r"`next_losses` should have shape \(2,\)"):
        tx.update(rows, state, params, next_losses=lambda p: (jnp.sum(p),), **good)
    with pytest.raises(ValueError, match="`next_losses` is a function and needs the"):
        tx.update(rows, state, next_losses=lambda p: (jnp.sum(p),) * 2, **good)
