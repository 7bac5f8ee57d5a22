"""The same losses at other parameters: `at` and `jvp_by_difference`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import task_jacobian

P = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
Q = {"a": jnp.array([-0.5, 0.7]), "b": jnp.array(1.5)}
V = {"a": jnp.array([1.0, -0.5]), "b": jnp.array(2.0)}
X = jnp.array([0.3, -1.1])
W = jnp.array([2.0, 3.0, -0.5])
ONLY_A = {"a": True, "b": False}


def losses(p, x, c=1.0):
    return {
        "z": jnp.sum(jnp.sin(p["a"] * x)) * p["b"] * c,
        "y": jnp.sum(p["a"] ** 3),
        "x": jnp.exp(0.3 * p["b"]) * jnp.sum(p["a"]),
    }


def slopes(p, x, c=1.0, scale_a=1.0):
    """J V by hand, the part through `a` scaled."""
    a, b, x = (np.asarray(leaf, np.float64) for leaf in (p["a"], p["b"], x))
    v = np.array([1.0, -0.5])
    by_a = [
        np.sum(np.cos(a * x) * x * v) * b * c,
        np.sum(3 * a**2 * v),
        np.exp(0.3 * b) * np.sum(v),
    ]
    by_b = [2 * np.sum(np.sin(a * x)) * c, 0, 2 * 0.3 * np.exp(0.3 * b) * np.sum(a)]
    return scale_a * np.array(by_a) + np.array(by_b)


def close(found, expected, rtol=1e-5):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6),
        found,
        expected,
    )


SCALINGS = {
    "none": (lambda jac: jac, 1.0, 1.0),
    "all": (lambda jac: jac.scale(W), W, 1.0),
    "masked": (lambda jac: jac.scale(W, ONLY_A), 1.0, W),
    "twice": (lambda jac: jac.scale(W).scale(W, ONLY_A), W, W),
    "materialized": (lambda jac: jac.materialize(), 1.0, 1.0),
    "scaled, materialized": (lambda jac: jac.scale(W).materialize(), W, 1.0),
    "masked, materialized": (lambda jac: jac.scale(W, ONLY_A).materialize(), 1.0, W),
    "scaled, materialized, scaled": (
        lambda jac: jac.scale(W).materialize().scale(W, ONLY_A),
        W,
        W,
    ),
}
every_scaling = pytest.mark.parametrize("scaling", SCALINGS)


@every_scaling
def test_at_is_the_jacobian_there_with_the_scales_of_here(scaling):
    scale, all_of_it, on_a = SCALINGS[scaling]
    here = scale(task_jacobian(losses, P, X))
    there = here.at(Q)
    fresh = task_jacobian(losses, Q, X).scale(jnp.ones(3) * all_of_it)
    fresh = fresh.scale(jnp.ones(3) * on_a, ONLY_A)
    close(there.losses, fresh.losses)
    close(there.params, Q)
    assert there.names == ("z", "y", "x")
    close(there.jvp(V), all_of_it * slopes(Q, X, scale_a=np.asarray(on_a)))
    close(there.vjp(W), fresh.vjp(W))
    close(there.rows(), fresh.rows())
    close(there.gramian(), fresh.gramian())
    # Back again: nothing of here was changed.
    close(there.at(P).jvp(V), here.jvp(V))
    close(here.params, P)


@every_scaling
def test_the_difference_of_a_scaled_jacobian_is_its_jvp(x64, scaling):
    """To O(ε²): ten times closer, a hundred times better."""
    scale, _, _ = SCALINGS[scaling]
    p, v, x = jax.tree.map(lambda x: x.astype(jnp.float64), (P, V, X))
    jac = scale(task_jacobian(losses, p, x))
    exact = jac.jvp(v)
    errors = [
        np.abs(jac.jvp_by_difference(v, epsilon=epsilon) - exact)
        for epsilon in (0.1, 0.01)
    ]
    assert np.all(errors[0] > 1e-8)
    np.testing.assert_allclose(errors[0] / errors[1], 100.0, rtol=0.05)
    default = jac.jvp_by_difference(v)
    np.testing.assert_array_equal(default, jac.jvp_by_difference(v, epsilon=0.01))


def test_the_difference_along_nothing_and_a_bad_epsilon():
    jac = task_jacobian(losses, P, X)
    nothing = jax.tree.map(jnp.zeros_like, V)
    np.testing.assert_array_equal(jac.jvp_by_difference(nothing), np.zeros(3))
    for epsilon in (0.0, -1.0):
        with pytest.raises(ValueError, match=r"`epsilon` should be above 0. Found"):
            jac.jvp_by_difference(V, epsilon=epsilon)


def picky(p, x, negate, f, nothing, indices, key, name, factor):
    """Losses that need their arguments to be what they were."""
    assert type(negate) is bool
    assert nothing is None
    assert name == "sin"
    assert type(factor) is float
    noise = jax.random.normal(key["noise"], (2,))
    main = jnp.sum(f(p["a"])[indices] * x * noise) * factor
    return -main if negate else main, p["b"] ** 2


ARGUMENTS = (
    np.array([0.5, 2.0], np.float32),
    True,
    jnp.sin,
    None,
    jnp.array([1, 0]),
    {"noise": jax.random.key(3)},
    "sin",
    2.5,
)


def test_arguments_of_any_kind_are_remembered():
    jac = task_jacobian(picky, P, *ARGUMENTS)
    fresh = task_jacobian(picky, Q, *ARGUMENTS)
    close(jac.at(Q).losses, fresh.losses)
    close(jac.at(Q).rows(), fresh.rows())
    close(jac.jvp_by_difference(V), jac.jvp(V), 1e-3)


@pytest.mark.parametrize("form", ["returned", "passed on"])
def test_arguments_of_any_kind_cross_jit(form):
    x, _, _, _, indices, key, _, _ = ARGUMENTS

    @jax.jit
    def make(p, x, indices, key):
        return task_jacobian(picky, p, x, True, jnp.sin, None, indices, key, "sin", 2.5)

    jac = make(P, x, indices, key)
    ask = lambda jac, q: (jac.at(q).rows(), jac.jvp_by_difference(V))  # noqa: E731
    ask = jax.jit(ask) if form == "passed on" else ask
    rows, pushed = ask(jac, Q)
    close(rows, task_jacobian(picky, Q, *ARGUMENTS).rows())
    close(pushed, task_jacobian(picky, P, *ARGUMENTS).jvp(V), 1e-3)


def test_answers_after_each_of_two_batches_crossed_jit():
    """The compiled function is one, the batches that it hands out are two."""
    make = jax.jit(lambda p, x: task_jacobian(losses, p, x).scale(W))
    for x in (X, 2 * X):
        jac = make(P, x)
        close(jac.at(Q).jvp(V), W * slopes(Q, x))
        close(jac.jvp_by_difference(V), W * slopes(P, x), 1e-3)


def test_answers_after_scan_and_vmap():
    xs = jnp.stack([X, 2 * X, X - 1.0])

    def body(p, x):
        jac = task_jacobian(losses, p, x).scale(W)
        return jax.tree.map(lambda leaf: leaf + 0.1, p), jac

    _, by_scan = jax.jit(lambda p: jax.lax.scan(body, p, xs))(P)
    by_vmap = jax.vmap(lambda x: task_jacobian(losses, P, x).scale(W))(xs)
    expected = [W * slopes(Q, x) for x in xs]
    for jacs in (by_scan, by_vmap):
        found = jax.vmap(lambda jac: jac.at(Q).jvp(V))(jacs)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        third = jax.tree.map(lambda x: x[2], jacs)
        np.testing.assert_allclose(third.at(Q).jvp(V), expected[2], rtol=1e-5)
    pushed = jax.vmap(lambda jac: jac.jvp_by_difference(V))(by_vmap)
    expected = [W * slopes(P, x) for x in xs]
    np.testing.assert_allclose(pushed, expected, rtol=1e-3, atol=1e-4)


def test_inside_the_body_of_a_scan():
    """As a rule asks it: the Jacobian never leaves, the parameters move."""

    def body(p, x):
        jac = task_jacobian(losses, p, x)
        moved = jax.tree.map(lambda a, g: a - 0.1 * g, p, jac.vjp(W))
        return moved, jac.at(moved).jvp(V)

    xs = jnp.stack([X, 2 * X])
    _, found = jax.lax.scan(body, P, xs)
    p = P
    for x, pushed in zip(xs, found, strict=True):
        gradient = task_jacobian(losses, p, x).vjp(W)
        p = jax.tree.map(lambda a, g: a - 0.1 * g, p, gradient)
        close(pushed, slopes(p, x))


def test_integer_leaves_stay_what_they_were_given_as():
    def powers(p, x):
        exponent = p["n"].astype(x.dtype)
        slope = jnp.where(p["on"], 2.0, 3.0)
        return jnp.sum(p["w"] ** exponent * x), jnp.sum(p["w"]) * slope

    here = {"n": jnp.array([1, 2]), "on": jnp.array(True), "w": jnp.array([1.0, 2.0])}
    there = {"n": jnp.array([2, 3]), "on": jnp.array(False), "w": jnp.array([3.0, 1.0])}
    jac = task_jacobian(powers, here, X)
    np.testing.assert_allclose(jac.rows()["w"], [[0.3, -4.4], [2.0, 2.0]], rtol=1e-6)
    moved = jac.at(there)
    np.testing.assert_allclose(moved.rows()["w"], [[1.8, -3.3], [3.0, 3.0]], rtol=1e-6)
    assert moved.rows()["n"].dtype == jax.dtypes.float0
    direction = jac.row(0)  # with `float0` leaves, as `vjp` makes them
    close(jac.jvp_by_difference(direction), jac.jvp(direction), 1e-3)


def test_aux_is_that_of_there():
    def with_aux(p, x):
        return tuple(losses(p, x).values()), {"sum": jnp.sum(p["a"])}

    jac = task_jacobian(with_aux, P, X, has_aux=True)
    assert jac.aux["sum"] == 3.0
    np.testing.assert_allclose(jac.at(Q).aux["sum"], 0.2, rtol=1e-6)
    assert jac.aux["sum"] == 3.0
    close(jac.jvp_by_difference(V), slopes(P, X), 1e-3)


def test_methods_and_partials_of_jitted_functions():
    class Model:
        @functools.partial(jax.jit, static_argnums=0)
        def losses(self, p, x, c):
            return losses(p, x, c)

    for f in (
        functools.partial(Model().losses, c=2.0),
        functools.partial(jax.jit(losses), c=2.0),
    ):
        jac = task_jacobian(f, P, X)
        assert jac.at(Q).names == ("z", "y", "x")
        close(jac.at(Q).jvp(V), slopes(Q, X, c=2.0))
