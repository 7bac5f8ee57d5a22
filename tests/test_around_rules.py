"""What surrounds the rules: accumulation, task masks, metrics, norms by sketches."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from tests._rules import (
    RULES,
    TASKS,
    TRUNK,
    WEIGHTINGS,
    autolambda,
    batches,
    losses,
    start,
)

X = batches()[0]


@functools.cache
def jacobian():
    return auxjax.task_jacobian(losses, start(), X)


def close(found, expected, tol=1e-5):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


# accumulate_tasks

ACCUMULATED = {
    "pcgrad": lambda: auxjax.pcgrad(where=TRUNK),
    "gcs": lambda: auxjax.gcs(where=TRUNK, num_tasks=TASKS),
    "olaux": lambda: auxjax.olaux(2, TASKS, 0.1),
    "gls": lambda: auxjax.gls(TASKS),  # its weights follow from the losses
}
rules_around = pytest.mark.parametrize("rule", ACCUMULATED)


def whole_and_parts(rule, every=2):
    """The rule on whole batches, and on pieces of them."""
    whole = optax.chain(ACCUMULATED[rule](), optax.sgd(0.1, momentum=0.9))
    return whole, auxjax.accumulate_tasks(whole, every, num_tasks=TASKS)


def step(tx, kind, carry, x):
    params, state = carry
    if kind == "jacobian":
        updates, more = auxjax.task_jacobian(losses, params, x), {}
    else:
        values, updates = auxjax.task_grads(losses)(params, x)
        more = {"losses": values}
    updates, state = tx.update(updates, state, params, **more)
    return (optax.apply_updates(params, updates), state), updates


def pieces(x, every):
    return x.reshape(every, -1, *x.shape[1:])


@rules_around
@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
@pytest.mark.parametrize("every", [1, 2, 4])
def test_pieces_of_a_batch_make_the_step_of_the_whole(rule, kind, every):
    whole, parts = whole_and_parts(rule, every)
    params = start()
    expected, found = ((params, tx.init(params)) for tx in (whole, parts))
    one = jax.jit(functools.partial(step, whole, "jacobian"))
    piece = jax.jit(functools.partial(step, parts, kind))
    for x in batches()[:3]:
        expected, _ = one(expected, x)
        for i, micro in enumerate(pieces(x, every)):
            assert found[1].mini_step == i
            found, updates = piece(found, micro)
            is_last = i == every - 1
            assert is_last == any(np.any(u != 0) for u in jax.tree.leaves(updates))
        close(found[0], expected[0])
        assert found[1].mini_step == 0
        assert not np.any(found[1].rows["w"])
        assert not np.any(found[1].losses)


@rules_around
def test_accumulation_under_scan_of_jit(rule):
    whole, parts = whole_and_parts(rule)
    params = start()
    micros = batches().reshape(-1, 2, 3)
    run = jax.jit(
        lambda tx, kind, carry, xs: jax.lax.scan(
            functools.partial(step, tx, kind), carry, xs
        ),
        static_argnums=(0, 1),
    )
    expected, _ = run(whole, "jacobian", (params, whole.init(params)), batches())
    found, updates = run(parts, "jacobian", (params, parts.init(params)), micros)
    close(found[0], expected[0])
    assert not np.any(updates["w"][::2])
    assert np.all(np.any(updates["w"][1::2] != 0, axis=(1, 2)))


def test_the_losses_handed_on_are_the_means():
    seen = []

    def spy(updates, state, params=None, *, losses=None, **extra_args):
        seen.append((losses, extra_args))
        return jax.tree.map(lambda x: x[0], updates), state

    inner = optax.GradientTransformationExtraArgs(lambda params: (), spy)
    tx = auxjax.accumulate_tasks(inner, 2)
    state = tx.init(jnp.zeros(1))
    with jax.disable_jit():
        for values in ([1.0, 4.0], [3.0, 0.0]):
            rows = jnp.array([[values[0]], [2.0]])
            updates, state = tx.update(
                rows, state, jnp.zeros(1), losses=jnp.array(values), value=values[0]
            )
    np.testing.assert_array_equal(seen[-1][0], [2.0, 2.0])
    assert seen[-1][1] == {"value": 3.0}  # of the last micro-batch
    np.testing.assert_array_equal(updates, [2.0])


def test_bfloat16_gradients_are_added_up_in_float32():
    """256 + 1 is 256 in bfloat16."""
    inner = optax.chain(auxjax.sum_tasks(), optax.scale(1.0))
    tx = auxjax.accumulate_tasks(inner, 4)
    params = jnp.zeros(1, jnp.bfloat16)
    state = tx.init(params)
    for value in (256.0, 1.0, 1.0, 2.0):
        rows = jnp.array([[value], [0.0]], jnp.bfloat16)
        updates, state = jax.jit(tx.update)(rows, state, params)
        assert updates.dtype == jnp.bfloat16
    assert float(updates[0]) == 65.0  # 260 / 4


@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
def test_multi_steps_in_that_place_fails(kind):
    whole, _ = whole_and_parts("olaux")
    tx = optax.MultiSteps(whole, 2)
    params = start()
    updates = jacobian() if kind == "jacobian" else jacobian().rows()
    with pytest.raises((ValueError, TypeError)):
        tx.update(updates, tx.init(params), params)


@pytest.mark.parametrize(
    ("mean_over", "expected", "losses_expected"),
    [("all", [1.0, 0.5], [2.0, 1.5]), ("present", [1.0, 1.0], [2.0, 3.0])],
)
@pytest.mark.parametrize("bad", [99.0, np.nan])
def test_masks_of_single_pieces(mean_over, expected, losses_expected, bad):
    """A row that is masked never enters; who was there in any piece is handed on."""

    def spy(updates, state, params=None, *, losses=None, task_mask=None):
        seen = {"losses": losses, "mask": task_mask}
        return updates.sum(0), jax.tree.map(lambda x: x.astype(float), seen)

    start = lambda _: {"losses": jnp.zeros(2), "mask": jnp.zeros(2)}  # noqa: E731
    inner = optax.GradientTransformationExtraArgs(start, spy)
    tx = auxjax.accumulate_tasks(inner, 2, mean_over=mean_over)
    update, rows = jax.jit(tx.update), jnp.eye(2)
    for second in ([True, False], [False, False]):
        state = tx.init(jnp.zeros(2))
        _, state = update(
            rows, state, losses=jnp.array([1.0, 3.0]), task_mask=jnp.array([True] * 2)
        )
        worse = jnp.where(jnp.array(second)[:, None], rows, bad)
        values = jnp.where(jnp.array(second), jnp.array([3.0, 3.0]), bad)
        found, state = update(worse, state, losses=values, task_mask=jnp.array(second))
        if second[0]:
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(state.inner_state["losses"], losses_expected)
        np.testing.assert_array_equal(state.inner_state["mask"], [1.0, 1.0])
        np.testing.assert_array_equal(state.counts, [0, 0])
    state = tx.init(jnp.zeros(2))
    for _ in range(2):
        found, state = update(
            worse, state, losses=values, task_mask=jnp.array([True, False])
        )
    np.testing.assert_array_equal(state.inner_state["mask"], [1.0, 0.0])


def test_a_task_absent_from_all_pieces_is_absent_from_the_step():
    whole, parts = whole_and_parts("olaux")
    params, mask = start(), jnp.array([True, True, False])
    one = jax.jit(
        lambda tx, state, x: tx.update(
            auxjax.task_jacobian(losses, params, x), state, params, task_mask=mask
        ),
        static_argnums=0,
    )
    expected, reached = one(whole, whole.init(params), X)
    _, state = one(parts, parts.init(params), X[:2])
    found, state = one(parts, state, X[2:])
    close(found, expected)
    close(state.inner_state, reached)


def test_constants_among_the_parameters_are_accumulated_over():
    params = {"w": jnp.ones(2), "key": jax.random.key(0), "n": jnp.array(3), "on": True}

    def two(p):
        return jnp.sum(p["w"] ** 2) * p["n"], jnp.sum(p["w"])

    tx = auxjax.accumulate_tasks(auxjax.sum_tasks(), 2)
    step = jax.jit(lambda s, p: tx.update(auxjax.task_jacobian(two, p), s, p))
    state = tx.init(params)
    for expected in (0.0, 7.0):
        updates, state = step(state, params)
        np.testing.assert_array_equal(updates["w"], [expected] * 2)
        assert {updates[k].dtype for k in ("key", "n", "on")} == {jax.dtypes.float0}


def test_accumulation_over_no_batch():
    with pytest.raises(ValueError, match=r"`every` should be at least 1\. Found 0\."):
        auxjax.accumulate_tasks(optax.sgd(0.1), 0)
    with pytest.raises(ValueError, match='`mean_over` should be "all" or "present"'):
        auxjax.accumulate_tasks(optax.sgd(0.1), 2, mean_over="some")


def test_accumulation_counts_the_tasks():
    tx = auxjax.accumulate_tasks(auxjax.sum_tasks(), 2)
    with pytest.raises(ValueError, match="Pass `num_tasks=3` to the rule"):
        tx.update(jacobian(), tx.init(start()), start())


# task_mask

ROWS = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])
OTHER = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [9.0, 3.0, -7.0, 1.0]])
VALUES = np.array([1.0, 2.0, 0.5])


def of_rows(rows, values, labels=(1.0,) * TASKS):
    """Losses with these gradients in "w" and these values where all is 0.

    They share a trunk, and are means over so many labels: without one, 0/0.
    """

    def means(params):
        trunk = jnp.sinh(params["w"])
        parts = zip(rows, params["heads"], values, labels, strict=True)
        return tuple((jnp.sum(g * trunk) + h + c) * n / n for g, h, c, n in parts)

    return means


@functools.cache
def masked(name):
    """A step without a mask, then one with: `(updates, state)` of both."""
    rule = RULES[name]
    tx = rule.make()

    def update(batch, state, params, **mask):
        fns = {
            "meta_losses": of_rows(jnp.asarray(ROWS), jnp.asarray(VALUES)),
            "sample_losses": lambda p: [jnp.stack([c, c]) for c in of_rows(*batch)(p)],
        }
        jac = auxjax.task_jacobian(of_rows(*batch), params)
        more = {key: fns[key] for key in rule.needs}
        return tx.update(jac, state, params, **more, **mask)

    @jax.jit
    def run(batch, mask):
        zeros = {"heads": [jnp.zeros(())] * TASKS, "w": jnp.zeros(4)}
        good = (jnp.asarray(ROWS), jnp.asarray(VALUES))
        first = update(good, tx.init(zeros), zeros)
        plain = update(batch, first[1], zeros)
        return first, update(batch, first[1], zeros, task_mask=mask), plain

    def call(rows, values, mask, labels=(1.0,) * TASKS):
        batch = [jnp.asarray(x, jnp.float32) for x in (rows, values, labels)]
        return run(batch, jnp.asarray(mask))

    return call


def numbers(tree):
    """The leaves; a typed key as its bits."""
    return [
        np.asarray(
            jax.random.key_data(x)
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
            else x
        )
        for x in jax.tree.leaves(tree)
    ]


every_rule = pytest.mark.parametrize("name", RULES)


@every_rule
def test_a_mask_of_all_is_no_mask(name):
    _, found, expected = masked(name)(ROWS, VALUES, [True] * TASKS)
    for a, b in zip(numbers(found), numbers(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@every_rule
def test_an_absent_task_adds_nothing(name):
    """Whatever its gradient and its loss: nobody else notices."""
    mask = [True, True, False]
    _, found, _ = masked(name)(ROWS, VALUES, mask)
    _, other, _ = masked(name)(OTHER, [1.0, 2.0, 7.0], mask)
    if name != "autolambda":  # whose optimizer remembers the step before
        assert found[0]["heads"][2] == 0
    assert np.any(found[0]["w"] != 0)
    for a, b in zip(numbers(found), numbers(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@every_rule
def test_what_the_state_holds_for_an_absent_task_stays(name):
    (_, before), (_, after), _ = masked(name)(OTHER, VALUES, [True, True, False])
    if "mlp" in name or "autolambda" in name:
        # A network is everybody's; ∂M/∂λ is that of the last update, 0 if absent.
        before, after = (optax.tree.get(s, "weights") for s in (before, after))
    pairs = list(zip(numbers(before), numbers(after), strict=True))
    found = [(a[2], b[2]) for a, b in pairs if a.shape[:1] == (TASKS,)]
    assert found or RULES[name].rows is None or name == "log_loss"
    for a, b in found:
        np.testing.assert_array_equal(a, b)


@every_rule
def test_an_absent_task_without_labels_brings_no_nan(name):
    """Its loss is 0/0, the gradient of the trunk that it shares is NaN."""
    mask = [True, True, False]
    _, found, _ = masked(name)(OTHER, VALUES, mask, labels=[1.0, 1.0, 0.0])
    _, expected, _ = masked(name)(ROWS, VALUES, mask)
    for a, b in zip(numbers(found), numbers(expected), strict=True):
        assert np.all(np.isfinite(a))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["olaux smoothing", "gcs", "famo", "slgrad", "cagrad"])
def test_an_absent_row_that_is_written_down(name):
    rule, zeros = RULES[name], {"heads": [jnp.zeros(())] * TASKS, "w": jnp.zeros(4)}
    tx, mask = rule.make(), jnp.array([True, True, False])
    good = of_rows(jnp.asarray(ROWS), jnp.asarray(VALUES))
    more = {
        "meta_losses": good,
        "sample_losses": lambda p: [jnp.stack([x, x]) for x in good(p)],
    }
    more = {key: more[key] for key in rule.needs}
    values, rows = auxjax.task_grads(good)(zeros)

    @jax.jit
    def step(bad):
        spoilt = jax.tree.map(lambda x: x.at[2].set(bad), rows)
        more["losses"] = values.at[2].set(bad)
        return tx.update(spoilt, tx.init(zeros), zeros, task_mask=mask, **more)

    expected = numbers(step(0.0))
    for bad in (jnp.nan, jnp.inf):
        for a, b in zip(numbers(step(bad)), expected, strict=True):
            np.testing.assert_array_equal(a, b)


# Batches that are not finite

REMEMBERS = [name for name, rule in RULES.items() if rule.rows or name == "autolambda"]
TOGETHER = {
    "autolambda",
    "scale_by_autolambda",
    "scale_by_autolambda softmax",
    "scale_by_autolambda exp",
    "auxilearn",
    "auxilearn mlp",
    "auxinash",
    "modo",
}


def without(state, *names):
    """The state without some fields of the rules in it."""
    blank = dict.fromkeys(names)
    is_rule = lambda x: hasattr(x, "_fields") and hasattr(x, "weights")  # noqa: E731

    def one(x):
        return x._replace(**blank) if is_rule(x) else x

    return jax.tree.map(one, state, is_leaf=is_rule)


@pytest.mark.parametrize("name", REMEMBERS)
@pytest.mark.parametrize("kind", ["nan", "inf", "main"])
def test_a_task_that_is_not_finite_counts_as_absent_in_what_is_remembered(name, kind):
    """It is passed on as it is, and counted."""
    bad = 0 if kind == "main" else 2
    values, labels = VALUES.copy(), np.ones(TASKS)
    if kind == "inf":  # of the loss alone: the gradient is as ever
        values[bad] = np.inf
    else:
        labels[bad] = 0.0
    everybody, mask = np.ones(TASKS, bool), np.arange(TASKS) != bad
    _, _, (updates, state) = masked(name)(ROWS, values, everybody, labels)
    kept = state
    if name == "autolambda":  # the optimizer's own state is its own affair
        kept = (state[0].weights, state[0].lambda_state)
    if name.startswith(
        "scale_by_autolambda"
    ):  # what the last step found is there to be seen
        kept = state[0]._replace(meta_gradient=None)
    assert all(np.all(np.isfinite(x)) for x in numbers(kept))
    assert kind == "inf" or np.any(np.isnan(updates["w"]))
    if name.startswith("log_loss"):
        assert optax.tree.get_all_with_path(state, "nonfinite")[0][1] == 1
    if name != "log_loss":
        counts = auxjax.task_metrics(state)["nonfinite"]
        np.testing.assert_array_equal(counts, np.arange(TASKS) == bad)
    if name not in TOGETHER:  # there one bad row costs all a step
        _, (_, expected), _ = masked(name)(ROWS, VALUES, mask)
        found = without(state, "weights", "nonfinite")
        expected = without(expected, "weights", "nonfinite")
        if not name.startswith("log_loss"):
            for a, b in zip(numbers(found), numbers(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["olaux", "uncertainty", "log_loss", "gcs sketch"])
def test_apply_if_finite_behind_the_aggregator(name):
    """The step is not made, and the next one is as if nothing had happened."""
    optimizer = optax.apply_if_finite(optax.sgd(0.1, momentum=0.9), 3)
    tx, params = optax.chain(RULES[name].make(), optimizer), start()

    @jax.jit
    def one(params, state, factor):
        scaled = lambda p, x: tuple(x * factor for x in losses(p, x))  # noqa: E731
        jac = auxjax.task_jacobian(scaled, params, X)
        updates, state = tx.update(jac, state, params)
        return optax.apply_updates(params, updates), state

    first = one(params, tx.init(params), 1.0)
    second = one(*first, jnp.inf)
    close(second[0], first[0], 0)
    assert second[1][-1].notfinite_count == 1
    third = one(*second, 1.0)
    expected = one(*first, 1.0)
    if "sketch" not in name:  # whose key is another one by then
        close(third[0], expected[0], 1e-6)
    assert all(np.all(np.isfinite(x)) for x in numbers(third))


def test_apply_if_finite_around_a_rule_says_where_it_belongs():
    tx = optax.apply_if_finite(optax.chain(auxjax.olaux(2, TASKS), optax.sgd(0.1)), 3)
    message = r"so should `optax\.apply_if_finite`"
    with pytest.raises((TypeError, ValueError), match=message):
        tx.update(jacobian(), tx.init(start()), start())


def test_autolambda_around_apply_if_finite():
    optimizer = optax.apply_if_finite(optax.sgd(0.1, momentum=0.9), 3)
    tx, params = auxjax.autolambda(optimizer, num_tasks=TASKS), start()

    @jax.jit
    def one(state, factor):
        scaled = lambda p: tuple(x * factor for x in losses(p, X))  # noqa: E731
        jac = auxjax.task_jacobian(scaled, params)
        meta = lambda p: losses(p, 0.9 * X)  # noqa: E731
        return tx.update(jac, state, params, meta_losses=meta)

    _, first = one(tx.init(params), 1.0)
    updates, second = one(first, jnp.inf)
    assert not any(np.any(u) for u in numbers(updates))
    np.testing.assert_array_equal(second.weights, first.weights)
    close(one(second, 1.0)[0], one(first, 1.0)[0], 1e-6)


@every_rule
@pytest.mark.parametrize(
    "mask", [jnp.ones(2, bool), jnp.ones((3, 1), bool), jnp.ones(3), jnp.ones(3, int)]
)
def test_wrong_masks_are_refused(name, mask):
    message = r"`task_mask` should be bools of shape \(3,\), one per task"
    with pytest.raises(ValueError, match=message):
        masked(name)(ROWS, VALUES, mask)


# task_metrics


def test_metrics_of_rules_in_a_chain():
    tx = optax.chain(
        auxjax.scale_by_fixed([1.0, 0.5, 2.0]),
        auxjax.scale_by_gcs(True, where=TRUNK, num_tasks=TASKS),
        optax.chain(auxjax.scale_by_fixed([3.0, 1.0, 1.0]), auxjax.sum_tasks()),
        optax.adam(1e-3),
    )
    params = start()
    with jax.numpy_dtype_promotion("standard"):
        _, state = tx.update(jacobian(), tx.init(params), params)
    metrics = jax.jit(auxjax.task_metrics)(state)
    gates = optax.tree.get(state, "cosines")
    short = {"weights", "nonfinite"}
    long = {f"{rule}/{name}" for rule in ("fixed", "gcs") for name in short}
    assert set(metrics) == {"cosines"} | short | long
    np.testing.assert_array_equal(metrics["cosines"], gates)
    product = np.array([3.0, 0.5, 2.0]) * np.maximum(gates, 0)
    np.testing.assert_allclose(metrics["weights"], product, rtol=1e-6)


def test_metrics_of_a_masked_rule():
    tx = optax.masked(auxjax.olaux(1, TASKS, 0.1), {"w": True, "heads": [False] * 3})
    metrics = auxjax.task_metrics({"step": 3, "opt": tx.init(start())})
    found = {k: v.tolist() for k, v in metrics.items()}
    assert found == {"weights": [1.0] * 3, "nonfinite": [0] * 3}


def test_metrics_of_autolambda_and_what_it_holds():
    tx = autolambda(aggregator=auxjax.sdmgrad(TASKS, where=TRUNK))
    metrics = auxjax.task_metrics(tx.init(start()))
    assert set(metrics) == {
        *("weights", "autolambda/weights", "sdmgrad/weights", "meta_gradient"),
        "nonfinite",
    }
    np.testing.assert_allclose(metrics["weights"], np.full(3, 0.1 / 3), rtol=1e-6)


def test_metrics_are_those_of_any_state():
    assert auxjax.task_metrics(optax.adam(0.1).init(start())) == {}
    tx = auxjax.scale_by_gradnorm(TASKS, where=TRUNK)
    _, state = tx.update(jacobian(), tx.init(start()), start())
    metrics = auxjax.task_metrics((start(), [state]))
    assert set(metrics) == {"weights", "norms", "nonfinite"}
    np.testing.assert_allclose(metrics["norms"], jacobian().norms(TRUNK), rtol=1e-6)


def warned(weights, now, first, **more):
    state = auxjax.scale_by_fixed(weights).init(start())
    metrics = jax.jit(
        lambda now, first: auxjax.task_metrics(
            state, losses=now, first_losses=first, **more
        )
    )
    return metrics(jnp.asarray(now), jnp.asarray(first))[
        "negative_weight_on_grown_loss"
    ]


@pytest.mark.parametrize(
    ("weights", "now", "first", "expected"),
    [
        ([1.0, -0.3, -0.3], [0.1, 11.0, 9.0], [1.0, 1.0, 1.0], [0, 1, 0]),
        ([1.0, 0.0, 2.0], [99.0, 99.0, 99.0], [1.0, 1.0, 1.0], [0, 0, 0]),
        ([-1.0, -1.0, -1.0], [1.0, 1.0, 99.0], [0.0, -2.0, -1.0], [0, 0, 0]),
        ([-1.0, -1.0, -1.0], [np.nan, np.inf, 1.0], [1.0, 1.0, 0.05], [0, 1, 1]),
    ],
)
def test_a_warning_of_a_negative_weight_on_a_loss_that_grew(
    weights, now, first, expected
):
    found = warned(weights, now, first)
    assert found.dtype == jnp.bool_
    np.testing.assert_array_equal(found, np.array(expected, bool))


def test_how_many_times_a_loss_has_grown_may_be_said():
    given = ([1.0, -0.3, -0.3], [1.0, 3.0, 1.5], [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(warned(*given, growth=2.0), [False, True, False])
    assert not np.any(warned(*given))


def test_what_the_warning_asks_for():
    state = auxjax.scale_by_fixed([1.0, 1.0]).init(start())
    with pytest.raises(ValueError, match="`losses` and `first_losses` should be given"):
        auxjax.task_metrics(state, losses=jnp.ones(2))
    with pytest.raises(ValueError, match=r"`first_losses` should have shape \(2,\)"):
        auxjax.task_metrics(state, losses=jnp.ones(2), first_losses=jnp.ones(3))
    none = auxjax.scale_by_log_loss().init(start())
    ones = jnp.ones(2)
    assert auxjax.task_metrics(none, losses=ones, first_losses=ones) == {}


def test_a_training_that_runs_away_is_warned_of_and_one_that_is_clipped_is_not():
    """An enemy of the main task: OL-AUX turns against it, and its own head grows."""

    def two(p):
        return p["shared"], 2.0 - p["shared"] + p["head"] ** 2

    def train(clip):
        tx = optax.chain(auxjax.olaux(1, 2, 0.05, clip_at_zero=clip), optax.sgd(0.05))
        params = {"shared": jnp.ones(()), "head": jnp.ones(())}
        first = auxjax.task_jacobian(two, params).losses

        def body(carry, _):
            params, state = carry
            jac = auxjax.task_jacobian(two, params)
            updates, state = tx.update(jac, state, params)
            seen = auxjax.task_metrics(state, losses=jac.losses, first_losses=first)
            params = optax.apply_updates(params, updates)
            return (params, state), seen["negative_weight_on_grown_loss"]

        return jax.lax.scan(body, (params, tx.init(params)), length=60)[1]

    free, clipped = train(False), train(True)
    assert not np.any(clipped)
    assert not np.any(free[:, 0])
    assert not free[0, 1]
    assert free[-1, 1]


class Layer(NamedTuple):
    """Somebody's parameters."""

    weights: jax.Array
    norms: jax.Array


