"""Weights of every k-th step: the rule's own there, kept in between."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend import core as jex_core

import auxjax
from tests._rules import TASKS, TRUNK, batches, losses, start

EVERY = 3
HEADS = {"heads": True, "w": False}
AROUND = {
    "upgrad": auxjax.upgrad,
    "mgda": auxjax.mgda,
    "dualproj": lambda: auxjax.dualproj(preference=np.array([1.0, 0.0, 0.0])),
    "cagrad": lambda: auxjax.cagrad(c=0.4),
    "nash_mtl": auxjax.nash_mtl,
    "imtl_g": auxjax.imtl_g,
    "aligned_mtl": auxjax.aligned_mtl,
    "con_fig": auxjax.con_fig,
    "fairgrad": auxjax.fairgrad,
    "krum": auxjax.krum,
    "pcgrad": auxjax.pcgrad,
    "gradvac": lambda: auxjax.gradvac(num_tasks=TASKS),
    "sdmgrad": lambda: auxjax.sdmgrad(TASKS, objectives=2),
    "pcd": lambda: auxjax.pcd(num_tasks=TASKS),
    "sum_tasks": auxjax.sum_tasks,
    "mean_tasks": auxjax.mean_tasks,
    "gcs": lambda: auxjax.gcs(True, where=TRUNK, num_tasks=TASKS),
    "olaux": lambda: auxjax.olaux(1, TASKS, 0.1),
    "dwa": lambda: auxjax.dwa(TASKS),
    "rlw": lambda: auxjax.rlw(TASKS),
    "uncertainty": lambda: auxjax.uncertainty(TASKS, optimizer=optax.sgd(0.1)),
    "upgrad of logs": lambda: optax.chain(auxjax.scale_by_log_loss(), auxjax.upgrad()),
    "gcs, then cagrad": lambda: optax.chain(
        auxjax.scale_by_gcs(True, num_tasks=TASKS), auxjax.cagrad(c=0.4)
    ),
    "heads alone": lambda: auxjax.mgda(where=HEADS),
    "trunk alone": lambda: auxjax.upgrad(where=TRUNK),
    "leaf by leaf": lambda: auxjax.upgrad(groups="leaf"),
    "groups": lambda: auxjax.mgda(groups={"heads": "a", "w": "b"}),
    "itself": lambda: auxjax.periodic(auxjax.upgrad(), 2, num_tasks=TASKS),
    "its average": lambda: auxjax.cr_mogm(auxjax.upgrad(), num_tasks=TASKS),
}
around = pytest.mark.parametrize("name", AROUND)
kinds = pytest.mark.parametrize("kind", ["jacobian", "stacked"])


def given(params, x, kind="jacobian"):
    """The updates and what goes with them."""
    if kind == "jacobian":
        return auxjax.task_jacobian(losses, params, x), {}
    values, grads = auxjax.task_grads(losses)(params, x)
    return grads, {"losses": values}


def stepper(tx, kind="jacobian"):
    @jax.jit
    def step(params, state, x, **extra):
        updates, more = given(params, x, kind)
        return tx.update(updates, state, params, **more, **extra)

    return step


def inputs(dtype="float64"):
    """A batch and other parameters for each of seven steps."""
    rng = np.random.default_rng(0)
    for i in range(7):
        yield start(dtype, seed=i), jnp.asarray(rng.normal(size=(4, 3)), dtype)


def close(found, expected, tol=1e-9):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


@around
@kinds
def test_every_kth_step_is_the_rules_own(name, kind, x64):
    """And what it remembers moves in those steps alone."""
    rule, tx = AROUND[name](), auxjax.periodic(AROUND[name](), EVERY, num_tasks=TASKS)
    run, run_rule = stepper(tx, kind), stepper(rule, kind)
    state, own = tx.init(start("float64")), rule.init(start("float64"))
    for count, (params, x) in enumerate(inputs()):
        found, state = run(params, state, x)
        if count % EVERY == 0:
            expected, own = run_rule(params, own, x)
            close(found, expected)
        assert jax.tree.structure(state.inner_state) == jax.tree.structure(own)
        for a, b in zip(
            jax.tree.leaves(state.inner_state), jax.tree.leaves(own), strict=True
        ):
            if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@kinds
@pytest.mark.parametrize("ema", [0.0, 0.7])
def test_between_them_the_rows_get_the_weights_that_are_kept(kind, ema, x64):
    """Σ wᵢ∇Lᵢ with NumPy's sums, w from the rule itself on each k-th step's Gramian."""
    tx = auxjax.periodic(auxjax.upgrad(where=TRUNK), EVERY, ema, num_tasks=TASKS)
    run, state, kept = stepper(tx, kind), tx.init(start("float64")), None
    for count, (params, x) in enumerate(inputs()):
        rows = jax.tree.map(np.asarray, auxjax.task_grads(losses)(params, x)[1])
        if count % EVERY == 0:
            flat = rows["w"].reshape(TASKS, -1)
            new = np.asarray(auxjax.upgrad_weights(jnp.asarray(flat @ flat.T)))
            kept = new if kept is None else ema * kept + (1 - ema) * new
        found, state = run(params, state, x)
        np.testing.assert_allclose(state.weights, kept, rtol=1e-9)
        expected = np.einsum("t,tij->ij", kept, rows["w"])
        np.testing.assert_allclose(found["w"], expected, rtol=1e-9, atol=1e-12)
        for head, own in zip(found["heads"], rows["heads"], strict=True):
            np.testing.assert_allclose(head, own.sum(0), rtol=1e-9, atol=1e-12)


def test_each_group_of_leaves_keeps_weights_of_its_own(x64):
    rule = lambda: auxjax.mgda(groups="leaf", where=lambda p: True)  # noqa: E731
    tx = auxjax.periodic(rule(), 2, num_tasks=TASKS)

    def overlapping(params, x):  # each loss depends on every head
        return tuple(
            loss + 0.1 * jnp.sum(h * x[0, 0]) * (i + 1)
            for i, loss in enumerate(losses(params, x))
            for h in [sum(params["heads"])]
        )

    steps = list(inputs())[:2]
    jacs = [auxjax.task_jacobian(overlapping, p, x) for p, x in steps]
    state = tx.init(steps[0][0])
    expected, _ = rule().update(jacs[0], rule().init(steps[0][0]), steps[0][0])
    found, state = tx.update(jacs[0], state, steps[0][0])
    close(found, expected)
    found, state = tx.update(jacs[1], state, steps[1][0])
    rows = jacs[1].rows()
    by_leaf = np.asarray(state.by_leaf)
    assert np.abs(by_leaf - by_leaf[0]).max() > 1e-3
    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(rows), by_leaf, strict=True)
    for gradient, stacked, own in leaves:
        expected = np.tensordot(own, np.asarray(stacked), 1)
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12)


def test_what_stands_before_acts_in_every_step(x64):
    before = lambda: auxjax.scale_by_log_loss()  # noqa: E731
    tx = optax.chain(before(), auxjax.periodic(auxjax.mgda(), EVERY, num_tasks=TASKS))
    run, state = stepper(tx), tx.init(start("float64"))
    for params, x in inputs():
        found, state = run(params, state, x)
        jac = auxjax.task_jacobian(losses, params, x)
        logs = jac.scale(1 / jac.losses)
        expected = logs.vjp(state[1].weights)["w"]
        np.testing.assert_allclose(found["w"], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            found["heads"][1], logs.vjp(jnp.ones(TASKS))["heads"][1], rtol=1e-9
        )


# What it costs


def count(jaxpr, *names, inside=()):
    """How often primitives stand in a program; `inside` those that are not entered."""
    total = 0
    for eqn in jaxpr.eqns:
        total += eqn.primitive.name in names
        if eqn.primitive.name not in inside:
            inner = jex_core.jaxprs_in_params(eqn.params)
            total += sum(count(j, *names, inside=inside) for j in inner)
    return total


def program(run, *args):
    return jax.make_jaxpr(run)(*args).jaxpr


@pytest.mark.parametrize("name", ["upgrad", "gcs", "pcgrad", "upgrad of logs"])
def test_one_forward_pass_and_the_rule_behind_one_condition(name):
    """`tanh` stands once: the losses are linearized once, and outside the branches."""
    tx, params = auxjax.periodic(AROUND[name](), EVERY, num_tasks=TASKS), start()
    found = program(stepper(tx), params, tx.init(params), batches()[0])
    assert count(found, "tanh") == count(found, "tanh", inside=("cond",)) == 1
    conditions = count(found, "cond", inside=("cond",))
    assert conditions == 1


def test_between_it_is_one_backward_pass():
    """As many products outside the condition as a weighted sum with own heads takes."""
    tx, params, x = (
        auxjax.periodic(auxjax.upgrad(), 9, num_tasks=TASKS),
        start(),
        batches()[0],
    )

    def weighted(params, x):
        jac = auxjax.task_jacobian(losses, params, x)
        return jac.scale(jnp.arange(1.0, 4.0), TRUNK).vjp(jnp.ones(TASKS))

    found = program(stepper(tx), params, tx.init(params), x)
    expected = count(program(weighted, params, x), "dot_general")
    assert count(found, "dot_general", inside=("cond",)) == expected
    assert count(found, "dot_general") > expected


def test_seeds_share_the_condition():
    """Under `vmap` it is still one: no seed pays for the rule between its turns."""
    tx, x = auxjax.periodic(auxjax.upgrad(), EVERY, num_tasks=TASKS), batches()[0]
    seeds = jax.tree.map(lambda a, b: jnp.stack([a, b]), start(), start(seed=5))
    run = jax.vmap(stepper(tx), in_axes=(0, 0, None))
    states = jax.vmap(tx.init)(seeds)
    assert " conditional(" in jax.jit(run).lower(seeds, states, x).compile().as_text()


@pytest.mark.parametrize("counts", [(0, 0), (0, 1), (1, 2)])
def test_seeds_at_other_steps_get_what_each_gets_alone(counts, x64):
    tx, x = (
        auxjax.periodic(auxjax.pcgrad(), EVERY, 0.5, num_tasks=TASKS),
        batches("float64")[0],
    )
    params = [start("float64"), start("float64", seed=5)]
    states = []
    for own, steps in zip(params, counts, strict=True):
        state = tx.init(own)
        for _ in range(steps):
            _, state = stepper(tx)(own, state, x)
        states.append(state)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), *states)
    seeds = jax.tree.map(lambda a, b: jnp.stack([a, b]), *params)
    found = jax.vmap(stepper(tx), in_axes=(0, 0, None))(seeds, both, 2 * x)
    for i in range(2):
        expected = stepper(tx)(params[i], states[i], 2 * x)
        own = jax.tree.map(lambda a, i=i: a[i], found)
        close(own[0], expected[0], 1e-10)
        close(own[1]._replace(inner_state=()), expected[1]._replace(inner_state=()))
        keys = [s.inner_state[0].key for s in (own[1], expected[1])]
        np.testing.assert_array_equal(*map(jax.random.key_data, keys))


def test_without_jit_a_branch_that_is_not_taken_still_tells_the_leaves():
    tx, params = auxjax.periodic(auxjax.upgrad(), EVERY, num_tasks=TASKS), start()
    expected, state = [], tx.init(params)
    for x in batches():
        found, state = stepper(tx)(params, state, x)
        expected.append(found)
    state = tx.init(params)
    with jax.disable_jit():
        for x, gradient in zip(batches(), expected, strict=True):
            updates, _ = given(params, x)
            found, state = tx.update(updates, state, params)
            close(found, gradient, 1e-5)


def test_weights_can_be_differentiated_through(x64):
    """As a learner of learning would: against a finite difference."""
    tx, x = (
        auxjax.periodic(auxjax.cagrad(c=0.4), 2, num_tasks=TASKS),
        batches("float64")[0],
    )
    first = start("float64")

    def two_steps(w):
        params, state = {**first, "w": w}, tx.init(first)
        for _ in range(2):
            updates, _ = given(params, x)
            step, state = tx.update(updates, state, params)
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, step)
        return losses(params, x)[0]

    slope = jax.grad(two_steps)(first["w"])
    direction = jnp.asarray(np.random.default_rng(1).normal(size=slope.shape))
    ends = (two_steps(first["w"] + s * direction) for s in (1e-5, -1e-5))
    expected = (next(ends) - next(ends)) / 2e-5
    np.testing.assert_allclose(jnp.sum(slope * direction), expected, rtol=1e-6)


# Absent tasks, numbers that are not finite

ALL, FIRST_TWO = np.array([True, True, True]), np.array([True, True, False])


def masked_run(masks, every=2, ema=0.0, xs=None):
    """Step by step: gradient, rows, state."""
    tx = auxjax.periodic(auxjax.upgrad(where=TRUNK), every, ema, num_tasks=TASKS)
    run, params, found = stepper(tx), start("float64"), []
    state = tx.init(params)
    xs = batches("float64") if xs is None else xs
    for x, mask in zip(xs[: len(masks)], masks, strict=True):
        gradient, state = run(params, state, x, task_mask=jnp.asarray(mask))
        found.append((gradient, auxjax.task_jacobian(losses, params, x), state))
    return found


def upgrad_of(jac, mask):
    return np.asarray(auxjax.upgrad_weights(jac.gramian(TRUNK), jnp.asarray(mask)))


def test_an_absent_task_keeps_its_weight_and_gives_nothing(x64):
    (_, jac, first), (gradient, now, second), (_, again, third) = masked_run(
        [ALL, FIRST_TWO, FIRST_TWO]
    )
    kept = upgrad_of(jac, ALL)
    np.testing.assert_allclose(first.weights, kept, rtol=1e-9)
    np.testing.assert_allclose(second.weights, kept, rtol=1e-9)
    expected = now.vjp(jnp.asarray(kept * FIRST_TWO))["w"]
    np.testing.assert_allclose(gradient["w"], expected, rtol=1e-9)
    np.testing.assert_array_equal(gradient["heads"][2], 0.0)
    new = upgrad_of(again, FIRST_TWO)
    np.testing.assert_allclose(third.weights, [*new[:2], kept[2]], rtol=1e-9)


def test_a_task_that_comes_late_is_weighed_at_once(x64):
    _, (gradient, jac, state), (_, _, third), _ = masked_run(
        [FIRST_TWO, ALL, ALL, ALL], every=4
    )
    expected = upgrad_of(jac, ALL)  # of the second step, which is no fourth
    np.testing.assert_allclose(state.weights, expected, rtol=1e-9)
    weighted = jac.vjp(jnp.asarray(expected))["w"]
    np.testing.assert_allclose(gradient["w"], weighted, rtol=1e-9)
    np.testing.assert_array_equal(third.weights, state.weights)
    np.testing.assert_array_equal(state.known, ALL)


def test_an_absent_task_may_hold_anything():
    """Its loss is 0/0; and everybody may be absent."""
    tx, params = auxjax.periodic(auxjax.upgrad(), 2, num_tasks=TASKS), start()

    @jax.jit
    def run(state, x, mask):
        labels = mask.astype(x.dtype)
        means = lambda p: tuple(  # noqa: E731
            v * n / n for v, n in zip(losses(p, x), labels, strict=True)
        )
        jac = auxjax.task_jacobian(means, params)
        return tx.update(jac, state, params, task_mask=mask)

    state = tx.init(params)
    for x, mask in zip(batches(), [FIRST_TWO, ~ALL, ~FIRST_TWO, ALL], strict=True):
        gradient, state = run(state, x, jnp.asarray(mask))
        assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
        assert np.all(np.isfinite(state.by_leaf))
        assert np.any(gradient["w"] != 0) == mask.any()


def test_weights_that_are_not_finite_are_passed_on_and_forgotten(x64):
    xs = np.array(batches("float64"))
    xs[2] = np.nan  # a step in which the rule runs
    (_, _, first), _, (gradient, _, third), (after, jac, _) = masked_run(
        [ALL] * 4, xs=jnp.asarray(xs)
    )
    assert np.all(np.isnan(gradient["w"]))
    np.testing.assert_array_equal(third.weights, first.weights)
    expected = jac.vjp(first.weights)["w"]
    np.testing.assert_allclose(after["w"], expected, rtol=1e-9)


def test_first_weights_that_are_not_finite_are_found_again(x64):
    xs = np.array(batches("float64"))
    xs[0] = np.nan
    (_, _, first), (gradient, jac, second), *_ = masked_run(
        [ALL] * 4, every=4, xs=jnp.asarray(xs)
    )
    assert not np.any(first.known)
    np.testing.assert_allclose(second.weights, upgrad_of(jac, ALL), rtol=1e-9)
    assert np.all(np.isfinite(gradient["w"]))


# What it tells, what it refuses


def test_metrics_tell_the_kept_weights_once():
    tx = optax.chain(
        auxjax.scale_by_fixed([1.0, 2.0, 3.0]),
        auxjax.periodic(auxjax.gcs(True, num_tasks=TASKS), 2, num_tasks=TASKS),
        optax.sgd(0.1),
    )
    params = start()
    state = tx.init(params)
    for x in batches()[:2]:
        _, state = stepper(tx)(params, state, x)
    metrics = auxjax.task_metrics(state)
    kept = np.asarray(state[1].weights)
    np.testing.assert_allclose(metrics["periodic/weights"], kept)
    np.testing.assert_allclose(metrics["weights"], kept * [1.0, 2.0, 3.0])
    assert "gcs/weights" not in metrics
    assert metrics["cosines"].shape == (TASKS,)


REFUSED = {
    "graddrop": auxjax.graddrop,
    "moco": auxjax.moco,
    "trimmed_mean": auxjax.trimmed_mean,
    "slgrad": lambda: auxjax.slgrad(TASKS),
    "an optimizer": lambda: optax.sgd(0.1),
    "a rule before an optimizer": lambda: optax.chain(auxjax.upgrad(), optax.sgd(0.1)),
    "a row transform alone": lambda: auxjax.scale_by_gcs(),
    "samples, aggregated": lambda: optax.chain(auxjax.scale_by_slgrad(), auxjax.mgda()),
    "autolambda": lambda: auxjax.autolambda(optax.sgd(0.1)),
    "accumulate": lambda: auxjax.accumulate_tasks(auxjax.sum_tasks(), 2),
    "an empty chain": lambda: optax.identity(),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("wrapper", ["periodic", "cr_mogm"])
def test_what_does_not_end_in_weights_is_refused(name, wrapper):
    make = {
        "periodic": lambda rule: auxjax.periodic(rule, 2),
        "cr_mogm": auxjax.cr_mogm,
    }[wrapper]
    message = "`rule` should end in weights, so that its gradient is Σ wᵢ∇Lᵢ: an aggre"
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        make(REFUSED[name]())
    assert "`upgrad()`" in str(error.value)
    assert "Found " in str(error.value)


def test_every_rule_of_the_table_ends_in_weights_or_is_named():
    """So that the message stays true."""
    from auxjax.aggregation._ending import ends_in_weights
    from tests._rules import RULES

    others = {name for name, rule in RULES.items() if not ends_in_weights(rule.make())}
    others = {name.split()[0] for name in others}
    aggregators = {"db_mtl", "graddrop", "moco", "trimmed_mean"}
    assert others == aggregators | {"slgrad", "autolambda", "select_then_train"}


def test_rows_made_in_a_hidden_place_are_found_out_in_the_update():
    def update(updates, state, params=None, **extra):
        del params, extra
        return auxjax.as_jacobian(updates).rows(), state

    rows = optax.GradientTransformationExtraArgs(lambda params: (), update)
    tx = auxjax.periodic(optax.chain(rows, auxjax.mgda()), 2, num_tasks=TASKS)
    updates, _ = given(start(), batches()[0])
    with pytest.raises(ValueError, match="The rule should scale the rows that it is"):
        tx.update(updates, tx.init(start()), start())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "`every` should be at least 1. Found 0."),
        ({"every": 2, "num_tasks": 0}, "`num_tasks` should be at least 1. Found 0."),
        ({"every": 2, "weights_ema": -1}, "`weights_ema` should be in [0, 1]. Found"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        auxjax.periodic(auxjax.upgrad(), **options)


@pytest.mark.parametrize("num_tasks", [2, 40])
def test_any_number_of_tasks(num_tasks, x64):
    rng = np.random.default_rng(0)
    tx = auxjax.periodic(auxjax.mgda(), 2, num_tasks=num_tasks)
    rule, state = auxjax.mgda(), tx.init(jnp.zeros(50))
    for count in range(3):
        rows = rng.normal(size=(num_tasks, 50))
        found, state = tx.update(jnp.asarray(rows), state)
        np.testing.assert_allclose(found, np.asarray(state.weights) @ rows, atol=1e-9)
        if count % 2 == 0:
            expected, _ = rule.update(jnp.asarray(rows), rule.init(jnp.zeros(50)))
            np.testing.assert_allclose(found, expected, atol=1e-9)


def test_inside_inject_hyperparams():
    """What is a number may change while training."""
    make = lambda c, alpha: auxjax.periodic(  # noqa: E731
        auxjax.cagrad(c=c), 2, alpha, num_tasks=TASKS
    )
    tx = optax.inject_hyperparams(make)(c=0.4, alpha=0.0)
    params = start()
    updates, _ = given(params, batches()[0])
    found, _ = jax.jit(tx.update)(updates, tx.init(params), params)
    expected, _ = auxjax.cagrad(c=0.4).update(updates, ((),), params)
    close(found, expected, 1e-5)


def test_an_accumulated_batch():
    """Around it micro-batches are added up; the steps are those of whole batches."""
    tx = auxjax.periodic(auxjax.upgrad(where=TRUNK), 2, num_tasks=TASKS)
    parts = auxjax.accumulate_tasks(tx, 2, num_tasks=TASKS)
    params = start()
    whole, pieces = tx.init(params), parts.init(params)
    for x in batches()[:3]:
        expected, whole = stepper(tx)(params, whole, x)
        for piece in (x[:2], x[2:]):
            found, pieces = stepper(parts)(params, pieces, piece)
        close(found, expected, 1e-5)
