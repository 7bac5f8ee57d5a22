"""What holds for every rule: one test a promise, for the rules of `_rules.py`.

Each rule is compiled once a way of running it; the tests share what comes out.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax.run import restore, save
from tests._rules import (
    AGGREGATORS,
    COMPOSITIONS,
    OPTIMIZERS,
    RULES,
    STEPS,
    TASKS,
    TRUNK,
    WEIGHTINGS,
    batches,
    extras,
    losses,
    samples,
    start,
)

every_rule = pytest.mark.parametrize("name", RULES)
STACKED = [name for name, rule in RULES.items() if rule.stacked]


@functools.cache
def with_momentum(name):
    return optax.chain(RULES[name].make(), optax.sgd(0.1, momentum=0.9))


def make_step(tx, rule, kind="jacobian", losses=losses, samples=samples):
    """One step of training; the updates come as a `TaskJacobian` or stacked."""

    def step(params, state, x):
        more = extras(rule, x, losses, samples)
        if kind == "jacobian":
            updates = auxjax.task_jacobian(losses, params, x)
        else:
            values, updates = auxjax.task_grads(losses)(params, x)
            more["losses"] = values
        updates, state = tx.update(updates, state, params, **more)
        return optax.apply_updates(params, updates), state

    return step


@functools.cache
def donated(name, kind="jacobian"):
    """One step, compiled; the parameters and the state given to it are gone."""
    step = make_step(with_momentum(name), RULES[name], kind)
    return jax.jit(step, donate_argnums=(0, 1))


def compiled(name, kind="jacobian"):
    """The same, on copies of what is given to it."""
    return lambda params, state, x: donated(name, kind)(
        *jax.tree.map(jnp.copy, (params, state)), x
    )


@functools.cache
def loop(name, dtype, kind="jacobian"):
    """The yardstick, step by step: the states before and after each step."""
    with jax.enable_x64(dtype == "float64"):
        params = start(dtype)
        found = [(params, with_momentum(name).init(params))]
        for x in batches(dtype):
            found.append(compiled(name, kind)(*found[-1], x))
    return found


@functools.cache
def first(name):
    """The rule alone, without jit: the Jacobian, what it asks for, what it returns."""
    tx, params, x = RULES[name].make(), start(), batches()[0]
    jac, more = auxjax.task_jacobian(losses, params, x), extras(RULES[name], x)
    return jac, more, tx.update(jac, tx.init(params), params, **more)


def plain(x):
    """As NumPy; a typed key as its bits."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    return np.asarray(x)


