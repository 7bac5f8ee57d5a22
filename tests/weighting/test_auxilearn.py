"""AuxiLearn: its hypergradient against brute force, its steps against dense algebra."""

import re

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, SIZE = 3, 3
rng = np.random.default_rng(0)
CENTRES, OTHER = rng.normal(size=(TASKS, SIZE)), rng.normal(size=SIZE)
ROOTS = rng.normal(size=(TASKS, SIZE, SIZE))
CURVATURES = np.einsum("tij,tkj->tik", ROOTS, ROOTS) / SIZE + 0.5 * np.eye(SIZE)
X, Y = rng.normal(size=(6, 3)), rng.normal(size=(TASKS, 6))
OTHER_X, OTHER_Y = rng.normal(size=(5, 3)), rng.normal(size=(TASKS, 5))


def quadratics(theta, centres=CENTRES):
    off = theta[None] - jnp.asarray(centres, theta.dtype)
    a = jnp.asarray(CURVATURES, theta.dtype)
    return 0.5 * jnp.einsum("ti,tij,tj->t", off, a, off)


def other_quadratics(theta):
    return quadratics(theta, np.broadcast_to(OTHER, CENTRES.shape))


def draw(dtype=None):
    draws = np.random.default_rng(7)
    tree = {"w": draws.normal(size=(3, 2)), "heads": list(draws.normal(size=(3, 2)))}
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def losses(params, x=X, y=Y):
    """A small network with a head per task."""
    dtype = params["w"].dtype
    z = jnp.tanh(jnp.asarray(x, dtype) @ params["w"])
    targets = jnp.asarray(y, dtype)
    return tuple(
        jnp.mean((z @ h - t) ** 2)
        for h, t in zip(params["heads"], targets, strict=True)
    )


def meta_losses(params):
    return losses(params, OTHER_X, OTHER_Y)


def combined(phi, values):
    """F of the paper, written out."""
    values = jnp.stack(values) if isinstance(values, tuple) else values
    if isinstance(phi, jax.Array):
        return values[0] + jnp.sum(phi[1:] * values[1:])
    x = values
    for weight, bias in phi[:-1]:
        x = jnp.log(1 + jnp.exp(weight @ x + bias))
    weight, bias = phi[-1]
    return values[0] + (weight @ x + bias)[0]


def flat(tree):
    return jax.flatten_util.ravel_pytree(tree)[0]


FORMS = {"linear": (), "network": (4,), "deep": (3, 2)}
every_form = pytest.mark.parametrize("form", FORMS)


@every_form
def test_the_hypergradient_is_that_of_where_training_ends(x64, form):
    """∂M(θ*(φ))/∂φ by JAX through thirty Newton steps to θ*."""
    tx = auxjax.scale_by_auxilearn(
        TASKS,
        hidden=FORMS[form],
        every=1,
        optimizer=optax.sgd(1e-2),
        init_weight=0.7,
        solver="cg",
        num_terms=SIZE + 2,
    )
    phi = tx.init(jnp.zeros(SIZE)).network

    def end(phi):
        total = lambda theta: combined(phi, quadratics(theta))  # noqa: E731
        newton = lambda theta, _: (  # noqa: E731
            theta - jnp.linalg.solve(jax.hessian(total)(theta), jax.grad(total)(theta)),
            None,
        )
        return jax.lax.scan(newton, jnp.zeros(SIZE), None, length=30)[0]

    theta = end(phi)
    gradient = jax.grad(lambda x: combined(phi, quadratics(x)))(theta)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    expected = jax.jit(jax.grad(lambda phi: other_quadratics(end(phi))[0]))(phi)
    jac = auxjax.task_jacobian(quadratics, theta)
    _, state = jax.jit(tx.update)(
        jac, tx.init(theta), theta, meta_losses=jax.tree_util.Partial(other_quadratics)
    )
    found = (flat(phi) - flat(state.network)) / 1e-2
    assert np.max(np.abs(found)) > 1e-3
    np.testing.assert_allclose(found, flat(expected), rtol=1e-8, atol=1e-10)


STEPS, EVERY, ALPHA, BETA, SERIES, TERMS = 5, 2, 0.1, 0.1, 0.2, 3


