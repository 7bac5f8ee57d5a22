"""Auto-λ under JAX's transformations, in other precisions, on several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, STEPS = 3, 3


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def start(dtype="float32", seed=0):
    heads = list(draw(seed + 1, TASKS, 2))
    tree = {"w": draw(seed, 3, 2), "heads": heads}
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def batches(dtype="float32", size=4):
    """Training and meta batches, `[STEPS, size, 3]` each."""
    return tuple(jnp.asarray(draw(seed, STEPS, size, 3), dtype) for seed in (8, 9))


def losses(params, x):
    z = jnp.tanh(x @ params["w"])
    return tuple(jnp.mean((z @ h - i) ** 2) for i, h in enumerate(params["heads"]))


def chained(**options):
    rule = auxjax.scale_by_autolambda(
        0.1, num_tasks=TASKS, lambda_optimizer=optax.sgd(0.5), **options
    )
    return optax.chain(rule, auxjax.sum_tasks(), optax.sgd(0.1))


def around(*optimizers, **options):
    """Around a clipped optimizer with a state, which couples all leaves."""
    clipped = optax.chain(
        optax.clip_by_global_norm(0.2), *optimizers, optax.sgd(0.1, momentum=0.9)
    )
    options = {"lambda_optimizer": optax.sgd(0.5), **options}
    return auxjax.autolambda(clipped, num_tasks=TASKS, **options)


RULES = {
    "chained": chained,
    "around": lambda: around(lambda_optimizer=None),
    "reusing, sampling": lambda: around(
        reuse_lookahead=True, tasks_per_step=2, primary="all"
    ),
    "finite difference": lambda: around(meta_gradient="finite_difference"),
}
every_rule = pytest.mark.parametrize("rule", RULES)


def make_step(tx):
    def step(params, state, batch):
        x, other = batch
        jac = auxjax.task_jacobian(losses, params, x)
        updates, state = tx.update(
            jac, state, params, meta_losses=lambda p: losses(p, other)
        )
        return optax.apply_updates(params, updates), state

    return step


def train(tx, params, xs):
    """The whole training in one scan."""
    start = (params, tx.init(params))
    return jax.lax.scan(lambda carry, x: (make_step(tx)(*carry, x), None), start, xs)[0]


def close(got, expected, tol=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tol, atol=tol
        ),
        got,
        expected,
    )


@functools.cache
def by_scan(rule, dtype="float32"):
    return jax.jit(train, static_argnums=0)(RULES[rule](), start(dtype), batches(dtype))


@every_rule
def test_scan_equals_jitted_steps(rule):
    tx = RULES[rule]()
    step, params = jax.jit(make_step(tx)), start()
    state = tx.init(params)
    for x, other in zip(*batches(), strict=True):
        params, state = step(params, state, (x, other))
    close(by_scan(rule), (params, state))


def test_jit_equals_no_jit():
    tx, params = RULES["chained"](), start()
    args = params, tx.init(params), jax.tree.map(lambda x: x[0], batches())
    close(jax.jit(make_step(tx))(*args), make_step(tx)(*args))


@every_rule
def test_vmap_over_seeds_equals_each_alone(rule):
    many = jax.tree.map(lambda a, b: jnp.stack([a, b]), start(seed=5), start())
    run = jax.jit(jax.vmap(lambda p: train(RULES[rule](), p, batches())))
    second = jax.tree.map(lambda x: x[1], run(many))
    close(second, by_scan(rule))


@pytest.mark.parametrize("rule", ["chained", "around"])
def test_bfloat16_is_near_float32(rule):
    params, state = by_scan(rule, "bfloat16")
    expected_params, expected_state = by_scan(rule)
    assert params["w"].dtype == jnp.bfloat16
    weights, slope = (optax.tree.get(state, k) for k in ("weights", "meta_gradient"))
    expected = optax.tree.get(expected_state, "weights")
    assert weights.dtype == slope.dtype == jnp.float32
    assert np.all(np.isfinite(weights))
    moved = np.max(np.abs(expected - 0.1))
    assert moved > 1e-4
    np.testing.assert_allclose(weights, expected, rtol=0, atol=0.1 * moved)
    close(params, expected_params, 0.05)


def test_finite_differences_in_bfloat16_are_finite_at_least():
    """Rounded to 8 bits, a loss tells little of a move by 0.01."""
    _, state = by_scan("finite difference", "bfloat16")
    assert state.weights.dtype == jnp.float32
    assert np.all(np.isfinite(state.weights))
    assert state.skipped == 0


def test_the_finite_difference_agrees_to_its_error():
    """In one step from the same state; on these losses, by default."""
    slopes = []
    for kind in ("exact", "finite_difference"):
        tx, params = around(meta_gradient=kind), start()
        first = jax.tree.map(lambda x: x[0], batches())
        _, state = jax.jit(make_step(tx))(params, tx.init(params), first)
        slopes.append(np.asarray(state.meta_gradient))
    exact, approximate = slopes
    error = np.linalg.norm(approximate - exact) / np.linalg.norm(exact)
    assert 0 < error < 2e-3


@pytest.mark.parametrize(
    ("rule", "axes"), [*((rule, "Explicit") for rule in RULES), ("around", "Auto")]
)
def test_sharded_batches_give_the_numbers_of_one_device(rule, axes):
    assert jax.device_count() == 8
    tx, params = RULES[rule](), start()
    state = tx.init(params)
    batch = jax.tree.map(lambda x: x[0], batches(size=8))
    mesh = jax.make_mesh((8,), ("batch",), (getattr(jax.sharding.AxisType, axes),))
    split = jax.device_put(batch, jax.NamedSharding(mesh, jax.P("batch")))
    assert len(split[0].addressable_shards) == 8
    spread = jax.device_put((params, state), jax.NamedSharding(mesh, jax.P()))
    got = jax.jit(make_step(tx))(*spread, split)
    assert len(got[0]["w"].sharding.device_set) == 8
    close(got, jax.jit(make_step(tx))(params, state, batch))


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_state_keeps_its_structure_shapes_and_dtypes(rule, dtype, x64):
    """Else a scan could not carry it; float64 is enabled throughout."""
    tx, params = RULES[rule](), start(dtype)
    state = tx.init(params)
    first = jax.tree.map(lambda x: x[0], batches(dtype))
    after = jax.eval_shape(make_step(tx), params, state, first)
    expected = jax.tree.map(
        lambda x: (jnp.shape(x), jnp.asarray(x).dtype), (params, state)
    )
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == expected
    auto = state[0] if rule == "chained" else state
    wide = "float64" if dtype == "float64" else "float32"
    assert auto.weights.dtype == auto.meta_gradient.dtype == wide
    assert auto.weights.shape == auto.meta_gradient.shape == (TASKS,)
    assert auto.count.dtype == auto.skipped.dtype == jnp.int32


def test_parameters_of_several_precisions(x64):
    """Among them float64, which λ then has as well."""
    tx = auxjax.autolambda(
        optax.sgd(0.1), num_tasks=TASKS, lambda_optimizer=optax.sgd(0.5)
    )
    usual = start("float64")
    params = {**usual, "w": usual["w"].astype(jnp.float32)}
    x, other = batches("float64")

    def mixed(params, x):
        wide = {**params, "w": params["w"].astype(jnp.float64)}
        values = losses(wide, x)
        return (values[0].astype(jnp.float32), *values[1:])

    jac = auxjax.task_jacobian(mixed, params, x[0])
    updates, state = tx.update(
        jac, tx.init(params), params, meta_losses=lambda p: mixed(p, other[0])
    )
    assert (updates["w"].dtype, updates["heads"][0].dtype) == (jnp.float32, jnp.float64)
    assert state.weights.dtype == jnp.float64
    _, expected = make_step(tx)(usual, tx.init(usual), (x[0], other[0]))
    np.testing.assert_allclose(state.meta_gradient, expected.meta_gradient, rtol=1e-4)


def test_clipping_reaches_leaves_that_the_meta_loss_does_not(x64):
    """A head shortens the whole step where the global norm is clipped."""
    tx, params = around(), start("float64")
    x, other = jax.tree.map(lambda x: x[0], batches("float64"))
    at = jnp.full(TASKS, 0.1)

    def meta_loss(weights):
        jac = auxjax.task_jacobian(losses, params, x)
        gradient = jac.vjp(weights)
        length = optax.tree.norm(gradient)
        shorter = 0.1 * jnp.minimum(1.0, 0.2 / length)
        ahead = jax.tree.map(lambda p, g: p - shorter * g, params, gradient)
        return losses(ahead, other)[0], length

    expected, length = jax.jit(jax.grad(meta_loss, has_aux=True))(at)
    assert length > 0.3
    _, state = jax.jit(make_step(tx))(params, tx.init(params), (x, other))
    np.testing.assert_allclose(state.meta_gradient, expected, rtol=1e-10)


def test_extra_arguments_reach_the_optimizer_in_both_steps():
    """A plateau halves the step at the second update, the lookahead's too."""
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    params, (x, other) = start(), jax.tree.map(lambda x: x[0], batches())

    @functools.partial(jax.jit, static_argnums=0)
    def step(tx, state, **extra):
        jac = auxjax.task_jacobian(losses, params, x)
        return tx.update(
            jac, state, params, meta_losses=lambda p: losses(p, other), **extra
        )

    with jax.numpy_dtype_promotion("standard"):  # the plateau counts in integers
        tx = auxjax.autolambda(optax.chain(optax.sgd(0.1), plateau), num_tasks=TASKS)
        start_state = tx.init(params)
        _, best = step(tx, start_state, value=1.0)
        no_better = start_state._replace(opt_state=best.opt_state)
        updates, state = step(tx, no_better, value=1.0)
        halved = auxjax.autolambda(optax.sgd(0.05), num_tasks=TASKS)
        expected, expected_state = step(halved, halved.init(params))
    assert optax.tree.get(state.opt_state, "best_value") == 1.0
    close(updates, expected, 1e-6)
    close(state.meta_gradient, expected_state.meta_gradient, 1e-6)
    assert np.max(np.abs(best.meta_gradient - state.meta_gradient)) > 1e-3
