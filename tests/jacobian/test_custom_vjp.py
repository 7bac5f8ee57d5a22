"""The tangent pass by its three ways: forward, transposed twice, row by row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import task_jacobian
from auxjax.jacobian import _linear


def square(x):
    return x**2


@jax.custom_vjp
def square_by_rule(x):
    return x**2


square_by_rule.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))


@jax.custom_vjp
def square_by_callback(x):
    return x**2


def pull_in_numpy(x, g):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    double = lambda x, g: np.asarray(2 * x * g, x.dtype)  # noqa: E731
    return (jax.pure_callback(double, shape, x, g, vmap_method="sequential"),)


square_by_callback.defvjp(lambda x: (x**2, x), pull_in_numpy)

WAYS = {
    "forward": square,
    "transposed": square_by_rule,
    "row by row": square_by_callback,
}
A, B = np.array([1.0, 2.0, -3.0]), np.array([0.5, 0.2, 0.1])
DA, DB = np.array([1.0, -2.0, 0.3]), np.array([0.7, -0.2, 1.0])
PARAMS = {"a": jnp.asarray(A, jnp.float32), "b": jnp.asarray(B, jnp.float32)}
DIRECTION = {"a": jnp.asarray(DA, jnp.float32), "b": jnp.asarray(DB, jnp.float32)}
# Σ a² b, Σ a² and Σ b²: their rows over (a, b).
ROWS = np.array(
    [np.r_[2 * A * B, A**2], np.r_[2 * A, np.zeros(3)], np.r_[np.zeros(3), 2 * B]]
)


def losses_of(f):
    def losses(p):
        squared = f(p["a"])
        return jnp.sum(squared * p["b"]), jnp.sum(squared), jnp.sum(p["b"] ** 2)

    return losses


def way_taken(jac):
    """Which of the three ways `jvp` takes."""
    if _linear.has_forward_mode(jac._linear):
        return "forward"
    try:
        _linear.double_transpose(jac._linear, list(DIRECTION.values()))
    except _linear.NOT_TRANSPOSABLE:
        return "row by row"
    return "transposed"


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_give_the_analytic_products(way, flatten):
    jac = task_jacobian(losses_of(WAYS[way]), PARAMS)
    assert way_taken(jac) == way
    np.testing.assert_allclose(jac.jvp(DIRECTION), ROWS @ np.r_[DA, DB], rtol=1e-5)
    np.testing.assert_allclose(flatten(jac.rows(), (3,)), ROWS, rtol=1e-6)
    np.testing.assert_allclose(jac.gramian(), ROWS @ ROWS.T, rtol=1e-5)
    np.testing.assert_allclose(
        flatten(jac.vjp(jnp.array([1.0, -2.0, 3.0]))), [1, -2, 3] @ ROWS, rtol=1e-5
    )


@pytest.mark.parametrize("way", WAYS)
def test_where_and_scale(way):
    jac = task_jacobian(losses_of(WAYS[way]), PARAMS)
    only_a = {"a": True, "b": False}
    got = jac.scale(jnp.array([2.0, 3.0, 4.0]), only_a).jvp(DIRECTION, only_a)
    np.testing.assert_allclose(got, [2, 3, 4] * (ROWS[:, :3] @ DA), rtol=1e-5)
    np.testing.assert_allclose(
        jac.scale(jnp.array([2.0, 3.0, 4.0]), only_a).jvp(DIRECTION),
        [2, 3, 4] * (ROWS[:, :3] @ DA) + ROWS[:, 3:] @ DB,
        rtol=1e-5,
    )


@pytest.mark.parametrize("way", WAYS)
def test_one_vmapped_array_of_losses(way):
    def losses(p):
        factors = jnp.arange(1.0, 4.0)
        return jax.vmap(lambda c: jnp.sum(WAYS[way](p["a"]) * p["b"]) * c)(factors)

    jac = task_jacobian(losses, PARAMS)
    expected = np.arange(1.0, 4.0) * (ROWS[0] @ np.r_[DA, DB])
    np.testing.assert_allclose(jac.jvp(DIRECTION), expected, rtol=1e-5)
    np.testing.assert_allclose(
        jac.rows()["a"], np.outer([1, 2, 3], 2 * A * B), rtol=1e-5
    )


@pytest.mark.parametrize("way", WAYS)
def test_over_seeds_and_in_jit(way):
    losses = losses_of(WAYS[way])
    many = jax.tree.map(lambda x: jnp.stack([x, x]), PARAMS)
    push = jax.jit(jax.vmap(lambda p: task_jacobian(losses, p).jvp(DIRECTION)))
    expected = np.tile(ROWS @ np.r_[DA, DB], (2, 1))
    np.testing.assert_allclose(push(many), expected, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "wrap", [lambda f: f, jax.checkpoint], ids=["plain", "checkpoint"]
)
def test_inside_scan(way, wrap):
    """x₀ = a, x_{k+1} = x_k² + b: two steps, written out by the chain rule."""

    def losses(p):
        @wrap
        def body(x, _):
            return WAYS[way](x) + p["b"], jnp.sum(x)

        last, sums = jax.lax.scan(body, p["a"], None, length=2)
        return jnp.sum(last), jnp.sum(sums)

    jac = task_jacobian(losses, PARAMS)
    first = A**2 + B
    d_last = np.r_[2 * first * 2 * A, 2 * first + 1]  # x₂ = (a² + b)² + b
    d_sums = np.r_[1 + 2 * A, np.ones(3)]  # a + (a² + b)
    got = jac.jvp(DIRECTION)
    expected = np.array([d_last, d_sums]) @ np.r_[DA, DB]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_checkpoint_keeps_forward_mode():
    losses = losses_of(square)
    jac = task_jacobian(jax.checkpoint(losses), PARAMS)
    assert way_taken(jac) == "forward"
    np.testing.assert_allclose(jac.jvp(DIRECTION), ROWS @ np.r_[DA, DB], rtol=1e-5)
    np.testing.assert_allclose(jac.rows()["a"], ROWS[:, :3], rtol=1e-6)


def test_a_callback_is_called_for_its_own_rows_only():
    """The third loss has no callback: its row must not run one."""
    calls = []

    @jax.custom_vjp
    def f(x):
        return x**2

    def pull(x, g):
        def double(x, g):
            calls.append(1)
            return np.asarray(2 * x * g, x.dtype)

        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return (jax.pure_callback(double, shape, x, g, vmap_method="sequential"),)

    f.defvjp(lambda x: (x**2, x), pull)
    jac = task_jacobian(losses_of(f), PARAMS)
    np.testing.assert_allclose(jac.row(2)["b"], 2 * B, rtol=1e-6)
    assert not calls
    np.testing.assert_allclose(jac.row(1)["a"], 2 * A, rtol=1e-6)
    assert len(calls) == 1