def close(got, expected, tol=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = plain(a), plain(b)
        if a.dtype.kind not in "iub":
            a, b = a.astype(np.float64), b.astype(np.float64)
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def bits(tree):
    return [(plain(x).dtype, plain(x).tobytes()) for x in jax.tree.leaves(tree)]


def kinds(tree):
    return jax.tree.map(lambda x: (jnp.shape(x), jnp.asarray(x).dtype), tree)


@every_rule
def test_jit_equals_no_jit(name):
    tx, rule, params, x = with_momentum(name), RULES[name], start(), batches()[0]
    got = make_step(tx, rule)(params, tx.init(params), x)
    close(got, loop(name, "float32")[1])


@every_rule
def test_a_step_may_have_the_buffers_of_what_it_replaces(name):
    """No buffer is in the state twice; none is the factory's, which starts again."""
    tx, params = with_momentum(name), start()
    found = (params, tx.init(params))
    for x in batches()[:2]:
        found = donated(name)(*found, x)
    close(found, loop(name, "float32")[2])
    assert bits(tx.init(start())) == bits(loop(name, "float32")[0][1])


DRAWING = {
    "gcs": lambda key: auxjax.gcs(True, ema=0.9, num_tasks=TASKS, sketch=1, key=key),
    "gradnorm": lambda key: auxjax.gradnorm(TASKS, sketch=1, key=key),
    "olaux": lambda key: auxjax.olaux(
        1, TASKS, inner_products="cosine", sketch=1, key=key
    ),
    "rlw": lambda key: auxjax.rlw(TASKS, key=key),
    "graddrop": lambda key: auxjax.graddrop(key=key),
    "sdmgrad": lambda key: auxjax.sdmgrad(TASKS, key=key),
}


@pytest.mark.parametrize("name", DRAWING)
def test_the_users_key_outlives_a_donated_state(name):
    key = jax.random.key(3)
    state = DRAWING[name](key).init(start())
    jax.jit(lambda state: jax.tree.map(jnp.copy, state), donate_argnums=0)(state)
    assert not key.is_deleted()
    assert bits(key) == bits(jax.random.key(3))


@every_rule
def test_scan_equals_a_loop(name, x64):
    step = make_step(with_momentum(name), RULES[name])

    @jax.jit
    def run(carry, xs):
        return jax.lax.scan(lambda carry, x: (step(*carry, x), None), carry, xs)[0]

    expected = loop(name, "float64")
    close(run(expected[0], batches("float64")), expected[-1], 1e-10)


@every_rule
def test_vmap_over_seeds_equals_each_alone(name, x64):
    tx, x = with_momentum(name), batches("float64")[0]
    seeds = [start("float64"), start("float64", seed=5)]
    step = make_step(tx, RULES[name])
    run = jax.jit(jax.vmap(lambda p: step(p, tx.init(p), x)))
    found = run(jax.tree.map(lambda a, b: jnp.stack([a, b]), *seeds))
    for i, params in enumerate(seeds):
        expected = compiled(name)(params, tx.init(params), x)
        close(jax.tree.map(lambda x, i=i: x[i], found), expected, 1e-10)


@pytest.mark.parametrize("name", STACKED)
def test_stacked_gradients_equal_the_jacobian(name, x64):
    found = loop(name, "float64", "stacked")[-1]
    expected = loop(name, "float64")[-1]
    if RULES[name].draws and "sketch" in name:  # exact where rows are written down
        assert kinds(found) == kinds(expected)
    else:
        close(found, expected, 1e-10)


@every_rule
def test_float32_agrees_with_float64(name):
    single, double = loop(name, "float32"), loop(name, "float64")
    assert single[-1][0]["w"].dtype == jnp.float32
    assert double[-1][0]["w"].dtype == jnp.float64
    if not RULES[name].draws:
        close(single[1][0], double[1][0])
        close(single[-1][0], double[-1][0], 1e-4)  # rounding grows with the steps


SEVENTHS = np.arange(1, TASKS + 1) / 7
OF_NUMPY = {
    "auxinash": lambda x: auxjax.auxinash(TASKS, preference=x, every=1),
    "cosmos": lambda x: auxjax.cosmos(TASKS, preference=x),
    "dualproj": lambda x: auxjax.dualproj(preference=x),
    "famo": lambda x: auxjax.famo(TASKS, lower_bound=x),
    "fixed": lambda x: auxjax.fixed(x),
    "gradnorm": lambda x: auxjax.gradnorm(TASKS, initial_losses=x),
    "igb": lambda x: auxjax.igb(TASKS, base_losses=x),
    "pbi": lambda x: auxjax.pbi(TASKS, preference=x, ideal=-x),
    "stch": lambda x: auxjax.stch(TASKS, preference=x, ideal=-x, nadir=x),
    "upgrad": lambda x: auxjax.upgrad(preference=x),
}


@pytest.mark.parametrize("name", [*RULES, *(f"{name} of NumPy" for name in OF_NUMPY)])
def test_what_ran_in_float32_runs_in_float64(name):
    """JAX may remember a NumPy constant as the float32 that it was first made.

    One object, traced in either precision, against one that never saw float32.
    """
    short = name.removesuffix(" of NumPy")

    def fresh():
        own = OF_NUMPY[short](SEVENTHS.copy()) if short != name else RULES[name].make()
        return optax.chain(own, optax.sgd(0.1))

    def trace(tx, dtype):
        with jax.enable_x64(dtype == "float64"):
            params = start(dtype)
            state = tx.init(params)
            made = jax.make_jaxpr(make_step(tx, RULES[short]))
            return made(params, state, batches(dtype)[0]), state

    tx = fresh()
    before = trace(tx, "float32")  # and keeps its constants alive
    (found, state), (expected, first_state) = (
        trace(tx, "float64"),
        trace(fresh(), "float64"),
    )
    assert before[0].consts is not None
    assert bits(found.consts) == bits(expected.consts)
    assert bits(state) == bits(first_state)
    found, expected = (re.sub(" at 0x[0-9a-f]+", "", str(x)) for x in (found, expected))
    assert found == expected


@every_rule
def test_bfloat16_agrees_roughly(name):
    params, _ = loop(name, "bfloat16")[1]
    assert params["w"].dtype == jnp.bfloat16
    expected = loop(name, "float32")[1][0]
    if RULES[name].draws:
        assert all(np.all(np.isfinite(plain(x))) for x in jax.tree.leaves(params))
    else:
        close(params, expected, 0.1)


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_state_and_parameters_keep_structure_shapes_and_dtypes(name, dtype):
    """Else they could not be carried by a scan."""
    before, *after = loop(name, dtype)
    with jax.enable_x64(dtype == "float64"):
        for state in after:
            assert kinds(state) == kinds(before)


@pytest.mark.parametrize("name", STACKED)
def test_stacked_gradients_have_the_state_of_a_jacobian(name):
    with jax.enable_x64(True):
        found = loop(name, "float64", "stacked")[-1]
        assert kinds(found) == kinds(loop(name, "float64")[-1])


@pytest.mark.parametrize("name", [n for n in WEIGHTINGS if n != "log_loss"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_weights_are_there_in_single_precision_or_better(name, dtype):
    for _, state in loop(name, dtype):
        weights = plain(auxjax.task_metrics(state)["weights"])
        assert weights.shape == (TASKS,)
        assert weights.dtype == ("float64" if dtype == "float64" else "float32")
        assert np.all(np.isfinite(weights))
        if RULES[name].main_is_one:
            assert weights[0] == 1.0


@every_rule
def test_extra_arguments_of_others_are_ignored(name):
    jac, more, expected = first(name)
    tx, params = RULES[name].make(), start()
    others = {"value": 1.0, "key": jax.random.key(0), "grad": params}
    got = tx.update(jac, tx.init(params), params, **more, **others)
    assert bits(got) == bits(expected)


@every_rule
def test_parameters_may_be_left_out_where_they_are_not_needed(name):
    jac, more, expected = first(name)
    tx = RULES[name].make()
    state = tx.init(start())
    if RULES[name].needs or name == "select_then_train":
        with pytest.raises(ValueError, match=r"needs the parameters\. Found None"):
            tx.update(jac, state, **more)
    else:
        assert bits(tx.update(jac, state)) == bits(expected)


@pytest.mark.parametrize("name", [n for n, rule in RULES.items() if rule.needs])
def test_what_a_rule_needs_is_asked_for(name):
    jac, more, _ = first(name)
    tx, params = RULES[name].make(), start()
    state, x = tx.init(params), batches()[0]
    for missing in more:
        rest = {key: value for key, value in more.items() if key != missing}
        with pytest.raises(ValueError, match=f"Pass `{missing}=lambda p: "):
            tx.update(jac, state, params, **rest)
    two = {**more, "meta_losses": lambda p: losses(p, x)[:2]}
    with pytest.raises(ValueError, match="`meta_losses` should return 3 losses"):
        tx.update(jac, state, params, **two)
    if not RULES[name].stacked:
        with pytest.raises(ValueError, match="Found stacked gradients"):
            tx.update(jac.rows(), state, params, **more, losses=jac.losses)


@every_rule
@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
def test_another_number_of_tasks(name, kind):
    """It is refused by all but the rules whose state does not depend on it."""

    def two(params, x):
        return losses(params, x)[:2]

    rule, params = RULES[name], start()
    tx = with_momentum(name)
    step = make_step(tx, rule, kind, two, lambda p, x: samples(p, x)[:2])
    run = functools.partial(jax.eval_shape, step, params, tx.init(params), batches()[0])
    if rule.any_number:
        assert run()[0]["w"].shape == (3, 2)
    else:
        with pytest.raises(ValueError, match=r"should (be 2|have 2 entries)"):
            run()


@every_rule
@pytest.mark.parametrize("with_params", [True, False])
def test_a_summed_gradient_is_refused(name, with_params):
    tx, params = RULES[name].make(), start()
    jac, more, _ = first(name)
    summed = jac.vjp(jnp.ones(TASKS))
    message = "looks like a gradient that is already summed over the tasks"
    with pytest.raises(ValueError, match=re.escape(message)):
        tx.update(summed, tx.init(params), params if with_params else None, **more)


@every_rule
def test_inside_a_chain_with_clip_and_adam(name):
    jac, more, (expected, _) = first(name)
    tail = (optax.clip_by_global_norm(0.1), optax.adam(1e-2))
    params = start()
    whole = optax.chain(RULES[name].make(), *tail)
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes int and float
        got, _ = whole.update(jac, whole.init(params), params, **more)
        for part in tail:
            expected, _ = part.update(expected, part.init(params), params)
    assert bits(got) == bits(expected)


@every_rule
def test_a_sharded_batch_gives_the_numbers_of_one_device(name):
    assert jax.device_count() == 8
    params, x = start(), batches(size=8)[0]
    state = with_momentum(name).init(params)
    mesh = jax.make_mesh((8,), ("batch",), (jax.sharding.AxisType.Auto,))
    split = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch")))
    assert len(split.addressable_shards) == 8
    spread = jax.device_put((params, state), jax.NamedSharding(mesh, jax.P()))
    got = compiled(name)(*spread, split)
    assert len(got[0]["w"].sharding.device_set) == 8
    close(got, compiled(name)(params, state, x))


@every_rule
def test_explicit_sharding(name):
    params, x = start(), batches(size=8)[0]
    state = with_momentum(name).init(params)
    mesh = jax.make_mesh((8,), ("batch",), (jax.sharding.AxisType.Explicit,))
    split = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch")))
    spread = jax.device_put((params, state), jax.NamedSharding(mesh, jax.P()))
    close(compiled(name)(*spread, split), compiled(name)(params, state, x))


@pytest.mark.parametrize("name", ["olaux", "gcs atari", "gls", "upgrad"])
def test_shard_map_with_a_mean_over_devices(name):
    tx, mesh = with_momentum(name), jax.make_mesh((8,), ("batch",))

    def mean_losses(params, x):
        return tuple(jax.lax.pmean(loss, "batch") for loss in losses(params, x))

    params, x = start(), batches(size=16)[0]
    state = tx.init(params)
    specs = (jax.P(), jax.P(), jax.P("batch"))
    step = make_step(tx, RULES[name], losses=mean_losses)
    spread = jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=jax.P())
    places = [jax.NamedSharding(mesh, spec) for spec in specs]
    got = jax.jit(spread)(*jax.device_put((params, state, x), tuple(places)))
    close(got, compiled(name)(params, state, x))


@every_rule
def test_a_state_saved_and_restored_goes_on_bit_for_bit(name, tmp_path):
    whole = loop(name, "float32")
    save(tmp_path, 2, whole[2])
    params = start(seed=7)
    step, found = restore(tmp_path, (params, with_momentum(name).init(params)))
    assert step == 2
    assert bits(found) == bits(whole[2])
    for x in batches()[2:]:
        found = compiled(name)(*found, x)
    assert jax.tree.structure(found) == jax.tree.structure(whole[STEPS])
    assert bits(found) == bits(whole[STEPS])


# Rows of one's own choice: losses that are linear in the parameters.


def of_rows(rows, values):
    """Losses with these gradients in "w" and these values where "w" is 0."""

    def linear(params):
        parts = zip(rows, params["heads"], values, strict=True)
        return tuple(jnp.sum(g * params["w"]) + h + c for g, h, c in parts)

    return linear


@functools.cache
def on_rows(name):
    """Two updates with the same rows `[T, 4]`, compiled; the first one's gradients."""
    rule = RULES[name]
    tx = rule.make()

    @jax.jit
    def run(rows, values):
        zeros = {"heads": [jnp.zeros((), rows.dtype)] * TASKS, "w": 0 * rows[0]}
        jac = auxjax.task_jacobian(of_rows(rows, values), zeros)
        more = {
            "meta_losses": of_rows(rows, values),
            "sample_losses": lambda p: [
                jnp.stack([c, c]) for c in of_rows(rows, values)(p)
            ],
        }
        more = {name: more[name] for name in rule.needs}
        found, state = tx.update(jac, tx.init(zeros), zeros, **more)
        return found, state, tx.update(jac, state, zeros, **more)

    return run


ROWS = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])


