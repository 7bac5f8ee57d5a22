"""Every contraction of every form of losses against J written down by NumPy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import as_jacobian, task_grads, task_jacobian

WHERES = {
    "everywhere": (None, (True, True, True)),
    "trunk": ({"b": True, "heads": False, "w": True}, (True, False, True)),
    "function": (lambda p: dict.fromkeys(p, True) | {"b": False}, (False, True, True)),
    "nowhere": (False, (False, False, False)),
}
TRUNK = WHERES["trunk"]
# (form, number of tasks, dtype)
CASES = [
    ("dict", 3, "float32"),
    ("jitted dict", 3, "float32"),
    ("tuple", 3, "float32"),
    ("list", 3, "float32"),
    ("stacked", 3, "float32"),
    ("vmapped", 3, "float32"),
    ("dict", 3, "float64"),
    ("stacked gradients", 3, "float32"),
    ("stacked gradients", 3, "float64"),
    ("dict", 1, "float32"),
    ("stacked", 1, "float32"),
    ("vmapped", 1, "float32"),
]


def contract(jac, weights, first, second, direction):
    """Everything that can be asked of a Jacobian."""
    scaled = jac.scale(first, TRUNK[0]).scale(second)
    last = jac.num_tasks - 1
    asked = {
        "losses": jac.losses,
        "vjp": jac.vjp(weights),
        "row": {0: jac.row(0), last: jac.row(last)},
        "rows": jac.rows(),
        "chunks": jac.rows(chunk_size=2),
        "gramian in chunks": jac.gramian(TRUNK[0], chunk_size=2),
        "norms in chunks": jac.norms(TRUNK[0], chunk_size=1),
        "scaled": {
            "losses": scaled.losses,
            "vjp": scaled.vjp(weights),
            "row": scaled.row(last),
            "rows": scaled.rows(),
            "jvp": scaled.jvp(direction),
            "gramian": scaled.gramian(),
            "norms": scaled.norms(),
            "chunks": scaled.norms(chunk_size=2),
        },
    }
    for name, (where, _) in WHERES.items():
        asked[f"jvp {name}"] = jac.jvp(direction, where)
        asked[f"gramian {name}"] = jac.gramian(where)
        asked[f"norms {name}"] = jac.norms(where)
    return asked


@dataclasses.dataclass
class Case:
    problem: Any
    got: Any
    values: np.ndarray
    jacobian: np.ndarray
    tolerance: float
    dtype: str

    def close(self, got, expected):
        assert np.shape(got) == np.shape(expected)
        scale = max(1.0, np.max(np.abs(expected)))
        np.testing.assert_allclose(
            np.asarray(got, np.float64), expected, atol=self.tolerance * scale
        )


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def case(request, mlp, losses):
    form, num_tasks, dtype = request.param
    problem = mlp(num_tasks)
    loss_fn = losses["dict" if form == "stacked gradients" else form]
    with jax.enable_x64(dtype == "float64"):
        params = problem.params(form, dtype)

        @jax.jit
        def everything(params, data, direction, vectors):
            if form == "stacked gradients":
                values, grads = task_grads(loss_fn)(params, *data)
                jac = as_jacobian(grads, params, losses=values)
            else:
                jac = task_jacobian(loss_fn, params, *data)
            return contract(jac, *vectors, direction)

        got = everything(
            params,
            problem.data(dtype),
            problem.like_params(problem.direction, params),
            [
                jnp.asarray(v, dtype)
                for v in (problem.weights, problem.first, problem.second)
            ],
        )
        got = jax.tree.map(np.asarray, got)
    tolerance = {"float32": 3e-6, "float64": 1e-13}[dtype]
    return Case(problem, got, *problem.reference(), tolerance, dtype)


def test_losses(case):
    case.close(case.got["losses"], case.values)


def test_vjp(case, flatten):
    case.close(flatten(case.got["vjp"]), case.problem.weights @ case.jacobian)


def test_row(case, flatten):
    for index, row in case.got["row"].items():
        case.close(flatten(row), case.jacobian[index])


def test_rows(case, flatten):
    leading = (case.problem.num_tasks,)
    case.close(flatten(case.got["rows"], leading), case.jacobian)


def test_rows_in_chunks(case, flatten):
    leading = (case.problem.num_tasks,)
    case.close(flatten(case.got["chunks"], leading), case.jacobian)


@pytest.mark.parametrize("where", WHERES)
def test_jvp(case, where):
    masked = case.problem.direction * case.problem.columns(*WHERES[where][1])
    case.close(case.got[f"jvp {where}"], case.jacobian @ masked)


@pytest.mark.parametrize("where", WHERES)
def test_gramian(case, where):
    masked = case.jacobian * case.problem.columns(*WHERES[where][1])
    case.close(case.got[f"gramian {where}"], masked @ masked.T)


@pytest.mark.parametrize("where", WHERES)
def test_norms(case, where):
    masked = case.jacobian * case.problem.columns(*WHERES[where][1])
    case.close(case.got[f"norms {where}"], np.linalg.norm(masked, axis=1))


def test_gramian_and_norms_in_chunks(case):
    masked = case.jacobian * case.problem.columns(*TRUNK[1])
    case.close(case.got["gramian in chunks"], masked @ masked.T)
    case.close(case.got["norms in chunks"], np.linalg.norm(masked, axis=1))


def test_scales_stack(case, flatten):
    """`scale(a, where=trunk)`, then `scale(b)` everywhere."""
    problem, got = case.problem, case.got["scaled"]
    factor = np.where(problem.columns(*TRUNK[1]), problem.first[:, None], 1.0)
    scaled = case.jacobian * factor * problem.second[:, None]
    case.close(got["losses"], case.values)
    case.close(flatten(got["vjp"]), problem.weights @ scaled)
    case.close(flatten(got["row"]), scaled[-1])
    case.close(flatten(got["rows"], (problem.num_tasks,)), scaled)
    case.close(got["jvp"], scaled @ problem.direction)
    case.close(got["gramian"], scaled @ scaled.T)
    case.close(got["norms"], np.linalg.norm(scaled, axis=1))
    case.close(got["chunks"], np.linalg.norm(scaled, axis=1))


def test_results_have_the_dtype_of_the_parameters(case):
    assert all(np.asarray(x).dtype == case.dtype for x in jax.tree.leaves(case.got))


@pytest.mark.parametrize("form", ["tuple", "vmapped"])
def test_forty_tasks(mlp, losses, flatten, form):
    problem = mlp(40)
    values, jacobian = problem.reference()
    params, data = problem.params(form), problem.data()
    direction = problem.like_params(problem.direction, params)

    @jax.jit
    def ask(params, data, weights):
        jac = task_jacobian(losses[form], params, *data)
        return jac.losses, jac.vjp(weights), jac.jvp(direction), jac.rows()

    got = ask(params, data, jnp.asarray(problem.weights, jnp.float32))
    for mine, theirs in (
        (got[0], values),
        (flatten(got[1]), problem.weights @ jacobian),
        (got[2], jacobian @ problem.direction),
        (flatten(got[3], (40,)), jacobian),
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_agrees_with_jacrev_without_jit(mlp, losses, flatten):
    problem = mlp(3)
    params, data = problem.params("tuple"), problem.data()
    jac = task_jacobian(losses["tuple"], params, *data)
    by_jacrev = jax.jacrev(losses["tuple"])(params, *data)
    for i, row in enumerate(by_jacrev):
        np.testing.assert_allclose(flatten(jac.row(i)), flatten(row), rtol=2e-6)


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("dict", ("zebra", "apple", "mango")),
        ("jitted dict", ("zebra", "apple", "mango")),
        ("tuple", ("main", "aux_1", "aux_2")),
        ("vmapped", ("main", "aux_1", "aux_2")),
    ],
)
def test_names_keep_the_order_of_insertion(mlp, losses, form, names):
    problem = mlp(3)
    jac = task_jacobian(losses[form], problem.params(form), *problem.data())
    assert jac.names == names
    assert jac.num_tasks == 3
    assert all(name in repr(jac) for name in names)


def test_stacked_gradients_have_default_names():
    assert as_jacobian(jnp.ones((2, 3))).names == ("main", "aux_1")


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jitted"])
def test_has_aux(wrap):
    @wrap
    def losses(p):
        return {"z": jnp.sum(p**2), "a": jnp.sum(p)}, {"seen": p[0] * 10}

    params = jnp.array([1.0, 2.0])
    jac = task_jacobian(losses, params, has_aux=True)
    assert jac.names == ("z", "a")
    np.testing.assert_array_equal(jac.aux["seen"], 10.0)
    np.testing.assert_array_equal(jac.scale(jnp.ones(2)).aux["seen"], 10.0)
    (values, aux), grads = task_grads(losses, has_aux=True)(params)
    np.testing.assert_array_equal(values, [5.0, 3.0])
    np.testing.assert_array_equal(aux["seen"], 10.0)
    np.testing.assert_array_equal(grads, [[2.0, 4.0], [1.0, 1.0]])
    assert task_jacobian(lambda p: losses(p)[0], params, main="z").aux is None


def test_weights_may_be_integers_or_of_another_precision():
    jac = task_jacobian(lambda p: (jnp.sum(p**2), jnp.sum(p)), jnp.array([1.0, 2.0]))
    stacked = as_jacobian(jac.rows())
    for weights in (np.array([3, -1]), jnp.array([3, -1], jnp.bfloat16)):
        for each in (jac, stacked):
            got = each.scale(weights).vjp(weights)  # 9 [2, 4] + [1, 1]
            np.testing.assert_array_equal(got, [19.0, 37.0])
            assert got.dtype == jnp.float32


def test_a_loss_without_parameters_has_a_row_of_zeros():
    def losses(p):
        return jnp.sum(p**2), 3.0, jnp.float32(4.0)

    jac = task_jacobian(losses, jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(jac.losses, [5.0, 3.0, 4.0])
    np.testing.assert_array_equal(jac.rows(), [[2.0, 4.0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(jac.jvp(jnp.ones(2)), [6.0, 0.0, 0.0])
    np.testing.assert_array_equal(jac.vjp(jnp.ones(3)), [2.0, 4.0])
    np.testing.assert_array_equal(jac.gramian(), np.diag([20.0, 0, 0]))


def test_the_same_loss_twice():
    def losses(p):
        loss = jnp.sum(p**2)
        return loss, loss

    jac = task_jacobian(losses, jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(jac.gramian(), np.full((2, 2), 20.0))
    np.testing.assert_array_equal(jac.vjp(jnp.array([1.0, 2.0])), [6.0, 12.0])
    scaled = jac.scale(jnp.array([1.0, -3.0])).rows()
    np.testing.assert_array_equal(scaled, [[2.0, 4.0], [-6.0, -12.0]])


def test_rows_that_look_alike_but_hold_other_constants():
    """Equal programs with other numbers inside must not be taken for the same."""
    tables = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    p = jnp.array([0.3, -0.7, 1.1])

    def jitted(c):
        return jax.jit(lambda w: jnp.sum(jnp.sin(w * c)))

    def scanned(c):
        step = lambda w, _: (jnp.sin(w * c), None)  # noqa: E731
        return lambda w: jnp.sum(jax.lax.scan(step, w, None, length=2)[0])

    def branched(c):
        yes, no = (lambda w: jnp.sum(w * w * c)), (lambda w: jnp.sum(w))
        return lambda w: jax.lax.cond(w[0] > 0, yes, no, w)

    def checkpointed(c):
        return jax.checkpoint(lambda w: jnp.sum(jnp.sin(w * c)))

    def scalar(c):
        return lambda w: jnp.sum(w) * float(c[0])

    def indexed(c):
        return lambda w: w[int(abs(c[0]) * 100) % 3] ** 2

    for make in (jitted, scanned, branched, checkpointed, scalar, indexed):
        fs = [make(c) for c in tables]
        jac = task_jacobian(lambda w, fs=fs: tuple(f(w) for f in fs), p)
        expected = np.stack([jax.grad(f)(p) for f in fs])
        np.testing.assert_allclose(jac.rows(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["dict", "stack", "vmapped"])
def test_a_materialized_jacobian_answers_the_same(form):
    losses = {
        "dict": lambda p: {"b": jnp.sum(p["w"] ** 2 * p["h"]), "a": jnp.sum(p["w"])},
        "stack": lambda p: jnp.stack([jnp.sum(p["w"] ** 2 * p["h"]), jnp.sum(p["w"])]),
        "vmapped": lambda p: jax.vmap(lambda k: jnp.sum(p["w"] ** k * p["h"]))(
            jnp.array([1.0, 2.0])
        ),
    }[form]
    params = {"w": jnp.array([1.0, 2.0, 3.0]), "h": jnp.array(0.5)}
    lazy = task_jacobian(losses, params).scale(
        jnp.array([2.0, 3.0]), {"w": True, "h": False}
    )
    dense = lazy.materialize()
    weights, direction = jnp.array([1.5, -2.0]), jax.tree.map(jnp.cos, params)
    where = {"w": False, "h": True}
    for ask in (
        lambda j: j.vjp(weights),
        lambda j: j.jvp(direction),
        lambda j: j.jvp(direction, where),
        lambda j: j.rows(),
        lambda j: j.row(1),
        lambda j: j.gramian(),
        lambda j: j.norms(where),
        lambda j: j.scale(weights, where).vjp(weights),
    ):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
            ask(dense), ask(lazy),
        )  # fmt: skip
    assert dense.shared_mask() == lazy.shared_mask()
    assert dense.names == lazy.names
