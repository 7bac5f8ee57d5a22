"""AuxiNash: the bargain and both implicit derivatives, against NumPy in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, SIZE = 3, 4
rng = np.random.default_rng(0)
CENTRES, OTHER = rng.normal(size=(TASKS, SIZE)), rng.normal(size=SIZE)
ROOTS = rng.normal(size=(TASKS, SIZE, SIZE))
CURVATURES = np.einsum("tij,tkj->tik", ROOTS, ROOTS) / SIZE + 0.5 * np.eye(SIZE)
START = rng.normal(size=SIZE)


def losses(theta, centres=CENTRES):
    off = theta[None] - jnp.asarray(centres, theta.dtype)
    a = jnp.asarray(CURVATURES, theta.dtype)
    return 0.5 * jnp.einsum("ti,tij,tj->t", off, a, off)


def meta_losses(theta):
    return losses(theta, np.broadcast_to(OTHER, CENTRES.shape))


def newton(g, p):
    """Each αᵢ in closed form, given the others, over and over; then plain Newton."""
    a = np.sqrt(p / np.diag(g))
    for _ in range(100):
        for i in range(len(p)):
            rest = g[i] @ a - g[i, i] * a[i]
            a[i] = (np.sqrt(rest**2 + 4 * g[i, i] * p[i]) - rest) / (2 * g[i, i])
    for _ in range(5):
        a = a - np.linalg.solve(g + np.diag(p / a**2), g @ a - p / a)
    return a


def gramian(seed, size, rank=None):
    j = np.random.default_rng(seed).normal(size=(size, rank or size + 2))
    return j @ j.T


@pytest.mark.parametrize("size", [2, 3, 6, 20])
def test_the_bargain_gives_each_task_its_power(x64, size):
    g = gramian(size, size)
    p = np.random.default_rng(1).dirichlet(np.ones(size))
    found = np.asarray(auxjax.auxinash_weights(jnp.asarray(g), jnp.asarray(p)))
    np.testing.assert_allclose(found * (g @ found), p, rtol=1e-10)
    np.testing.assert_allclose(found, newton(g, p), rtol=1e-9)
    assert np.all(found > 0)


def test_bargains_by_hand(x64):
    p = jnp.array([0.3, 0.7])
    found = auxjax.auxinash_weights(jnp.diag(jnp.array([4.0, 0.01])), p)
    np.testing.assert_allclose(found, np.sqrt(p) / [2, 0.1], rtol=1e-12)  # orthogonal
    for c in (-0.9, 0.0, 0.5, 1.0):  # alike: α²(1 + c) = ½
        g = jnp.array([[1.0, c], [c, 1.0]])
        found = auxjax.auxinash_weights(g, jnp.array([0.5, 0.5]))
        np.testing.assert_allclose(found, np.sqrt(0.5 / (1 + c)), rtol=1e-10)


@pytest.mark.parametrize("power", [-10, 0, 10])
def test_float32_takes_rows_of_any_size(power):
    """Each row has a size of its own, ten thousandfold apart."""
    sizes = 10.0 ** np.array([power, power - 2, power + 2]) ** 1.0
    g = gramian(3, 3) * np.outer(sizes, sizes)
    p = np.array([0.2, 0.5, 0.3])
    solve = jax.jit(jax.vmap(auxjax.auxinash_weights))
    two = jnp.asarray(np.stack([g, g]), jnp.float32)
    (found, again) = solve(two, jnp.asarray(np.stack([p, p]), jnp.float32))
    np.testing.assert_array_equal(found, again)
    found = np.asarray(found, np.float64)
    np.testing.assert_allclose(found * (g @ found), p, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "g",
    [
        np.array([[1.0, -1.0], [-1.0, 1.0]]),  # exactly opposed: no solution
        np.zeros((2, 2)),
        np.array([[0.0, 0.0], [0.0, 9.0]]),
        gramian(1, 6, rank=2),
        np.ones((4, 4)),
    ],
    ids=["opposed", "zero", "one is zero", "rank 2", "all alike"],
)
def test_nothing_breaks_on_degenerate_gramians(x64, g, dtype):
    p = np.full(len(g), 1 / len(g))
    found = auxjax.auxinash_weights(jnp.asarray(g, dtype), jnp.asarray(p, dtype))
    assert found.dtype == dtype
    assert np.all(np.isfinite(found))
    assert np.all(np.asarray(found) > 0)
    slope = jax.jacobian(auxjax.auxinash_weights, argnums=1)(
        jnp.asarray(g, dtype), jnp.asarray(p, dtype)
    )
    assert np.all(np.isfinite(slope))
    if g.shape == (4, 4):  # α (Σα) = ¼ each
        np.testing.assert_allclose(found, 0.25, rtol=1e-5)
    if g[0, 0] == 0 and g[1, 1] == 9:  # who has no gradient does not bargain
        np.testing.assert_allclose(found[1], np.sqrt(0.5) / 3, rtol=1e-5)


def test_the_bargain_can_be_differentiated(x64):
    """By the printed formula, and through forty plain Newton steps."""
    g, p = jnp.asarray(gramian(5, 4)), jnp.array([0.1, 0.2, 0.3, 0.4])
    alpha = auxjax.auxinash_weights(g, p)
    found = jax.jacobian(auxjax.auxinash_weights, argnums=(0, 1))(g, p)
    formula = np.linalg.inv(g + np.diag(p / alpha**2)) @ np.diag(1 / alpha)
    np.testing.assert_allclose(found[1], formula, rtol=1e-9, atol=1e-12)

    def unrolled(g, p):
        a = jax.lax.stop_gradient(0.9 * alpha)
        for _ in range(12):
            hessian = g + jnp.diag(p / a**2)
            a = a - jnp.linalg.solve(hessian, g @ a - p / a)
        return a

    np.testing.assert_allclose(unrolled(g, p), alpha, rtol=1e-12)
    expected = jax.jacobian(unrolled, argnums=(0, 1))(g, p)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_the_meta_gradient_is_that_of_where_training_ends(x64):
    """For quadratics θ*(α) has a closed form, which JAX differentiates.

    Its gradient in α is −⟨H⁻¹d, ∇Lᵢ⟩ at θ*; from any θ, one Newton step leads there.
    """
    curvatures, theta = jnp.asarray(CURVATURES), jnp.asarray(START)
    jac = auxjax.task_jacobian(losses, theta)
    g, rows = jac.gramian(), jac.rows()
    p = jnp.array([0.5, 0.3, 0.2])
    alpha = jnp.asarray(newton(np.asarray(g), np.asarray(p)))
    held = jax.lax.stop_gradient(alpha @ rows)

    def end(alpha):  # the minimum of Σαᵢ(Lᵢ − ⟨what is left of the gradient, θ⟩)
        h = jnp.einsum("t,tij->ij", alpha, curvatures)
        return theta - jnp.linalg.solve(h, alpha @ rows - held)

    d = jax.grad(lambda x: meta_losses(x)[0])(theta)
    inner = jax.grad(lambda a: jnp.dot(d, end(a)))(alpha)
    dalpha = np.linalg.inv(g + np.diag(p / alpha**2)) @ np.diag(1 / alpha)
    tx = auxjax.scale_by_auxinash(
        TASKS,
        every=1,
        preference=[5, 3, 2],
        optimizer=optax.sgd(1e-3),
        solver="cg",
        num_terms=SIZE + 2,
    )
    _, state = tx.update(jac, tx.init(theta), theta, meta_losses=meta_losses)
    np.testing.assert_allclose(state.weights, alpha, rtol=1e-10)
    np.testing.assert_allclose(state.meta_gradient, inner, rtol=1e-8)
    moved = p - 1e-3 * inner @ dalpha
    assert np.max(np.abs(moved - p)) > 1e-4
    np.testing.assert_allclose(state.preference, moved / moved.sum(), rtol=1e-11)


EVERY, STEPS, ALPHA, BETA, SERIES, TERMS = 2, 6, 0.05, 0.2, 0.1, 3


def algorithm(present=range(TASKS)):
    """NumPy, in dense matrices; p's optimizer is SGD with momentum 0.9."""
    keep = list(present)
    theta, p, trace = START.copy(), np.full(len(keep), 1 / len(keep)), 0.0
    a, c, found = CURVATURES[keep], CENTRES[keep], []
    for t in range(STEPS):
        rows = np.einsum("tij,tj->ti", a, theta - c)
        g = rows @ rows.T
        alpha = newton(g, p)
        if (t + 1) % EVERY == 0:
            h = np.einsum("t,tij->ij", alpha, a)
            term = v = CURVATURES[0] @ (theta - OTHER)
            for _ in range(TERMS - 1):
                term = term - SERIES * h @ term
                v = v + term
            m = -rows @ (SERIES * v)
            slope = m @ np.linalg.inv(g + np.diag(p / alpha**2)) @ np.diag(1 / alpha)
            trace = 0.9 * trace + slope
            p = np.maximum(p - BETA * trace, 0.05)
            p = p / p.sum()
        theta = theta - ALPHA * alpha @ rows
        found.append((theta, alpha, p))
    return [np.array(x) for x in zip(*found, strict=True)]


