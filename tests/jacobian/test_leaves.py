"""Parameters: integers among them, Python floats, any precision, any tree."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax import as_jacobian, task_grads, task_jacobian

FLOAT0 = jax.dtypes.float0


def losses(p):
    return jnp.sum(p["w"] ** 2), 2.0 * jnp.sum(p["w"])


MIXED = {"flag": jnp.array(True), "n": jnp.array([1, 2]), "w": jnp.array([1.0, 2.0])}
ROWS = np.array([[2.0, 4.0], [2.0, 2.0]])


def shapes(tree):
    return jax.tree.map(lambda x: (np.shape(x), x.dtype == FLOAT0), tree)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_integer_and_bool_leaves_have_float0_gradients_like_jax_grad(wrap):
    like_jax = jax.grad(lambda p: losses(p)[0], allow_int=True)
    expected = shapes(wrap(like_jax)(MIXED))

    def ask(p):
        jac = task_jacobian(losses, p)
        return jac.vjp(jnp.ones(2)), jac.row(0), jac.rows()

    total, row, rows = wrap(ask)(MIXED)
    assert shapes(total) == shapes(row) == expected
    stacked = {"flag": ((2,), True), "n": ((2, 2), True), "w": ((2, 2), False)}
    assert shapes(rows) == stacked
    np.testing.assert_array_equal(total["w"], ROWS.sum(0))
    np.testing.assert_array_equal(rows["w"], ROWS)


def test_integer_leaves_count_nowhere():
    jac = task_jacobian(losses, MIXED)
    for each in (jac, as_jacobian(jac.rows(), MIXED)):
        np.testing.assert_allclose(each.gramian(), ROWS @ ROWS.T)
        np.testing.assert_allclose(each.norms(), np.linalg.norm(ROWS, axis=1))
        np.testing.assert_allclose(each.jvp(each.row(1)), ROWS @ ROWS[1])
        assert shapes(each.row(1)) == shapes(jac.row(1))
        assert each.shared_mask() == {"flag": False, "n": False, "w": True}
        scaled = each.scale(jnp.array([1.0, 3.0]), {"flag": True, "n": True, "w": True})
        np.testing.assert_allclose(scaled.vjp(jnp.ones(2))["w"], [8.0, 10.0])


RULES = {
    "sum_tasks": auxjax.sum_tasks,
    "fixed": lambda: auxjax.fixed([1.0, 1.0]),
    "olaux": lambda: auxjax.olaux(n=1),
    "smoothed": lambda: auxjax.olaux(n=1, smoothing=2),
    "gcs": auxjax.gcs,
    "per layer": lambda: auxjax.gcs(per_layer=True, ema=0.9),
}


@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
@pytest.mark.parametrize("rule", RULES)
def test_rules_pass_integer_leaves_on_to_a_masked_optimizer(rule, kind):
    is_float = lambda p: jax.tree.map(  # noqa: E731
        lambda x: jnp.issubdtype(x.dtype, jnp.floating), p
    )
    tx = optax.chain(RULES[rule](), optax.masked(optax.sgd(0.1), is_float))

    @jax.jit
    def step(params, state):
        jac = task_jacobian(losses, params)
        updates = jac if kind == "jacobian" else jac.rows()
        return tx.update(updates, state, params)

    updates, state = step(MIXED, tx.init(MIXED))
    updates, _ = step(MIXED, state)
    expected = {"flag": ((), True), "n": ((2,), True), "w": ((2,), False)}
    assert shapes(updates) == expected
    # The weights of OL-AUX have moved by then; the others' are 1.
    weight = 1 + 5e-3 * (ROWS[0] @ ROWS[1]) if rule in ("olaux", "smoothed") else 1.0
    expected = -0.1 * (ROWS[0] + weight * ROWS[1])
    np.testing.assert_allclose(updates["w"], expected, rtol=1e-5)


def test_python_floats():
    params = {"a": 3.0, "b": 2.0}
    jac = task_jacobian(lambda p: (p["a"] * p["b"], p["a"] ** 2), params)
    rows = np.array([[2.0, 3.0], [6.0, 0.0]])
    np.testing.assert_array_equal(jac.rows()["a"], rows[:, 0])
    np.testing.assert_array_equal(jac.gramian(), rows @ rows.T)
    np.testing.assert_array_equal(jac.jvp({"a": 1.0, "b": 10.0}), rows @ [1, 10])
    for rule in RULES.values():
        tx = rule()
        updates, _ = tx.update(jac, tx.init(params), params)
        np.testing.assert_allclose(updates["a"], 8.0)


def linear(table):
    """Losses whose Jacobian is `table`, exactly, in any precision."""
    return lambda p: tuple(jnp.sum(row * p) for row in table)


def test_bfloat16_products_are_summed_in_float32():
    rng = np.random.default_rng(0)
    table = jnp.asarray(rng.normal(size=(3, 300)), jnp.bfloat16)
    exact = np.asarray(table, np.float64)
    jac = task_jacobian(linear(table), jnp.zeros(300, jnp.bfloat16))
    assert jac.losses.dtype == jnp.float32
    for each in (jac, as_jacobian(jac.rows())):
        assert each.rows().dtype == each.row(0).dtype == jnp.bfloat16
        assert each.vjp(jnp.ones(3)).dtype == jnp.bfloat16
        gramian, norms = each.gramian(), each.norms()
        assert gramian.dtype == norms.dtype == jnp.float32
        # bfloat16 sums would be off by about 1%.
        np.testing.assert_allclose(gramian, exact @ exact.T, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(norms, np.linalg.norm(exact, axis=1), rtol=1e-6)
        assert each.jvp(each.row(0)).dtype == jnp.float32
        np.testing.assert_allclose(each.jvp(each.row(0)), exact @ exact[0], rtol=0.05)


def test_float64_products(x64):
    exact = np.random.default_rng(0).normal(size=(3, 50))
    jac = task_jacobian(linear(jnp.asarray(exact)), jnp.zeros(50))
    for each in (jac, as_jacobian(jac.rows())):
        assert each.gramian().dtype == each.rows().dtype == jnp.float64
        np.testing.assert_allclose(each.gramian(), exact @ exact.T, rtol=1e-12)
        np.testing.assert_allclose(each.jvp(each.row(1)), exact @ exact[1], rtol=1e-12)


def test_leaves_of_different_precision(x64):
    params = {
        "half": jnp.ones(2, jnp.bfloat16),
        "single": jnp.ones(2, jnp.float32),
        "double": jnp.ones(2, jnp.float64),
    }

    def mixed(p):
        parts = [jnp.sum(x).astype(jnp.float64) for x in jax.tree.leaves(p)]
        return sum(parts), 3 * parts[0]

    jac = task_jacobian(mixed, params).scale(jnp.array([1.0, 2.0]))
    dtypes = jax.tree.map(lambda x: x.dtype, params)
    for each in (jac, as_jacobian(jac.rows(), params)):
        assert jax.tree.map(lambda x: x.dtype, each.vjp(jnp.ones(2))) == dtypes
        assert jax.tree.map(lambda x: x.dtype, each.rows()) == dtypes
        # Rows [1, 1, 1] and [6, 0, 0], two entries each ("double" sorts first).
        np.testing.assert_array_equal(each.gramian(), [[6.0, 12.0], [12.0, 72.0]])
        assert each.gramian().dtype == jnp.float64


def test_float32_parameters_in_a_program_that_enables_float64(x64):
    table = jnp.asarray([[1.0, 2.0], [3.0, 4.0]], jnp.float32)
    params = jnp.zeros(2, jnp.float32)
    jac = task_jacobian(linear(table), params)
    for each in (jac, as_jacobian(jac.rows())):
        got = each.scale(jnp.array([1.0, 2.0])).vjp(jnp.ones(2))  # float64 weights
        assert got.dtype == jnp.float32
        np.testing.assert_array_equal(got, [7.0, 10.0])


class Network(NamedTuple):
    layers: tuple
    nothing: dict
    scale: jax.Array


def test_any_tree_of_parameters():
    params = Network(
        layers=({"w": jnp.array([1.0, 2.0])}, [], {"w": jnp.array([[3.0]])}),
        nothing={"empty": (), "none": None},
        scale=jnp.array(4.0),
    )

    def two(p):
        return jnp.sum(p.layers[0]["w"]) * p.scale, jnp.sum(p.layers[2]["w"] ** 2)

    jac = task_jacobian(two, params)
    total = jac.vjp(jnp.ones(2))
    assert jax.tree.structure(total) == jax.tree.structure(params)
    assert isinstance(total, Network)
    np.testing.assert_array_equal(total.layers[0]["w"], [4.0, 4.0])
    np.testing.assert_array_equal(total.layers[2]["w"], [[6.0]])
    np.testing.assert_array_equal(total.scale, 3.0)
    stacked = as_jacobian(task_grads(two)(params)[1], params)
    where = lambda p: p._replace(layers=True, nothing=True, scale=False)  # noqa: E731
    for each in (jac, stacked):
        np.testing.assert_array_equal(each.gramian(where), [[32.0, 0.0], [0.0, 36.0]])
        np.testing.assert_array_equal(each.jvp(total), [32.0 + 9.0, 36.0])


def test_a_tree_without_floats_is_refused():
    with pytest.raises(ValueError, match=r"floating-point leaf. Found \['int32'\]"):
        task_jacobian(lambda p: (1.0, 2.0), {"n": jnp.array(1)})
