"""`scale_to_sum` against NumPy in float64: a trunk, three heads, losses by hand."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from tests._rules import TRUNK, batches, losses, start

TASKS = 3
WEIGHTS = np.array([1.0, -4.0, 0.5])
# Leaves: a trunk in two parts, and a head for each task.
NAMES = ("a", "b", "h0", "h1", "h2")
SHARED = NAMES[:2]


def leaf_rows(values, rows):
    """Losses ⟨rows, params⟩ + values in JAX; `rows[leaf]` is `[T, size]`."""

    def linear(params):
        out = []
        for task in range(TASKS):
            total = jnp.asarray(values[task])
            for name in NAMES:
                if name in SHARED or name == f"h{task}":
                    total += jnp.sum(params[name] * jnp.asarray(rows[name][task]))
            out.append(total)
        return tuple(out)

    return linear


def problem():
    rng = np.random.default_rng(3)
    sizes = {"a": 4, "b": 2, "h0": 3, "h1": 3, "h2": 1}
    rows = {name: rng.normal(size=(TASKS, n)) for name, n in sizes.items()}
    for name in NAMES[2:]:  # a head is its own task's
        rows[name] *= (np.arange(TASKS) == int(name[1]))[:, None]
    values = np.array([0.5, 3.0, 20.0])
    params = {name: np.zeros(n) for name, n in sizes.items()}
    return values, rows, params


VALUES, ROWS, ZERO = problem()


def run(tx, *, values=VALUES, kind="jacobian", **extra):
    """The gradient and the state, in float64."""
    params = jax.tree.map(jnp.asarray, ZERO)
    jac = auxjax.task_jacobian(leaf_rows(values, ROWS), params)
    if kind == "stacked":
        jac, extra = jac.rows(), {**extra, "losses": jac.losses}
    tx = optax.chain(tx, auxjax.sum_tasks())
    gradient, state = tx.update(jac, tx.init(params), params, **extra)
    return jax.tree.map(np.asarray, gradient), state


def close(gradient, by_leaf):
    """`by_leaf`: the weights `[T]` of each leaf's rows."""
    assert set(gradient) == set(by_leaf)
    for name, found in gradient.items():
        expected = np.asarray(by_leaf[name]) @ ROWS[name]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


everywhere = functools.partial(dict.fromkeys, NAMES)
both_kinds = pytest.mark.parametrize("kind", ["jacobian", "stacked"])


@both_kinds
@pytest.mark.parametrize("total", [None, 0.7, 100.0])
def test_all_scalings_so_far_sum_to_the_total(x64, kind, total):
    """Logarithms, fixed weights of any sign, and the factor behind."""
    rule = optax.chain(
        auxjax.scale_by_log_loss(),
        auxjax.scale_by_fixed(WEIGHTS),
        auxjax.scale_to_sum(total, num_tasks=TASKS),
    )
    gradient, state = run(rule, kind=kind)
    plain = WEIGHTS / VALUES
    factor = (TASKS if total is None else total) / np.sum(np.abs(plain))
    close(gradient, everywhere(factor * plain))
    found = state[0][2]
    np.testing.assert_allclose(found.factor, factor, rtol=1e-12)
    np.testing.assert_allclose(found.applied, factor * np.abs(plain), rtol=1e-12)
    assert factor != pytest.approx(1.0)


@both_kinds
def test_what_comes_behind_is_not_seen(x64, kind):
    rule = optax.chain(
        auxjax.scale_to_sum(6.0), auxjax.scale_by_fixed(WEIGHTS), auxjax.scale_to_sum()
    )
    gradient, state = run(rule, kind=kind)
    factor = 3.0 / np.sum(np.abs(2.0 * WEIGHTS))
    close(gradient, everywhere(factor * 2.0 * WEIGHTS))
    np.testing.assert_allclose([s.factor for s in state[0][::2]], [2.0, factor])
    assert state[0][0].applied is None