def make():
    return auxjax.auxinash(
        TASKS,
        every=EVERY,
        optimizer=optax.sgd(BETA, momentum=0.9),
        min_preference=0.05,
        num_terms=TERMS,
        step_size=SERIES,
    )


def library(task_mask=None):
    tx = optax.chain(make(), optax.sgd(ALPHA))

    def body(carry, _):
        theta, state = carry
        jac = auxjax.task_jacobian(losses, theta)
        extra = {} if task_mask is None else {"task_mask": jnp.asarray(task_mask)}
        step, state = tx.update(jac, state, theta, meta_losses=meta_losses, **extra)
        theta = optax.apply_updates(theta, step)
        found = [optax.tree.get(state, k) for k in ("weights", "preference")]
        return (theta, state), (theta, *found)

    theta = jnp.asarray(START)
    carry = (theta, tx.init(theta))
    return jax.jit(lambda: jax.lax.scan(body, carry, None, length=STEPS)[1])()


def test_several_steps_equal_the_algorithm(x64):
    expected = algorithm()
    assert np.ptp(expected[2][-1]) > 0.05  # the powers have come apart
    for a, b in zip(library(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_an_absent_task_does_not_bargain(x64):
    theta, alpha, p = library([True, True, False])
    expected = algorithm(present=(0, 1))
    np.testing.assert_allclose(theta, expected[0], rtol=1e-8)
    np.testing.assert_allclose(alpha[:, :2], expected[1], rtol=1e-8)
    np.testing.assert_array_equal(p[:, 2], 1 / 3)
    # Two thirds of all power stay with those present.
    np.testing.assert_allclose(p[:, :2], 2 / 3 * expected[2], rtol=1e-8)


def test_a_head_is_scaled_and_does_not_bargain(x64):
    def both(params):
        z = losses(params["w"])[:2]
        return z[0] + params["a"] ** 2, z[1] + 3 * params["b"]

    params = {"w": jnp.asarray(START), "a": jnp.ones(()), "b": jnp.ones(())}
    tx = auxjax.auxinash(2)
    jac = auxjax.task_jacobian(both, params)
    total, state = tx.update(jac, tx.init(params), params, meta_losses=both)
    rows = jax.jacobian(losses)(params["w"])[:2]
    alpha = newton(np.asarray(rows @ rows.T), np.full(2, 0.5))
    np.testing.assert_allclose(optax.tree.get(state, "weights"), alpha, rtol=1e-10)
    np.testing.assert_allclose(total["a"], 2 * alpha[0], rtol=1e-10)
    np.testing.assert_allclose(total["b"], 3 * alpha[1], rtol=1e-10)


def test_what_is_not_finite_moves_nothing():
    theta, tx = jnp.asarray(START, jnp.float32), make()
    jac, state = auxjax.task_jacobian(losses, theta), make().init(theta)
    nan = lambda p: jnp.nan * losses(p)  # noqa: E731
    for _ in range(EVERY):
        total, state = tx.update(jac, state, theta, meta_losses=nan)
    assert np.all(np.isfinite(total))
    np.testing.assert_allclose(optax.tree.get(state, "preference"), 1 / 3)
    jac = auxjax.task_jacobian(nan, theta)
    before = optax.tree.get(state, "weights")
    _, state = tx.update(jac, state, theta, meta_losses=losses)
    np.testing.assert_array_equal(optax.tree.get(state, "weights"), before)


def test_bad_input():
    for options, message in (
        ({"num_tasks": 1}, "`num_tasks` should be at least 2"),
        ({"every": 0}, "`every` should be at least 1. Found 0."),
        ({"solver": "lu"}, '`solver` should be "neumann" or "cg". Found \'lu\'.'),
        ({"num_terms": 0}, "`num_terms` should be at least 1. Found 0."),
        ({"step_size": 0.0}, "`step_size` should be above 0. Found 0.0."),
        ({"damping": -1.0}, "`damping` should be at least 0. Found -1.0."),
        ({"preference": [1.0]}, "`preference` should be 2 numbers above 0, each at"),
        ({"preference": [1.0, 1e-9]}, "`preference` should be 2 numbers above 0"),
        ({"min_preference": 0.0}, "`min_preference` should be in (0, 1/2]. Found 0.0"),
        ({"min_preference": 0.6}, "`min_preference` should be in (0, 1/2]. Found 0.6"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            auxjax.auxinash(**options)
    theta, tx = jnp.asarray(START, jnp.float32), make()
    jac, state = auxjax.task_jacobian(losses, theta), tx.init(theta)
    for updates, args, extra, message in (
        (jac, (), {"meta_losses": losses}, "needs the parameters. Found None"),
        (jac, (theta,), {}, "needs the losses on a second batch"),
        (jac, (theta,), {"meta_losses": jnp.ones(3)}, "needs the losses on a second"),
        (jac.rows(), (theta,), {"meta_losses": losses}, "Found stacked gradients"),
        (
            jac,
            (theta,),
            {"meta_losses": lambda p: losses(p)[:2]},
            "`meta_losses` should return 3 losses",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            tx.update(updates, state, *args, **extra)