@every_rule
@pytest.mark.parametrize("zero", [[0], [1], [0, 2], [0, 1, 2]])
def test_gradients_of_zero_bring_no_nan(name, zero):
    rows = ROWS.copy()
    rows[zero] = 0.0
    found = on_rows(name)(jnp.asarray(rows, "float32"), jnp.arange(1.0, 4.0))
    for x in jax.tree.leaves(found):
        assert np.all(np.isfinite(plain(x)))
    if len(zero) == TASKS:
        np.testing.assert_array_equal(found[0]["w"], np.zeros(4))


@every_rule
def test_equal_rows_are_followed(name, x64):
    rows, values = np.tile(ROWS[0], (TASKS, 1)), np.full(TASKS, 2.0)
    found, _, (again, _) = on_rows(name)(jnp.asarray(rows), jnp.asarray(values))
    for step in (found["w"], again["w"]):
        length = step @ ROWS[0] / (ROWS[0] @ ROWS[0])
        assert length > 1e-3
        np.testing.assert_allclose(step, length * ROWS[0], rtol=1e-10, atol=1e-10)


IN_ANY_ORDER = [
    name
    for name, rule in WEIGHTINGS.items()
    if name not in ("fixed", "scale_by_autolambda") and not rule.draws
]


@pytest.mark.parametrize("name", IN_ANY_ORDER)
def test_the_order_of_the_auxiliary_tasks_does_not_matter(name, x64):
    values, order = np.array([1.0, 2.0, 0.5]), [0, 2, 1]
    run = on_rows(name)
    one = run(jnp.asarray(ROWS), jnp.asarray(values))
    other = run(jnp.asarray(ROWS[order]), jnp.asarray(values[order]))
    close(other[0]["w"], one[0]["w"], 1e-10)
    close(other[2][0]["w"], one[2][0]["w"], 1e-10)
    if name != "log_loss":
        found, expected = (
            plain(auxjax.task_metrics(x[2][1])["weights"]) for x in (other, one)
        )
        np.testing.assert_allclose(found[order], expected, rtol=1e-10, atol=1e-10)