def test_parameters_are_no_rule_whatever_their_names():
    layer = Layer(jnp.ones(2), jnp.ones(4))
    tx = auxjax.olaux(1, TASKS, 0.1)
    metrics = auxjax.task_metrics({"params": layer, "opt": (layer, tx.init(layer))})
    assert {k: v.shape for k, v in metrics.items()} == {
        "weights": (TASKS,),
        "nonfinite": (TASKS,),
    }


def test_every_state_of_a_rule_is_known_as_one():
    from auxjax.weighting._metrics import _rules

    for name, rule in WEIGHTINGS.items():
        found = [kind for kind, _ in _rules(rule.make().init(start()))]
        assert name.split()[0].replace("_", "").removeprefix("scaleby") in {
            *found,
            *(f"revised{kind}" for kind in found),
        }


# norms by sketches


def as_array(params, x):
    return jnp.stack(losses(params, x))


SCALE = jnp.array([2.0, -0.5, 3.0])
JACOBIANS = {
    "scalars": lambda: jacobian(),
    "array": lambda: auxjax.task_jacobian(as_array, start(), X),
    "scaled": lambda: jacobian().scale(SCALE),
    "scaled in part": lambda: jacobian().scale(SCALE, TRUNK),
}


@pytest.mark.parametrize("kind", JACOBIANS)
@pytest.mark.parametrize("where", [None, TRUNK], ids=["all", "trunk"])
@pytest.mark.parametrize("sketch", [1, 4])
def test_sketched_squares_are_unbiased(kind, where, sketch):
    """Squares of m draws: χ²ₘ/m times the square; 4 σ of what 4000 of them tell."""
    jac, num = JACOBIANS[kind](), 4000
    keys = jax.random.split(jax.random.key(sketch), num)
    sample = jax.jit(jax.vmap(lambda k: jac.norms(where, sketch=sketch, key=k)))
    squares = (
        np.asarray(sample(keys), np.float64) ** 2 / np.asarray(jac.norms(where)) ** 2
    )
    spread = np.sqrt(2 / sketch)
    np.testing.assert_allclose(squares.mean(0), 1, atol=4 * spread / np.sqrt(num))
    # The variance of the sample variance: kurtosis of χ²ₘ is 3 + 12/m.
    error = 4 * np.sqrt((2 + 12 / sketch) / num) / 2
    np.testing.assert_allclose(squares.std(0) / spread, 1, atol=error)


