"""Adam before its first gradient: a slope of 0 · ∞ that has to be 0."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax import task_jacobian
from auxjax.meta import (
    exact_meta_gradient,
    exact_n_step_meta_gradient,
    finite_difference_meta_gradient,
    lookahead,
)

RATE, EPS, MAX_NORM = 0.01, 1e-8, 0.3
# The third weight's input is a pixel that is always black.
X = np.array([[1.0, 2.0, 0.0], [-0.5, 1.0, 0.0], [0.7, -1.2, 0.0]])
TARGETS = np.array([[0.5, -1.0, 2.0], [1.0, 1.5, -0.3]])  # one row per task
THETA = np.array([0.3, -0.8, 0.6])
LAMBDA = np.array([0.7, -0.4])
OPTIMIZERS = {
    "adam": lambda: optax.adam(RATE),
    "clipped adam": lambda: optax.chain(
        optax.clip_by_global_norm(MAX_NORM), optax.adam(RATE)
    ),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


@pytest.fixture(autouse=True)
def _exact_numbers():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def losses(params, x):
    """Linear regressions on the same weights; the head never saw a gradient at all."""
    out = x @ params["w"] + 0.0 * params["unused"]
    return tuple(jnp.mean((out - jnp.asarray(y)) ** 2) for y in TARGETS)


def start():
    return {"unused": jnp.asarray(1.0), "w": jnp.asarray(THETA)}


def rows(theta, x):
    """NumPy: the gradients of both losses, `[2, 3]`."""
    return np.array([2 * x.T @ (x @ theta - y) / len(y) for y in TARGETS])


def first_step(weights, theta, clip):
    """Adam's first step, by hand: −α g / (|g| + ε), of the clipped gradient."""
    g = weights @ rows(theta, X)
    if clip:
        g = g * min(1.0, MAX_NORM / np.linalg.norm(g))
    return theta - RATE * g / (np.abs(g) + EPS)


def slope_of_first_step(clip):
    """∂M(θ′)/∂λ by hand, M the first loss on other data."""
    jac = rows(THETA, X)
    g = LAMBDA @ jac
    norm = np.linalg.norm(g)
    assert norm > MAX_NORM  # it is clipped
    d = rows(first_step(LAMBDA, THETA, clip), X + 0.2)[0]
    assert abs(d[2]) > 0.1  # the meta batch does see the third weight
    clipped = g * MAX_NORM / norm if clip else g
    v = -RATE * EPS / (np.abs(clipped) + EPS) ** 2 * d  # α ∂/∂g of −g / (|g| + ε)
    if clip:
        unit = g / norm
        v = MAX_NORM / norm * (v - unit * (unit @ v))
    return jac @ v


@functools.cache
def look(name):
    """Compiled: (λ, x) to θ′, (∂u/∂g)ᵀd by the library and by JAX, and ∂M(θ′)/∂λ."""
    params, optimizer = start(), OPTIMIZERS[name]()
    state = optimizer.init(params)

    @jax.jit
    def run(weights, x):
        jac = task_jacobian(losses, params, x)
        ahead = lookahead(jac, weights, optimizer, state, params)
        d = jax.grad(lambda p: losses(p, x + 0.2)[0])(ahead.params)
        _, pull = jax.vjp(
            lambda g: optimizer.update(g, state, params)[0], jac.vjp(weights)
        )
        return (
            ahead.params,
            (ahead.pull(d), pull(d)[0]),
            exact_meta_gradient(jac, ahead, d),
            finite_difference_meta_gradient(jac, ahead, d),
        )

    return run


@every_optimizer
def test_jax_alone_makes_a_nan_of_it(name):
    """What the library guards against; if this fails, the guard may go."""
    _, (_, by_jax), _, _ = look(name)(LAMBDA, X)
    assert np.isnan(by_jax["w"][2])
    assert np.isnan(by_jax["unused"])


@every_optimizer
def test_one_step_is_finite_and_right(name):
    ahead, (pulled, _), found, by_difference = look(name)(LAMBDA, X)
    clip = name == "clipped adam"
    np.testing.assert_allclose(ahead["w"], first_step(LAMBDA, THETA, clip), rtol=1e-12)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(pulled))
    np.testing.assert_allclose(found, slope_of_first_step(clip), rtol=1e-6)
    # No more can be asked of it: v is 10⁸ times longer where no gradient ever was.
    assert np.all(np.isfinite(by_difference))


@every_optimizer
def test_a_gradient_of_zero_everywhere(name):
    """Nothing moves, and λ is told so."""
    ahead, _, found, _ = look(name)(LAMBDA, np.zeros_like(X))
    np.testing.assert_array_equal(ahead["w"], THETA)
    np.testing.assert_array_equal(found, np.zeros(2))


@every_optimizer
def test_weights_of_zero(name):
    """Nothing moves, but a λ above zero would: by −α/ε, where nothing clips."""
    _, _, found, _ = look(name)(np.zeros(2), X)
    d = rows(THETA, X + 0.2)[0]
    np.testing.assert_allclose(found, -RATE / EPS * rows(THETA, X) @ d, rtol=1e-6)


@functools.cache
def n_steps(name, n):
    """Compiled: from λ to the end of N steps."""
    params, optimizer = start(), OPTIMIZERS[name]()
    batches = jnp.asarray(X)[None] * jnp.linspace(1.0, 1.5, n)[:, None, None]

    @jax.jit
    def run(weights):
        meta_loss = lambda p: losses(p, X + 0.2)[0]  # noqa: E731
        state = optimizer.init(params)
        return exact_n_step_meta_gradient(
            losses, meta_loss, weights, params, optimizer, state, batches
        )

    return run


@every_optimizer
def test_one_of_n_steps_is_the_one_step(name):
    found = n_steps(name, 1)(LAMBDA).meta_gradient
    expected = slope_of_first_step(clip=name == "clipped adam")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@every_optimizer
def test_n_steps_are_finite_and_right(name):
    """Right: the difference quotient of the meta loss at the end of the run."""
    run = n_steps(name, 4)
    at, found = run(LAMBDA).params, run(LAMBDA).meta_gradient
    assert at["unused"] == 1.0
    assert at["w"][2] == THETA[2]

    def meta_loss(weights):
        return losses(run(weights).params, X + 0.2)[0]

    for step, slope in zip(1e-4 * np.eye(2), found, strict=True):
        quotient = (meta_loss(LAMBDA + step) - meta_loss(LAMBDA - step)) / 2e-4
        assert abs(slope) > 1e-5
        np.testing.assert_allclose(slope, quotient, rtol=1e-4)