def algorithm(phi):
    """Dense Hessian, Neumann series, SGD with momentum; nothing of the library."""
    theta, unflatten = jax.flatten_util.ravel_pytree(draw())
    trace, found = jnp.zeros_like(flat(phi)), []

    @jax.jit
    def parts(theta, phi):
        total = lambda t, f: combined(f, losses(unflatten(t)))  # noqa: E731
        meta = lambda t: meta_losses(unflatten(t))[0]  # noqa: E731
        slope = jax.grad(lambda f, v: jax.grad(total)(theta, f) @ v)
        h, d = jax.hessian(total)(theta, phi), jax.grad(meta)(theta)
        term = v = d
        for _ in range(TERMS - 1):
            term = term - SERIES * h @ term
            v = v + term
        return jax.grad(total)(theta, phi), flat(slope(phi, -SERIES * v))

    for t in range(STEPS):
        gradient, slope = parts(theta, phi)
        theta = theta - ALPHA * gradient
        if (t + 1) % EVERY == 0:
            trace = 0.9 * trace + slope
            moved = jax.flatten_util.ravel_pytree(phi)[1](flat(phi) - BETA * trace)
            if isinstance(phi, jax.Array):
                phi = jnp.maximum(moved, 0)
            else:
                phi = [(jnp.maximum(w, 0), b) for w, b in moved]
        found.append((theta, flat(phi)))
    return [np.array(x) for x in zip(*found, strict=True)]


@every_form
def test_several_steps_equal_the_algorithm(x64, form):
    rule = auxjax.auxilearn(
        TASKS,
        hidden=FORMS[form],
        every=EVERY,
        optimizer=optax.sgd(BETA, momentum=0.9),
        key=jax.random.key(5),
        num_terms=TERMS,
        step_size=SERIES,
    )
    tx = optax.chain(rule, optax.sgd(ALPHA))
    params = draw()

    def body(carry, _):
        params, state = carry
        jac = auxjax.task_jacobian(losses, params)
        step, state = tx.update(jac, state, params, meta_losses=meta_losses)
        params = optax.apply_updates(params, step)
        return (params, state), (flat(params), flat(optax.tree.get(state, "network")))

    carry = (params, tx.init(params))
    phi = optax.tree.get(carry[1], "network")
    found = jax.jit(lambda: jax.lax.scan(body, carry, None, length=STEPS)[1])()
    expected = algorithm(phi)
    assert np.max(np.abs(expected[1][-1] - expected[1][0])) > 1e-3
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@every_form
def test_the_gradient_is_that_of_the_function_of_the_losses(x64, form):
    params = draw()
    tx = auxjax.auxilearn(TASKS, hidden=FORMS[form], init_weight=0.3)
    state = tx.init(params)
    phi = optax.tree.get(state, "network")
    jac = auxjax.task_jacobian(losses, params)
    total, state = tx.update(jac, state, params, meta_losses=meta_losses)
    expected = jax.grad(lambda p: combined(phi, losses(p)))(params)
    np.testing.assert_allclose(flat(total), flat(expected), rtol=1e-11, atol=1e-13)
    slopes = jax.grad(lambda x: combined(phi, x))(jac.losses)
    np.testing.assert_allclose(optax.tree.get(state, "weights"), slopes, rtol=1e-11)
    assert np.all(slopes[1:] > 0)  # monotone from the start
    assert slopes[0] >= 1


def push(tx, params, meta, **extra):
    """One update in which φ moves."""
    jac = auxjax.task_jacobian(losses, params)
    return tx.update(jac, tx.init(params), params, meta_losses=meta, **extra)


@every_form
def test_no_weight_ever_falls_below_zero(form):
    params = draw("float32")
    least = []
    for size in (1e4, -1e4):  # a step far down, and one far up
        tx = auxjax.scale_by_auxilearn(
            TASKS, hidden=FORMS[form], every=1, optimizer=optax.sgd(size)
        )
        _, state = push(tx, params, meta_losses)
        phi = [(state.network, 0)] if form == "linear" else state.network
        least += [float(jnp.min(weight)) for weight, _ in phi]
        if form == "linear":
            assert float(state.network[0]) == 1.0
    assert min(least) == 0.0


def test_phi_moves_in_every_so_many_th_update():
    params, tx = draw("float32"), auxjax.scale_by_auxilearn(TASKS, every=3)
    jac, state = auxjax.task_jacobian(losses, params), tx.init(params)
    for t in range(1, 7):
        _, new = tx.update(jac, state, params, meta_losses=meta_losses)
        assert bool(jnp.any(new.network != state.network)) == (t % 3 == 0)
        assert bool(jnp.any(new.meta_gradient != 0)) == (t >= 3)
        state = new


