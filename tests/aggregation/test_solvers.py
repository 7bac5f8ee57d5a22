"""The small convex problems, against references in NumPy's float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from auxjax.aggregation import _solvers

KINDS = ("normal", "alike", "duplicated", "opposing", "unequal lengths")
SIZES = ((2, 5), (5, 12), (5, 3), (5, 1))  # tasks, parameters: rank-deficient too

bounded_qp = jax.jit(_solvers.bounded_qp)
min_norm_point = jax.jit(_solvers.min_norm_point)
dual_cone = jax.jit(_solvers.project_onto_dual_cone)
fair_point = jax.jit(_solvers.fair_point)


def gramian(rows, dtype="float32"):
    return jnp.asarray(rows.astype(dtype) @ rows.astype(dtype).T)


def best_on_simplex(gram):
    """Every support, each by its linear system: min wᵀGw, Σw = 1, w ≥ 0."""
    size, best = len(gram), (np.inf, None)
    for count in range(1, size + 1):
        for support in map(list, itertools.combinations(range(size), count)):
            system = np.ones((count + 1, count + 1))
            system[:count, :count] = gram[np.ix_(support, support)]
            system[-1, -1] = 0
            found = np.linalg.lstsq(system, np.eye(count + 1)[-1], rcond=1e-12)[0]
            w = np.zeros(size)
            w[support] = found[:-1]
            if np.all(w >= -1e-12) and abs(w.sum() - 1) < 1e-9:
                best = min(best, (w @ gram @ w, w.tolist()))
    return np.array(best[1])


def closest_in_dual_cone(rows, u):
    """Non-negative least squares on the Jacobian itself: Jᵀ(u + z), z ≥ 0."""
    z, _ = scipy.optimize.nnls(rows.T, -rows.T @ u, maxiter=10_000)
    return rows.T @ (u + z)


def test_bounded_qp_by_hand():
    """Min v₁² − v₁v₂ + v₂² − v₁ with v ≥ (0, ½): v₂ = v₁/2 would be ⅓ < ½."""
    matrix = jnp.array([[2.0, -1.0], [-1.0, 2.0]])
    found = bounded_qp(matrix, jnp.array([-1.0, 0.0]), jnp.array([0.0, 0.5]))
    np.testing.assert_allclose(found, [0.75, 0.5], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_tasks", "size"), SIZES)
def test_min_norm_point_is_the_best_of_all_supports(make_rows, num_tasks, size, kind):
    for seed in range(3):
        rows = make_rows(num_tasks, size, kind, seed)
        w = np.asarray(min_norm_point(gramian(rows)), np.float64)
        assert np.all(w >= 0)
        assert w.sum() == pytest.approx(1, abs=1e-6)
        expected = rows.T @ best_on_simplex(rows @ rows.T)
        shortest = np.linalg.norm(rows, axis=1).min()
        np.testing.assert_allclose(rows.T @ w, expected, atol=2e-4 * shortest)


@pytest.mark.parametrize("kind", ["normal", "alike", "duplicated", "unequal lengths"])
@pytest.mark.parametrize("size", [100, 40, 20, 3])
def test_forty_tasks_meet_the_conditions_of_the_min_norm_point(make_rows, size, kind):
    """⟨∇Lᵢ, d⟩ ≥ ‖d‖², equal where wᵢ > 0, relative to the lengths in them."""
    rows = make_rows(40, size, kind)
    gram = np.asarray(gramian(rows), np.float64)
    w = np.asarray(min_norm_point(jnp.asarray(gram, jnp.float32)), np.float64)
    length = np.sqrt(np.diag(gram))
    gap = (gram @ w - w @ gram @ w) / (length * (length @ w))
    assert gap.min() > -2e-6
    assert np.abs(gap * (w * length) / (length @ w)).max() < 2e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_tasks", "size"), [*SIZES, (16, 40), (16, 9)])
def test_dual_cone_agrees_with_least_squares(make_rows, num_tasks, size, kind):
    """In float32 up to what its rounding leaves of the length, √ε where d is 0."""
    for seed in range(3):
        rows = make_rows(num_tasks, size, kind, seed)
        u = np.random.default_rng(seed).uniform(size=num_tasks).astype(np.float32)
        v = np.asarray(dual_cone(gramian(rows), jnp.asarray(u)), np.float64)
        assert np.all(v >= u * (1 - 1e-6))
        expected = closest_in_dual_cone(rows, u.astype(np.float64))
        scale = np.linalg.norm(rows, axis=1) @ v
        np.testing.assert_allclose(rows.T @ v, expected, atol=4e-4 * scale)


@pytest.mark.parametrize("kind", ["normal", "alike", "duplicated", "unequal lengths"])
@pytest.mark.parametrize("size", [100, 40, 20, 3])
def test_forty_tasks_meet_the_conditions_of_the_dual_cone(make_rows, size, kind):
    """V ≥ u, Gv ≥ 0 and one of both equal, relative to the terms of the sums."""
    gram = np.asarray(gramian(make_rows(40, size, kind)), np.float64)
    u = np.full(40, 1 / 40, np.float32)
    v = np.asarray(
        dual_cone(jnp.asarray(gram, jnp.float32), jnp.asarray(u)), np.float64
    )
    length = np.sqrt(np.diag(gram))
    slope = gram @ v / length
    slack = (v - u) * length
    assert slack.min() > -1e-6 * np.abs(v * length).max()
    residual = np.abs(np.minimum(slope, slack)).max()
    assert residual < 2e-6 * (np.abs(gram) @ v / length).max()


@pytest.mark.parametrize("kind", ["normal", "integers", "unequal lengths"])
def test_the_conditions_hold_to_rounding_where_many_rows_are_dependent(make_rows, kind):
    """Twelve rows of rank five, 150 times: what one small proximal step leaves, the
    next ones take away (with one of them the residual is 1e-6 and more)."""
    rng = np.random.default_rng(1)
    rows = np.stack([make_rows(12, 5, kind, seed) for seed in range(150)])
    if kind == "integers":
        rows = rng.integers(-2, 3, size=rows.shape)
    rows = rows.astype(np.float32)
    grams = rows @ rows.transpose(0, 2, 1)
    u = rng.uniform(size=(150, 12)).astype(np.float32)
    v = np.asarray(jax.jit(jax.vmap(_solvers.project_onto_dual_cone))(grams, u))
    v, grams = v.astype(np.float64), grams.astype(np.float64)
    length = np.sqrt(np.diagonal(grams, axis1=1, axis2=2))
    length = np.where(length > 0, length, 1.0)
    slope = np.einsum("kts,ks->kt", grams, v) / length
    residual = np.abs(np.minimum(slope, (v - u) * length)).max(axis=1)
    assert np.max(residual / np.sum(v * length, axis=1)) < 6e-7


@pytest.mark.usefixtures("x64")
def test_float64_is_solved_to_twelve_digits(make_rows):
    for kind, size in itertools.product(KINDS[:3], (100, 20)):
        rows = make_rows(40, size, kind)
        gram = rows @ rows.T
        u = np.full(40, 1 / 40)
        v = np.asarray(dual_cone(jnp.asarray(gram), jnp.asarray(u)))
        assert v.dtype == np.float64
        residual = np.abs(np.minimum(gram @ v, v - u)).max()
        assert residual < 1e-12 * (np.abs(gram) @ v).max()
        w = np.asarray(min_norm_point(jnp.asarray(gram)))
        gap = gram @ w - w @ gram @ w
        assert gap.min() > -1e-12 * np.abs(gram).max()
        assert np.abs(gap * w).max() < 1e-12 * np.abs(gram).max()
        if size > 40:
            alpha = np.asarray(fair_point(jnp.asarray(gram)))
            np.testing.assert_allclose(alpha * (gram @ alpha), 1, rtol=1e-11)


@pytest.mark.parametrize("power", [0.1, 0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("kind", ["normal", "alike", "unequal lengths"])
@pytest.mark.parametrize("num_tasks", [1, 2, 40])
def test_fair_point_solves_its_equation(make_rows, num_tasks, kind, power):
    """A strictly convex function has one such point."""
    if kind == "unequal lengths" and power in (0.1, 10.0):
        rows = make_rows(num_tasks, 100) * np.linspace(1, 3, num_tasks)[:, None]
    else:
        rows = make_rows(num_tasks, 100, kind)
    gram = np.asarray(gramian(rows), np.float64)
    w = np.asarray(fair_point(jnp.asarray(gram, jnp.float32), power), np.float64)
    assert np.all(w > 0)
    wp = w**power
    terms = 1 + wp * (np.abs(gram) @ w)
    np.testing.assert_allclose((wp * (gram @ w) - 1) / terms, 0, atol=2e-6)


def test_fair_point_of_dependent_rows(make_rows):
    """Rank 3 with a direction that helps all: the equation has a solution."""
    rows = np.abs(make_rows(6, 3))
    w = np.asarray(fair_point(gramian(rows)), np.float64)
    np.testing.assert_allclose(w * (rows @ (rows.T @ w)), 1, rtol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["min_norm_point", "dual_cone", "fair_point"])
def test_derivatives_are_those_of_finite_differences(make_rows, name):
    rows = make_rows(4, 6, seed=1)
    slopes = jnp.array([1.0, -2.0, 0.5, 3.0])

    def value(flat):
        gram = flat @ flat.T
        if name == "dual_cone":
            return slopes @ dual_cone(gram, jnp.array([1.0, 0.0, 0.0, 0.2]))
        if name == "fair_point":
            return slopes @ fair_point(gram, 0.7)
        return slopes @ min_norm_point(gram)

    value = jax.jit(value)
    found = jax.grad(value)(jnp.asarray(rows))
    step = 1e-6 * np.random.default_rng(0).normal(size=rows.shape)
    difference = (value(rows + step) - value(rows - step)) / 2
    assert abs(difference) > 1e-8
    np.testing.assert_allclose(np.sum(found * step), difference, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_fair_point_knows_its_slope_in_the_power(make_rows):
    gram = gramian(make_rows(3, 6), "float64")
    slope = jax.jacfwd(lambda p: fair_point(gram, p))(0.7)
    ahead, behind = (fair_point(gram, 0.7 + h) for h in (1e-6, -1e-6))
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-6)