@both_kinds
def test_rows_scaled_in_part_count_by_the_size_of_the_part(x64, kind):
    """On "a", four numbers of the trunk's six; the heads are not asked."""
    part = {name: name == "a" for name in NAMES}
    scaled = optax.GradientTransformationExtraArgs(
        lambda params: (),
        lambda jac, state, params=None, **more: (
            auxjax.as_jacobian(jac).scale(jnp.asarray(WEIGHTS), part),
            state,
        ),
    )
    gradient, _ = run(optax.chain(scaled, auxjax.scale_to_sum()), kind=kind)
    # Stacked gradients do not tell the heads: four numbers of thirteen.
    share = 4 / 6 if kind == "jacobian" else 4 / 13
    mean = share * np.abs(WEIGHTS) + (1 - share)
    factor = 3.0 / np.sum(mean)
    close(gradient, {**everywhere([factor] * 3), "a": factor * WEIGHTS})


def test_of_gcs_the_trunk_is_asked(x64):
    rule = optax.chain(auxjax.scale_by_gcs(num_tasks=TASKS), auxjax.scale_to_sum())
    gradient, state = run(rule)
    dots = sum(ROWS[name] @ ROWS[name][0] for name in SHARED)
    gates = (dots >= 0).astype(float)
    assert 0 < gates.sum() < TASKS
    factor = 3.0 / gates.sum()
    close(gradient, everywhere([factor] * 3) | dict.fromkeys(SHARED, factor * gates))
    np.testing.assert_allclose(optax.tree.get(state, "weights"), gates)


WITH_HEADS = {
    "logarithms": lambda: (auxjax.scale_by_log_loss(), 1.0 / VALUES),
    "weights": lambda: (auxjax.scale_by_fixed(WEIGHTS), WEIGHTS),
    "zeros": lambda: (auxjax.scale_by_fixed([0.0, 2.0, 0.0]), np.array([0, 2.0, 0])),
    "nothing": lambda: (optax.identity(), np.ones(3)),
}


@pytest.mark.parametrize("case", WITH_HEADS)
@pytest.mark.parametrize("total", [None, 0.5])
def test_heads_keep_their_own_gradient(x64, case, total):
    first, weights = WITH_HEADS[case]()
    rule = optax.chain(first, auxjax.scale_to_sum(total, own_heads=True))
    gradient, _ = run(rule)
    factor = (total or 3.0) / np.sum(np.abs(weights))
    close(gradient, everywhere(np.ones(3)) | dict.fromkeys(SHARED, factor * weights))


def test_what_comes_behind_own_heads_scales_them(x64):
    rule = optax.chain(
        auxjax.scale_by_log_loss(),
        auxjax.scale_to_sum(own_heads=True),
        auxjax.scale_by_fixed(WEIGHTS),
    )
    gradient, _ = run(rule)
    shares = 3.0 / VALUES / np.sum(1 / VALUES)
    trunk = dict.fromkeys(SHARED, shares * WEIGHTS)
    close(gradient, everywhere(WEIGHTS) | trunk)


def test_heads_of_absent_tasks_get_nothing(x64):
    rule = optax.chain(auxjax.scale_by_log_loss(), auxjax.scale_to_sum(own_heads=True))
    mask = jnp.array([True, False, True])
    values = VALUES.copy()
    values[1] = np.nan
    gradient, _ = run(rule, values=values, task_mask=mask)
    own = np.array([1.0, 0.0, 1.0])
    plain = np.array([1 / VALUES[0], 0.0, 1 / VALUES[2]])
    trunk = 2.0 * plain / plain.sum()
    close(gradient, everywhere(own) | dict.fromkeys(SHARED, trunk))


def test_rows_that_were_written_down_know_their_heads(x64):
    """With two tasks OL-AUX writes them down, and they stay a TaskJacobian."""
    params = {k: jnp.asarray(ZERO[k]) for k in NAMES}
    jac = auxjax.task_jacobian(lambda p: leaf_rows(VALUES, ROWS)(p)[:2], params)
    tx = optax.chain(
        auxjax.scale_by_olaux(init_weight=3.0),
        auxjax.scale_to_sum(own_heads=True),
        auxjax.sum_tasks(),
    )
    gradient, _ = tx.update(jac, tx.init(params), params)
    for name in NAMES:
        weights = np.array([0.5, 1.5]) if name in SHARED else np.ones(2)
        expected = weights @ ROWS[name][:2]
        np.testing.assert_allclose(gradient[name], expected, rtol=1e-9, atol=1e-12)