def test_a_sketch_is_that_of_its_key():
    a, b, c = (jacobian().norms(sketch=2, key=jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.all(a != c)


def test_sketches_of_rows_written_down_are_exact():
    stacked = auxjax.as_jacobian(jacobian().rows(), start())
    found = stacked.norms(TRUNK, sketch=1, key=jax.random.key(0))
    np.testing.assert_array_equal(found, stacked.norms(TRUNK))
    np.testing.assert_allclose(found, jacobian().norms(TRUNK), rtol=1e-5)


@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
def test_refused_sketches(kind):
    jac = jacobian()
    if kind == "stacked":
        jac = auxjax.as_jacobian(jac.rows(), start())
    with pytest.raises(ValueError, match=r"`sketch` should be at least 1. Found 0"):
        jac.norms(sketch=0, key=jax.random.key(0))
    with pytest.raises(ValueError, match="`key` should be given with `sketch`"):
        jac.norms(sketch=1)


def test_gcs_by_sketches_agrees_in_the_long_run():
    options = {"where": TRUNK, "num_tasks": TASKS, "ema": 0.99}
    exact = auxjax.scale_by_gcs(True, **options)
    sketched = auxjax.scale_by_gcs(True, **options, sketch=4, key=jax.random.key(1))

    @functools.partial(jax.jit, static_argnums=0)
    def run(tx, length):
        jac = auxjax.task_jacobian(losses, start(), X)
        again = lambda state, _: (tx.update(jac, state, start())[1], None)  # noqa: E731
        return jax.lax.scan(again, tx.init(start()), length)[0]

    expected = run(exact, jnp.zeros(1))
    found = run(sketched, jnp.zeros(1500))
    assert np.all(np.abs(expected.cosines[1:]) > 0.05)
    np.testing.assert_allclose(found.cosines[0], 1.0, rtol=1e-5)
    # Norms averaged over about 200 updates of 4 draws: 4 σ.
    tolerance = 4 * np.sqrt(2 / (4 * 199)) / 2
    np.testing.assert_allclose(found.cosines, expected.cosines, rtol=tolerance)
    assert np.any(found.cosines[1:] != expected.cosines[1:])
    assert np.any(
        jax.random.key_data(found.key) != jax.random.key_data(jax.random.key(1))
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sketch": 4}, "`sketch` should be given with `ema` above 0"),
        ({"sketch": 4, "ema": 0.9, "per_layer": True}, "`sketch` should be given with"),
        ({"sketch": 0, "ema": 0.9}, "`sketch` should be at least 1. Found 0."),
    ],
)
def test_gcs_without_an_average_takes_no_sketch(options, message):
    with pytest.raises(ValueError, match=message):
        auxjax.gcs(where=TRUNK, **options)
