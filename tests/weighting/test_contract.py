"""What holds for every rule: one table of rules, one test a promise."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, STEPS = 3, 3
TRUNK = {"heads": False, "w": True}
halving = optax.exponential_decay(0.1, transition_steps=1, decay_rate=0.5)

RULES = {
    "sum_tasks": auxjax.sum_tasks,
    "fixed": lambda: auxjax.fixed([1.0, 0.5, -0.3]),
    "log_loss": lambda: optax.chain(auxjax.scale_by_log_loss(), auxjax.sum_tasks()),
    "olaux": lambda: auxjax.olaux(n=2, num_tasks=TASKS, learning_rate=0.1),
    "olaux last step": lambda: auxjax.olaux(
        2, TASKS, 0.1, statistic="last_step", where=TRUNK
    ),
    "olaux smoothing": lambda: auxjax.olaux(1, TASKS, 0.1, smoothing=2),
    "log_loss olaux": lambda: optax.chain(
        auxjax.scale_by_log_loss(tasks="auxiliary", offset=0.02),
        auxjax.olaux(1, TASKS, halving, clip_at_zero=True),
    ),
    "gcs": lambda: auxjax.gcs(where=TRUNK, num_tasks=TASKS),
    "gcs weighted": lambda: auxjax.gcs(True, where=TRUNK, num_tasks=TASKS),
    "gcs atari": lambda: auxjax.gcs(True, 0.02, 0.9, True, TRUNK, num_tasks=TASKS),
}
HAS_WEIGHTS = {name for name in RULES if name not in ("sum_tasks", "log_loss")}
every_rule = pytest.mark.parametrize("rule", RULES)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def start(dtype="float32", seed=0):
    heads = list(draw(seed + 1, TASKS, 2))
    tree = {"w": draw(seed, 3, 2), "heads": heads}
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def batches(dtype="float32", size=4):
    return jnp.asarray(draw(9, STEPS, size, 3), dtype)


def losses(params, x):
    z = jnp.tanh(x @ params["w"])
    return tuple(jnp.mean((z @ h - i) ** 2) for i, h in enumerate(params["heads"]))


def make_step(tx, kind="jacobian"):
    """One step of training; the updates come as a `TaskJacobian` or stacked."""

    def step(params, state, x):
        if kind == "jacobian":
            updates, extra = auxjax.task_jacobian(losses, params, x), {}
        else:
            values, updates = auxjax.task_grads(losses)(params, x)
            extra = {"losses": values}
        updates, state = tx.update(updates, state, params, **extra)
        return optax.apply_updates(params, updates), state

    return step


def with_sgd(rule):
    return optax.chain(RULES[rule](), optax.sgd(0.1))


def train(tx, params, xs, kind="jacobian"):
    """The whole training in one scan."""
    step = make_step(tx, kind)
    start = (params, tx.init(params))
    return jax.lax.scan(lambda carry, x: (step(*carry, x), None), start, xs)[0]


def close(got, expected, tol=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tol, atol=tol
        ),
        got,
        expected,
    )


def python_loop(rule, dtype="float32"):
    """The same without jit, step by step."""
    tx = with_sgd(rule)
    params = start(dtype)
    state = tx.init(params)
    for x in batches(dtype):
        params, state = make_step(tx)(params, state, x)
    return params, state


@pytest.fixture(scope="module")
def loop():
    """The Python loop as a yardstick; run once a rule."""
    return functools.cache(python_loop)


@every_rule
def test_scan_and_jit_equal_a_python_loop(rule, loop):
    close(
        jax.jit(train, static_argnums=0)(with_sgd(rule), start(), batches()), loop(rule)
    )


@every_rule
def test_stacked_gradients_equal_the_jacobian(rule, loop):
    run = jax.jit(train, static_argnums=(0, 3))
    close(run(with_sgd(rule), start(), batches(), "stacked"), loop(rule))


@every_rule
def test_vmap_over_seeds_equals_each_alone(rule, loop):
    many = jax.tree.map(lambda a, b: jnp.stack([a, b]), start(), start(seed=5))
    run = jax.jit(jax.vmap(lambda p: train(with_sgd(rule), p, batches())))
    first = jax.tree.map(lambda x: x[0], run(many))
    close(first, loop(rule))


@pytest.mark.parametrize(
    ("rule", "axes"),
    [*((rule, "Explicit") for rule in RULES), ("olaux", "Auto"), ("gcs atari", "Auto")],
)
def test_a_sharded_batch_gives_the_numbers_of_one_device(rule, axes):
    assert jax.device_count() == 8
    tx = with_sgd(rule)
    params, x = start(), batches(size=8)[0]
    state = tx.init(params)
    mesh = jax.make_mesh((8,), ("batch",), (getattr(jax.sharding.AxisType, axes),))
    everywhere = jax.NamedSharding(mesh, jax.P())
    split = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch")))
    assert len(split.addressable_shards) == 8
    spread = jax.device_put((params, state), everywhere)
    got = jax.jit(make_step(tx))(*spread, split)
    assert len(got[0]["w"].sharding.device_set) == 8
    close(got, make_step(tx)(params, state, x))


@pytest.mark.parametrize("rule", ["olaux", "gcs atari"])
def test_shard_map_with_a_mean_over_devices(rule):
    tx, mesh = with_sgd(rule), jax.make_mesh((8,), ("batch",))

    def mean_losses(params, x):
        return tuple(jax.lax.pmean(loss, "batch") for loss in losses(params, x))

    def step(params, state, x):
        jac = auxjax.task_jacobian(mean_losses, params, x)
        return tx.update(jac, state, params)

    params, x = start(), batches(size=16)[0]
    state = tx.init(params)
    specs = (jax.P(), jax.P(), jax.P("batch"))
    spread = jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=jax.P())
    places = [jax.NamedSharding(mesh, spec) for spec in specs]
    got = jax.jit(spread)(*jax.device_put((params, state, x), tuple(places)))
    whole = auxjax.task_jacobian(losses, params, x)
    close(got, tx.update(whole, state, params))


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
def test_state_and_updates_keep_their_structure_shapes_and_dtypes(
    rule, dtype, kind, x64
):
    """Else they could not be carried by a scan; float64 is enabled throughout."""
    tx = with_sgd(rule)
    params = start(dtype)
    state = tx.init(params)
    abstract = lambda tree: jax.tree.map(  # noqa: E731
        lambda x: (jnp.shape(x), jnp.asarray(x).dtype), tree
    )
    after = jax.eval_shape(make_step(tx, kind), params, state, batches(dtype)[0])
    expected = abstract((params, state))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == expected
    if rule in HAS_WEIGHTS:
        weights = optax.tree.get(state, "weights")
        assert weights.shape == (TASKS,)
        assert weights.dtype == ("float64" if dtype == "float64" else "float32")
        assert weights[0] == 1.0


@every_rule
def test_float64_agrees_with_float32(rule, x64, loop):
    got = python_loop(rule, "float64")
    assert got[0]["w"].dtype == jnp.float64
    with jax.enable_x64(False):
        expected = loop(rule)
    close(got, expected, 1e-4)


@every_rule
def test_bfloat16_agrees_roughly(rule, loop):
    got = python_loop(rule, "bfloat16")
    assert got[0]["w"].dtype == jnp.bfloat16
    close(got[0], loop(rule)[0], 0.1)


@every_rule
@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
def test_zero_gradients_bring_no_nan(rule, kind):
    def flat(params, x):
        del x
        return tuple(0.0 * jnp.sum(h) * jnp.sum(params["w"]) for h in params["heads"])

    tx = RULES[rule]()
    params, x = start(), batches()[0]
    state = tx.init(params)
    for _ in range(2):
        jac = auxjax.task_jacobian(flat, params, x)
        updates = jac if kind == "jacobian" else jac.rows()
        total, state = tx.update(updates, state, params, losses=jac.losses)
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))
        close(total, jax.tree.map(jnp.zeros_like, params), 0.0)


@every_rule
def test_inside_a_chain_with_clip_and_adam(rule):
    tail = (optax.clip_by_global_norm(0.1), optax.adam(1e-2))
    params, x = start(), batches()[0]
    alone, whole = RULES[rule](), optax.chain(RULES[rule](), *tail)
    jac = auxjax.task_jacobian(losses, params, x)
    expected, _ = alone.update(jac, alone.init(params), params)
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes int and float
        got, _ = whole.update(jac, whole.init(params), params)
        for part in tail:
            expected, _ = part.update(expected, part.init(params), params)
    close(got, expected)


@every_rule
def test_extra_arguments_of_others_are_ignored(rule):
    tx, params = RULES[rule](), start()
    jac = auxjax.task_jacobian(losses, params, batches()[0])
    plain, _ = tx.update(jac, tx.init(params), params)
    more, _ = tx.update(jac, tx.init(params), params, value=1.0, key=jax.random.key(0))
    close(more, plain, 0.0)


@every_rule
def test_params_may_be_left_out(rule):
    tx, params = RULES[rule](), start()
    jac = auxjax.task_jacobian(losses, params, batches()[0])
    expected, _ = tx.update(jac, tx.init(params), params)
    close(tx.update(jac, tx.init(params))[0], expected, 0.0)


@pytest.mark.parametrize("rule", [r for r in RULES if r in HAS_WEIGHTS])
@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
def test_another_number_of_tasks_is_refused(rule, kind):
    def two(params, x):
        return losses(params, x)[:2]

    tx, params = RULES[rule](), start()
    jac = auxjax.task_jacobian(two, params, batches()[0])
    updates = jac if kind == "jacobian" else jac.rows()
    with pytest.raises(ValueError, match=r"should (be 2|have 2 entries)"):
        tx.update(updates, tx.init(params), params, losses=jac.losses)


@every_rule
@pytest.mark.parametrize("with_params", [True, False])
def test_a_summed_gradient_is_refused(rule, with_params):
    tx, params = RULES[rule](), start()
    summed = jax.grad(lambda p: sum(losses(p, batches()[0])))(params)
    message = "looks like a gradient that is already summed over the tasks"
    with pytest.raises(ValueError, match=re.escape(message)):
        tx.update(summed, tx.init(params), params if with_params else None)


def test_the_row_transforms_hand_on_what_they_got():
    """Jacobian in, Jacobian out; stacked in, stacked out."""
    params = start()
    jac = auxjax.task_jacobian(losses, params, batches()[0])
    for make in (
        lambda: auxjax.scale_by_fixed([1.0] * TASKS),
        lambda: auxjax.scale_by_olaux(num_tasks=TASKS),
        lambda: auxjax.scale_by_gcs(where=TRUNK, num_tasks=TASKS),
        auxjax.scale_by_log_loss,
    ):
        tx = make()
        got, _ = tx.update(jac, tx.init(params), params)
        assert isinstance(got, auxjax.TaskJacobian)
        assert got.names == jac.names
        got, _ = tx.update(jac.rows(), tx.init(params), params, losses=jac.losses)
        assert got["w"].shape == (TASKS, 3, 2)