@every_form
def test_what_is_not_finite_moves_nothing(form):
    params = draw("float32")
    tx = auxjax.scale_by_auxilearn(TASKS, hidden=FORMS[form], every=1)
    start = tx.init(params)
    nan = lambda p: [jnp.nan * x for x in meta_losses(p)]  # noqa: E731
    _, state = push(tx, params, nan)
    jax.tree.map(np.testing.assert_array_equal, state.network, start.network)
    jax.tree.map(
        np.testing.assert_array_equal, state.network_state, start.network_state
    )


def test_an_absent_task_is_as_if_it_were_not_there(x64):
    params = draw()
    options = {"every": 1, "optimizer": optax.sgd(0.3, momentum=0.9)}
    three = auxjax.auxilearn(3, **options)
    two = auxjax.auxilearn(2, **options)
    mask = jnp.array([True, False, True])
    some = lambda f: lambda p: f(p)[::2]  # noqa: E731
    few = auxjax.task_jacobian(some(losses), params)
    expected, reduced = two.update(
        few, two.init(params), params, meta_losses=some(meta_losses)
    )
    total, state = push(three, params, meta_losses, task_mask=mask)
    np.testing.assert_allclose(flat(total), flat(expected), rtol=1e-11, atol=1e-13)
    phi, less = (optax.tree.get(s, "network") for s in (state, reduced))
    np.testing.assert_allclose(phi, [1.0, 1.0, less[1]], rtol=1e-11)
    assert less[1] != 1.0
    # Of a network the absent task's column keeps still, as nothing comes in by it.
    network = auxjax.auxilearn(3, hidden=(3,), **options)
    start = optax.tree.get(network.init(params), "network")
    _, state = push(network, params, meta_losses, task_mask=mask)
    moved = optax.tree.get(state, "network")[0][0] - start[0][0]
    np.testing.assert_array_equal(moved[:, 1], 0)
    assert np.all(np.asarray(moved)[:, ::2] != 0)


@every_form
def test_a_useful_task_gains_and_a_harmful_one_loses(form):
    """The second pulls towards what the other data say, the third away."""
    goal = jnp.array([1.0, -1.0, 0.5])

    def three(theta, goal=0.3 * goal):
        near = lambda c: jnp.sum((theta - c) ** 2)  # noqa: E731
        return near(goal), near(jnp.array([1.2, -1.2, 0.6])), near(-2 * goal) / 4

    tx = optax.chain(
        auxjax.auxilearn(3, hidden=FORMS[form], every=2, step_size=0.1),
        optax.sgd(0.05),
    )

    def body(carry, _):
        theta, state = carry
        jac = auxjax.task_jacobian(three, theta)
        meta = lambda p: three(p, goal)  # noqa: E731
        step, state = tx.update(jac, state, theta, meta_losses=meta)
        theta = optax.apply_updates(theta, step)
        return (theta, state), optax.tree.get(state, "weights")

    theta = jnp.zeros(3)
    carry = (theta, tx.init(theta))
    (theta, _), w = jax.jit(lambda: jax.lax.scan(body, carry, None, length=300))()
    assert w[-1, 1] / w[0, 1] > 1.5 * w[-1, 2] / w[0, 2]
    equal = np.array([0.3 + 1.2 - 0.5]) / 2.25  # where equal weights end up, by goal
    assert jnp.sum((theta - goal) ** 2) < np.sum((equal[0] * goal - goal) ** 2)


def test_bad_input():
    for options, message in (
        ({"num_tasks": 1}, "`num_tasks` should be at least 2"),
        ({"hidden": (0,)}, "`hidden` should be at least 1. Found 0."),
        ({"every": 0}, "`every` should be at least 1. Found 0."),
        ({"init_weight": np.nan}, "`init_weight` should be finite. Found nan."),
        ({"solver": "lu"}, '`solver` should be "neumann" or "cg". Found \'lu\'.'),
        ({"step_size": -1.0}, "`step_size` should be above 0. Found -1.0."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            auxjax.auxilearn(**options)
    params, tx = draw("float32"), auxjax.auxilearn(TASKS, every=1)
    jac, state = auxjax.task_jacobian(losses, params), tx.init(draw("float32"))
    for updates, args, extra, message in (
        (jac, (), {"meta_losses": losses}, "needs the parameters. Found None"),
        (jac, (params,), {}, "needs the losses on a second batch"),
        (jac.rows(), (params,), {"meta_losses": losses}, "Found stacked gradients"),
        (
            jac,
            (params,),
            {"meta_losses": lambda p: losses(p)[:2]},
            "`meta_losses` should return 3 losses",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            tx.update(updates, state, *args, **extra)