# Rules one behind the other.


@pytest.mark.parametrize("name", [n for n, rule in WEIGHTINGS.items() if rule.rows])
def test_a_row_transform_hands_on_what_it_got(name):
    """Jacobian in, Jacobian out; stacked in, stacked out; the sum is the alias."""
    jac, more, (expected, _) = first(name)
    tx, params = RULES[name].rows(), start()
    got, _ = tx.update(jac, tx.init(params), params, **more)
    assert isinstance(got, auxjax.TaskJacobian)
    assert got.names == jac.names
    close(got.vjp(jnp.ones(TASKS)), expected)
    if RULES[name].stacked:
        more = {**more, "losses": jac.losses}
        got, _ = tx.update(jac.rows(), tx.init(params), params, **more)
        assert got["w"].shape == (TASKS, 3, 2)


def test_every_rule_stands_behind_another():
    public = {n for n in auxjax.weighting.__all__ if n.startswith("scale_by_")}
    found = {n.removeprefix("scale_by_") for n, *_ in COMPOSITIONS}
    assert {n.removeprefix("scale_by_") for n in public} <= found
    behind = {name for _, name, _ in COMPOSITIONS}
    assert behind == set(AGGREGATORS) - {"sum_tasks"}
    assert {name for *_, name in COMPOSITIONS} == set(OPTIMIZERS)


