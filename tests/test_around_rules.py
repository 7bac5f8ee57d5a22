"""What surrounds the rules: accumulation, task masks, metrics, norms by sketches."""

import functools

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


def test_accumulation_over_no_batch():
    with pytest.raises(ValueError, match=r"`every` should be at least 1\. Found 0\."):
        auxjax.accumulate_tasks(optax.sgd(0.1), 0)


def test_accumulation_counts_the_tasks():
    tx = auxjax.accumulate_tasks(auxjax.sum_tasks(), 2)
    with pytest.raises(ValueError, match="Pass `num_tasks=3` to the rule"):
        tx.update(jacobian(), tx.init(start()), start())


# task_mask

ROWS = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])
OTHER = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [9.0, 3.0, -7.0, 1.0]])
VALUES = np.array([1.0, 2.0, 0.5])


def of_rows(rows, values):
    """Losses with these gradients in "w" and these values where all is 0."""

    def linear(params):
        parts = zip(rows, params["heads"], values, strict=True)
        return tuple(jnp.sum(g * params["w"]) + h + c for g, h, c in parts)

    return linear


@functools.cache
def masked(name):
    """A step without a mask, then one with: `(updates, state)` of both."""
    rule = RULES[name]
    tx = rule.make()

    def update(rows, values, state, params, **mask):
        fns = {
            "meta_losses": of_rows(jnp.asarray(ROWS), jnp.asarray(VALUES)),
            "sample_losses": lambda p: [
                jnp.stack([c, c]) for c in of_rows(rows, values)(p)
            ],
        }
        jac = auxjax.task_jacobian(of_rows(rows, values), params)
        more = {key: fns[key] for key in rule.needs}
        return tx.update(jac, state, params, **more, **mask)

    @jax.jit
    def run(rows, values, mask):
        zeros = {"heads": [jnp.zeros(())] * TASKS, "w": jnp.zeros(4)}
        first = update(jnp.asarray(ROWS), jnp.asarray(VALUES), tx.init(zeros), zeros)
        plain = update(rows, values, first[1], zeros)
        return first, update(rows, values, first[1], zeros, task_mask=mask), plain

    return lambda rows, values, mask: run(
        jnp.asarray(rows, jnp.float32),
        jnp.asarray(values, jnp.float32),
        jnp.asarray(mask),
    )


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
@pytest.mark.parametrize(
    "mask", [jnp.ones(2, bool), jnp.ones((3, 1), bool), jnp.ones(3), jnp.ones(3, int)]
)
def test_wrong_masks_are_refused(name, mask):
    message = r"`task_mask` should be bools of shape \(3,\), one a task"
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
    assert set(metrics) == {"weights", "cosines", "fixed/weights", "gcs/weights"}
    np.testing.assert_array_equal(metrics["cosines"], gates)
    product = np.array([3.0, 0.5, 2.0]) * np.maximum(gates, 0)
    np.testing.assert_allclose(metrics["weights"], product, rtol=1e-6)


def test_metrics_of_a_masked_rule():
    tx = optax.masked(auxjax.olaux(1, TASKS, 0.1), {"w": True, "heads": [False] * 3})
    metrics = auxjax.task_metrics({"step": 3, "opt": tx.init(start())})
    assert {k: v.tolist() for k, v in metrics.items()} == {"weights": [1.0] * 3}


def test_metrics_of_autolambda_and_what_it_holds():
    tx = autolambda(aggregator=auxjax.sdmgrad(TASKS, where=TRUNK))
    metrics = auxjax.task_metrics(tx.init(start()))
    assert set(metrics) == {
        *("weights", "autolambda/weights", "sdmgrad/weights", "meta_gradient")
    }
    np.testing.assert_allclose(metrics["weights"], np.full(3, 0.1 / 3), rtol=1e-6)


def test_metrics_are_those_of_any_state():
    assert auxjax.task_metrics(optax.adam(0.1).init(start())) == {}
    tx = auxjax.scale_by_gradnorm(TASKS, where=TRUNK)
    _, state = tx.update(jacobian(), tx.init(start()), start())
    metrics = auxjax.task_metrics((start(), [state]))
    assert set(metrics) == {"weights", "norms"}
    np.testing.assert_allclose(metrics["norms"], jacobian().norms(TRUNK), rtol=1e-6)


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