def test_stacked_gradients_do_not_tell_the_heads():
    tx = auxjax.scale_to_sum(own_heads=True)
    message = "`own_heads` should be False with stacked gradients"
    with pytest.raises(ValueError, match=re.escape(message)):
        tx.update(jnp.ones((3, 2)), tx.init(jnp.zeros(2)))


# Weights that do not sum

P = jnp.zeros(2)
EYE = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def factor_of(first, *, total=None, rows=EYE, **extra):
    """The scaled rows and the state, of stacked gradients."""
    tx = optax.chain(first, auxjax.scale_to_sum(total, num_tasks=3))
    scaled, state = tx.update(rows, tx.init(P), P, **extra)
    return scaled.grads, state[1]


def test_weights_of_zero_are_left_alone():
    scaled, state = factor_of(auxjax.scale_by_fixed([0.0, 0.0, 0.0]))
    np.testing.assert_array_equal(scaled, np.zeros((3, 2)))
    assert state.factor == 1
    np.testing.assert_array_equal(state.applied, np.zeros(3))


@pytest.mark.parametrize("size", [1e-37, 1e-20, 1e20, 1e37])
def test_weights_of_any_size(size):
    scaled, state = factor_of(auxjax.scale_by_fixed([size, size, 0.0]))
    np.testing.assert_allclose(scaled, EYE * np.array([[1.5], [1.5], [0]]), rtol=1e-6)
    np.testing.assert_allclose(state.applied, [1.5, 1.5, 0.0], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_task_that_is_not_finite_is_left_out(bad):
    """By its loss, or by its weight alone."""
    losses = jnp.array([0.5, bad, 2.0])
    scaled, state = factor_of(auxjax.scale_by_log_loss(), losses=losses)
    expected = 2.0 / (2.0 + 0.5)
    np.testing.assert_allclose(state.factor, expected, rtol=1e-6)
    wanted = np.array(EYE)[::2] * expected * [[2.0], [0.5]]
    np.testing.assert_allclose(scaled[::2], wanted, rtol=1e-6)
    np.testing.assert_allclose(state.applied, [1.6, 1.0, 0.4], rtol=1e-6)

    weigh = jax.jit(lambda w: factor_of(auxjax.scale_by_fixed(w))[1])
    state = jax.vmap(weigh)(jnp.array([[2.0, bad, 0.5]]))
    np.testing.assert_allclose(state.factor, [expected], rtol=1e-6)
    np.testing.assert_allclose(state.applied, [[1.6, 1.0, 0.4]], rtol=1e-6)


@pytest.mark.parametrize(("total", "factor"), [(None, 1.0), (3.0, 1.5)])
def test_a_task_that_waits_hands_its_share_to_nobody(total, factor):
    """Unless a number is asked for."""
    mask = jnp.array([True, False, True])
    equal = auxjax.scale_by_equal(3)
    scaled, state = factor_of(equal, total=total, task_mask=mask)
    np.testing.assert_allclose(scaled, factor * np.array(EYE) * np.array(mask)[:, None])
    np.testing.assert_allclose(state.factor, factor)
    np.testing.assert_allclose(state.applied, [factor, 1.0, factor])
    nobody = jnp.zeros(3, bool)
    scaled, state = factor_of(equal, total=total, task_mask=nobody)
    assert state.factor == 1
    assert not np.any(scaled)


def test_what_was_scaled_outside_counts_as_one():
    scaled, state = factor_of(optax.identity(), rows=7.0 * EYE)
    np.testing.assert_array_equal(scaled, 7.0 * EYE)
    assert state.factor == 1


# What it is for

X = batches()[0]


def test_a_thousandfold_weight_is_no_longer_step_any_more():
    """OL-AUX's weights, grown; SGD makes the step of weights that sum to T."""

    def step(size, *more):
        weigh = auxjax.scale_by_fixed(size * np.array([1.0, 2.0, 3.0]))
        tx = optax.chain(weigh, *more, auxjax.sum_tasks(), optax.sgd(0.1))
        params = start()
        jac = auxjax.task_jacobian(losses, params, X)
        return tx.update(jac, tx.init(params), params)[0]["w"]

    np.testing.assert_allclose(step(1000.0), 1000.0 * step(1.0), rtol=1e-5)
    found = step(1000.0, auxjax.scale_to_sum())
    np.testing.assert_allclose(found, 0.5 * step(1.0), rtol=1e-5)


def test_metrics_have_the_applied_weights_and_the_rules_own():
    tx = optax.chain(
        auxjax.scale_by_log_loss(),
        auxjax.scale_by_fixed([1.0, 0.5, 2.0]),
        auxjax.scale_to_sum(num_tasks=3),
    )
    params = start()
    jac = auxjax.task_jacobian(losses, params, X)
    _, state = tx.update(jac, tx.init(params), params)
    metrics = auxjax.task_metrics(state)
    assert set(metrics) == {"weights", "applied", "nonfinite"}
    np.testing.assert_array_equal(metrics["weights"], [1.0, 0.5, 2.0])
    np.testing.assert_allclose(metrics["applied"].sum(), 3.0, rtol=1e-6)
    np.testing.assert_array_equal(optax.tree.get(state, "weights"), [1.0, 0.5, 2.0])


def flops(*rules):
    tx = optax.chain(*rules, auxjax.sum_tasks())
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    params = {"w": draw(64, 64), "v": draw(64, 64), "heads": [draw(64, 2)] * 5}

    def five(p, x):
        z = jnp.tanh(jnp.tanh(x @ p["w"]) @ p["v"])
        return tuple(jnp.mean((z @ h) ** 2) for h in p["heads"])

    def step(params, state, x):
        return tx.update(auxjax.task_jacobian(five, params, x), state, params)

    program = jax.jit(step).lower(params, tx.init(params), draw(32, 64)).compile()
    return program.cost_analysis()["flops"]


def test_the_price():
    """Nothing of its own; heads apart, which are not the trunk once more."""
    log, plain = auxjax.scale_by_log_loss(), flops()
    assert flops(log, auxjax.scale_to_sum()) <= 1.01 * plain
    assert flops(log, auxjax.scale_to_sum(own_heads=True)) <= 1.1 * plain


def test_the_total_may_be_traced():
    run = jax.jit(jax.vmap(lambda total: factor_of(optax.identity(), total=total)[1]))
    state = run(jnp.array([1.0, 6.0]))
    np.testing.assert_allclose(state.factor, [1 / 3, 2.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"total": 0.0}, "`total` should be above 0. Found 0.0."),
        ({"total": np.inf}, "`total` should be finite. Found inf."),
        ({"num_tasks": 1}, "`num_tasks` should be at least 2"),
    ],
)
def test_bad_arguments(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        auxjax.scale_to_sum(**given)


def test_another_number_of_tasks():
    tx = auxjax.scale_to_sum(num_tasks=2)
    with pytest.raises(ValueError, match="Pass `num_tasks=3` to the rule"):
        tx.update(EYE, tx.init(P))


def test_the_mask_of_the_trunk_is_that_of_the_jacobian():
    """`TRUNK` by hand and the heads by themselves: one and the same."""
    params = start()
    jac = auxjax.task_jacobian(losses, params, X)
    is_own = jax.tree.map(lambda x: not x, TRUNK)
    tx = optax.chain(
        auxjax.scale_by_log_loss(),
        auxjax.scale_to_sum(own_heads=True),
        auxjax.sum_tasks(),
    )
    found, _ = tx.update(jac, tx.init(params), params)
    assert is_own["heads"]
    for mine, own in zip(found["heads"], jac.rows()["heads"], strict=True):
        np.testing.assert_allclose(mine, own.sum(0), rtol=1e-6)