def chained(weighting, aggregator, optimizer):
    """The chain, and the same three parts each with a state of its own."""
    behind = AGGREGATORS[aggregator].make()
    if weighting == "autolambda":
        tx = auxjax.autolambda(
            OPTIMIZERS[optimizer](), aggregator=behind, num_tasks=TASKS
        )
        rows = auxjax.scale_by_autolambda(OPTIMIZERS[optimizer](), num_tasks=TASKS)
        return tx, (rows, behind, OPTIMIZERS[optimizer]())
    parts = (WEIGHTINGS[weighting].rows(), behind, OPTIMIZERS[optimizer]())
    return optax.chain(*parts), parts


@pytest.mark.parametrize(("weighting", "aggregator", "optimizer"), COMPOSITIONS)
def test_a_weighting_an_aggregator_and_an_optimizer(weighting, aggregator, optimizer):
    whole, parts = chained(weighting, aggregator, optimizer)
    parts = [optax.with_extra_args_support(part) for part in parts]
    rule, params = WEIGHTINGS[weighting], start()

    @jax.jit
    def step(params, state, states, x):
        more = extras(rule, x)
        updates = auxjax.task_jacobian(losses, params, x)
        with jax.numpy_dtype_promotion("standard"):
            found, state = whole.update(updates, state, params, **more)
            new_states = []
            for part, own in zip(parts, states, strict=True):
                updates, own = part.update(updates, own, params, **more)
                new_states.append(own)
        close_to = jax.tree.map(jnp.subtract, found, updates)
        return optax.apply_updates(params, found), state, new_states, close_to

    carry = (params, whole.init(params), [part.init(params) for part in parts])
    before = kinds(carry)
    for x in batches():
        *carry, gap = step(*carry, x)
        assert kinds(tuple(carry)) == before
        assert max(np.abs(x).max() for x in jax.tree.leaves(gap)) <= 1e-5
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), carry[0], params)
    assert all(1e-6 < x < 10 for x in jax.tree.leaves(moved))
    assert TRUNK.keys() == carry[0].keys()
