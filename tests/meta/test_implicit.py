"""The implicit meta-gradient against the closed form, on quadratics."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax import task_jacobian
from auxjax.meta import exact_meta_gradient, implicit_meta_gradient, lookahead

TASKS, SIZE = 3, 5
LAMBDA = np.array([0.8, 0.5, 0.3])


class Quadratics:
    """L_i(θ) = ½ (θ − c_i)ᵀ A_i (θ − c_i), M(θ) = ½ ‖θ − m‖² ; all of it NumPy."""

    def __init__(self):
        rng = np.random.default_rng(3)
        roots = rng.normal(size=(TASKS, SIZE, SIZE))
        self.matrices = roots @ roots.transpose(0, 2, 1) / SIZE + 0.3 * np.eye(SIZE)
        self.centres = rng.normal(size=(TASKS, SIZE))
        self.target = rng.normal(size=SIZE)

    def hessian(self, weights):
        return np.einsum("t,tij->ij", weights, self.matrices)

    def argmin(self, weights):
        pulls = np.einsum("t,tij,tj->i", weights, self.matrices, self.centres)
        return np.linalg.solve(self.hessian(weights), pulls)

    def rows(self, theta):
        return np.einsum("tij,tj->ti", self.matrices, theta - self.centres)

    def meta_loss(self, theta):
        return 0.5 * np.sum((theta - self.target) ** 2)

    def losses(self, params):
        """The same losses in JAX, of a pytree of two leaves."""
        theta = jnp.concatenate([params["u"], params["v"]])
        off = theta[None] - jnp.asarray(self.centres, theta.dtype)
        matrices = jnp.asarray(self.matrices, theta.dtype)
        return 0.5 * jnp.einsum("ti,tij,tj->t", off, matrices, off)


Q = Quadratics()


def as_params(theta):
    return {"u": jnp.asarray(theta[:2]), "v": jnp.asarray(theta[2:])}


def setting(theta=None):
    """The Jacobian at θ* and d there; J and d in NumPy as well."""
    theta = Q.argmin(LAMBDA) if theta is None else theta
    d = theta - Q.target
    return task_jacobian(Q.losses, as_params(theta)), as_params(d), Q.rows(theta), d


def solve(jac, d, **options):
    """The function under test, compiled."""
    run = jax.jit(lambda w, d: implicit_meta_gradient(jac, w, d, **options))
    return run(jnp.asarray(LAMBDA), d)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "cg", "num_terms": SIZE},
        {"solver": "cg", "num_terms": 100},
        {"solver": "neumann", "num_terms": 400, "step_size": 0.3},
    ],
)
@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_equals_the_closed_form(x64, options, damping):
    jac, d, rows, flat = setting()
    hessian = Q.hessian(LAMBDA) + damping * np.eye(SIZE)
    expected = -rows @ np.linalg.solve(hessian, flat)
    found = solve(jac, d, damping=damping, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_is_the_slope_of_the_meta_loss_at_the_solved_inner_problem(x64):
    jac, d, _, _ = setting()
    found = solve(jac, d, solver="cg", num_terms=SIZE)
    shift = 1e-5 * np.eye(TASKS)
    quotient = [
        (Q.meta_loss(Q.argmin(LAMBDA + s)) - Q.meta_loss(Q.argmin(LAMBDA - s))) / 2e-5
        for s in shift
    ]
    assert np.all(np.abs(quotient) > 1e-2)
    np.testing.assert_allclose(found, quotient, rtol=1e-7)


@pytest.mark.parametrize("terms", [1, 2, 7])
def test_the_truncated_series(x64, terms):
    """α Σ_{j<K} (I − αH)ʲ d, away from the optimum too."""
    jac, d, rows, flat = setting(np.linspace(-1.0, 1.0, SIZE))
    move = np.eye(SIZE) - 0.2 * Q.hessian(LAMBDA)
    powers = [np.linalg.matrix_power(move, j) for j in range(terms)]
    expected = -rows @ (0.2 * sum(powers) @ flat)
    found = solve(jac, d, num_terms=terms, step_size=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_one_term_is_the_one_step_meta_gradient_of_sgd(x64):
    jac, d, _, _ = setting()
    sgd = optax.sgd(0.2)
    ahead = lookahead(jac, jnp.asarray(LAMBDA), sgd, sgd.init(jac.params), jac.params)
    found = solve(jac, d, num_terms=1, step_size=0.2)
    np.testing.assert_allclose(found, exact_meta_gradient(jac, ahead, d), rtol=1e-12)


def test_scaled_rows_are_other_losses(x64):
    """sᵢLᵢ with λ is Lᵢ with sᵢλᵢ, and its slope in λᵢ is sᵢ times as large."""
    jac, d, rows, flat = setting()
    scale = np.array([2.0, 0.5, 1.5])
    hessian = Q.hessian(LAMBDA * scale)
    expected = -scale * (rows @ np.linalg.solve(hessian, flat))
    scaled = jac.scale(jnp.asarray(scale))
    for same in (scaled, scaled.materialize()):
        found = solve(same, d, solver="cg", num_terms=SIZE)
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_in_single_precision():
    jac, d, rows, flat = setting()
    assert jac.losses.dtype == jnp.float32
    expected = -rows @ np.linalg.solve(Q.hessian(LAMBDA), flat)
    for options in (
        {"solver": "cg", "num_terms": 10},
        {"solver": "cg", "num_terms": 500},  # the residual is long rounding alone
        {"num_terms": 400, "step_size": 0.3},
    ):
        found = solve(jac, d, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_a_meta_gradient_of_zero():
    jac, d, _, _ = setting()
    nothing = jax.tree.map(jnp.zeros_like, d)
    for solver in ("cg", "neumann"):
        found = solve(jac, nothing, solver=solver)
        np.testing.assert_array_equal(found, np.zeros(TASKS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lu"}, '`solver` should be "neumann" or "cg". Found \'lu\'.'),
        ({"num_terms": 0}, "`num_terms` should be at least 1. Found 0."),
        ({"step_size": 0.0}, "`step_size` should be above 0. Found 0.0."),
        ({"step_size": -1.0}, "`step_size` should be above 0. Found -1.0."),
        ({"damping": -0.1}, "`damping` should be at least 0. Found -0.1."),
    ],
)
def test_bad_arguments(options, message):
    jac, d, _, _ = setting()
    with pytest.raises(ValueError, match=re.escape(message)):
        implicit_meta_gradient(jac, jnp.asarray(LAMBDA), d, **options)
