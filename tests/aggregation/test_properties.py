"""What each aggregator promises, on rows of small integers, so that ties are common.

To add one: a line in `CASES`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import strategies as st

import auxjax

PERMUTATION = "the order of the tasks does not matter"
HOMOGENEOUS = "A(c J) = c^k A(J) for c > 0, k the case's degree"
SCALING = "linear under scaling: A(diag(c) J) is linear in c > 0"
NON_CONFLICTING = "no task is harmed: ⟨A(J), gᵢ⟩ ≥ 0"
NON_CONFLICTING_IF_INDEPENDENT = "likewise, where the rows are linearly independent"
STATIONARY = "A(J) = 0 where a positive combination of the rows is 0"
NOWHERE_ELSE = "A(J) = 0 only where a convex combination of the rows is 0"
SCALE_FREE = "A(diag(c) J) = A(J) for c > 0, where the rows are linearly independent"


class Case(NamedTuple):
    name: str
    make: Callable[[int], Any]  # from the number of tasks to the aggregator
    promises: frozenset[str]
    num_tasks: tuple[int, ...] = (3, 5)
    degree: float = 1.0  # of A(c J) in c


def case(name, make, *promises, num_tasks=(3, 5), degree=1.0):
    return Case(name, make, frozenset(promises), num_tasks, degree)


CASES = [
    case(
        "sum",
        lambda t: auxjax.sum_tasks(),
        *(PERMUTATION, HOMOGENEOUS, SCALING, NOWHERE_ELSE),
    ),
    case(
        "mean",
        lambda t: auxjax.mean_tasks(),
        *(PERMUTATION, HOMOGENEOUS, SCALING, NOWHERE_ELSE),
    ),
    case(
        "mgda",
        lambda t: auxjax.mgda(),
        *(PERMUTATION, HOMOGENEOUS, NON_CONFLICTING, STATIONARY, NOWHERE_ELSE),
    ),
    case(
        "upgrad",
        lambda t: auxjax.upgrad(),
        *(PERMUTATION, HOMOGENEOUS, SCALING, NON_CONFLICTING),
        *(STATIONARY, NOWHERE_ELSE),
    ),
    case(
        "dualproj",
        lambda t: auxjax.dualproj(),
        *(PERMUTATION, HOMOGENEOUS, NON_CONFLICTING, STATIONARY, NOWHERE_ELSE),
    ),
    case(
        "cagrad",
        lambda t: auxjax.cagrad(),
        *(PERMUTATION, HOMOGENEOUS, NOWHERE_ELSE),
    ),
    case(
        "cagrad, c=1.5",
        lambda t: auxjax.cagrad(c=1.5),
        *(PERMUTATION, HOMOGENEOUS, NON_CONFLICTING, STATIONARY, NOWHERE_ELSE),
    ),
    case(
        "nash_mtl",
        lambda t: auxjax.nash_mtl(),
        *(PERMUTATION, HOMOGENEOUS, SCALE_FREE, NON_CONFLICTING_IF_INDEPENDENT),
        NOWHERE_ELSE,
        degree=0.0,
    ),
    case(
        "fairgrad",
        lambda t: auxjax.fairgrad(),
        *(PERMUTATION, HOMOGENEOUS, NON_CONFLICTING_IF_INDEPENDENT, NOWHERE_ELSE),
        degree=1 - 2 / (1 + 1 / 2),
    ),
    case("pcgrad", lambda t: auxjax.pcgrad(), HOMOGENEOUS, SCALING, NOWHERE_ELSE),
    case(
        "pcgrad, two tasks",
        lambda t: auxjax.pcgrad(),
        *(PERMUTATION, NON_CONFLICTING, STATIONARY),
        num_tasks=(2,),
    ),
    case(
        "gradvac",
        lambda t: auxjax.gradvac(num_tasks=t),
        *(HOMOGENEOUS, SCALING, NOWHERE_ELSE),
    ),
    case(
        "gradvac, two tasks",
        lambda t: auxjax.gradvac(),
        *(PERMUTATION, NON_CONFLICTING, STATIONARY),
        num_tasks=(2,),
    ),
    case("graddrop", lambda t: auxjax.graddrop(), PERMUTATION, HOMOGENEOUS),
    case("imtl_g", lambda t: auxjax.imtl_g(), PERMUTATION, HOMOGENEOUS),
    case(
        "imtl_g, two tasks",
        lambda t: auxjax.imtl_g(),
        *(NON_CONFLICTING, STATIONARY),
        num_tasks=(2,),
    ),
    *(
        case(
            f"aligned_mtl, {mode}",
            functools.partial(lambda mode, t: auxjax.aligned_mtl(mode), mode),
            *(PERMUTATION, HOMOGENEOUS),
        )
        for mode in ("min", "median", "rmse")
    ),
    case(
        "con_fig",
        lambda t: auxjax.con_fig(),
        *(PERMUTATION, HOMOGENEOUS, SCALING, NON_CONFLICTING_IF_INDEPENDENT),
    ),
    case(
        "con_fig, two tasks",
        lambda t: auxjax.con_fig(),
        *(NON_CONFLICTING, STATIONARY),
        num_tasks=(2,),
    ),
    case(
        "db_mtl",
        lambda t: auxjax.db_mtl(t, beta=0.5, log=False, eps=0.0),
        *(PERMUTATION, HOMOGENEOUS),
    ),
    case("pcd", lambda t: auxjax.pcd(0.1, t, eps=0.0), HOMOGENEOUS),
    case(
        "pcd, two tasks",
        lambda t: auxjax.pcd(0.1, t, eps=0.0),
        *(HOMOGENEOUS, NON_CONFLICTING),
        num_tasks=(2,),
    ),
    case(
        "sdmgrad",
        auxjax.sdmgrad,
        *(PERMUTATION, HOMOGENEOUS, NOWHERE_ELSE),
    ),
    case("krum", lambda t: auxjax.krum(), HOMOGENEOUS),
    case(
        "trimmed_mean",
        lambda t: auxjax.trimmed_mean(fraction=1 / 3),
        *(PERMUTATION, HOMOGENEOUS),
    ),
]
DIM = 4


def promised(promise):
    """The cases that make a promise, once for every number of tasks."""
    pairs = [(c, t) for c in CASES if promise in c.promises for t in c.num_tasks]
    ids = [f"{c.name}, T={t}" for c, t in pairs]
    return pytest.mark.parametrize(("case", "num_tasks"), pairs, ids=ids)


@functools.cache
def compiled(name, num_tasks, dtype):
    """The first gradient of an aggregator, from rows `[T, DIM]`."""
    (found,) = (c for c in CASES if c.name == name)
    tx = found.make(num_tasks)
    return jax.jit(lambda rows: tx.update(rows, tx.init(jnp.zeros(DIM, dtype)))[0])


def aggregate(case, rows):
    """In float64: the promises hold in exact arithmetic."""
    rows = np.asarray(rows, np.float64)
    with jax.enable_x64(True):
        return np.asarray(compiled(case.name, len(rows), "float64")(jnp.asarray(rows)))


# Where the tasks cannot all be helped, these have no solution or a step that is the
# small difference of large vectors: it is 0 up to a share of the rows' lengths.
LOOSE = ("fairgrad", "nash_mtl", "cagrad")


def same(case, found, expected, scale, *, stationary=False):
    loose = stationary and case.name.startswith(LOOSE)
    share = 1e-5 if loose else 1e-9
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=share * (1 + scale))


def integers(num_tasks):
    row = st.lists(st.integers(-4, 4), min_size=DIM, max_size=DIM)
    rows = st.lists(row, min_size=num_tasks, max_size=num_tasks)
    return rows.map(lambda x: np.array(x, np.float64))


def factors(num_tasks):
    number = st.sampled_from([0.1, 0.5, 1.0, 2.0, 7.0, 30.0])
    return st.lists(number, min_size=num_tasks, max_size=num_tasks).map(np.array)


def is_stationary(rows):
    """Whether a convex combination of the rows is 0, one of them being 0 included."""
    # The shortest, by least squares with Σw = 1 as a heavy row.
    heavy = 1e4 * (1 + np.abs(rows).max())
    system = np.concatenate([rows.T, np.full((1, len(rows)), heavy)])
    w, _ = scipy.optimize.nnls(system, np.append(np.zeros(DIM), heavy), maxiter=1000)
    return np.linalg.norm(w @ rows) < 1e-3


def check(test):
    """Runs `test` on examples that are the same every time."""
    settings = hypothesis.settings(
        max_examples=30, deadline=None, derandomize=True, database=None
    )
    settings(test)()


@promised(PERMUTATION)
def test_permutation(case, num_tasks):
    @hypothesis.given(integers(num_tasks), st.permutations(range(num_tasks)))
    def test(rows, order):
        found = aggregate(case, rows[list(order)])
        largest, hopeless = np.abs(rows).max(), is_stationary(rows)
        same(case, found, aggregate(case, rows), largest, stationary=hopeless)

    check(test)


@promised(HOMOGENEOUS)
def test_homogeneous(case, num_tasks):
    @hypothesis.given(integers(num_tasks), st.sampled_from([1e-3, 0.3, 5.0, 1e3]))
    def test(rows, factor):
        hypothesis.assume(case.degree == 1 or not is_stationary(rows))
        expected = aggregate(case, rows)
        found = aggregate(case, factor * rows) / factor**case.degree
        largest, hopeless = np.abs(rows).max(), is_stationary(rows)
        same(case, found, expected, largest, stationary=hopeless)

    check(test)


@promised(SCALING)
def test_linear_under_scaling(case, num_tasks):
    @hypothesis.given(integers(num_tasks), factors(num_tasks), factors(num_tasks))
    def test(rows, first, second):
        parts = [aggregate(case, c[:, None] * rows) for c in (first, second)]
        found = aggregate(case, (first + second)[:, None] * rows)
        same(case, found, sum(parts), 60 * np.abs(rows).max())

    check(test)


def harm(case, rows):
    """How much the worst-off task is harmed, as a cosine; 0 or less: none is."""
    g = aggregate(case, rows)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(g)
    return np.max(-(rows @ g) / np.where(lengths > 1e-6, lengths, 1.0))


@promised(NON_CONFLICTING)
def test_non_conflicting(case, num_tasks):
    @hypothesis.given(integers(num_tasks))
    def test(rows):
        assert harm(case, rows) <= 1e-6

    check(test)


@promised(NON_CONFLICTING_IF_INDEPENDENT)
def test_non_conflicting_if_independent(case, num_tasks):
    if num_tasks > DIM:
        num_tasks = DIM

    @hypothesis.given(integers(num_tasks))
    def test(rows):
        hypothesis.assume(np.linalg.matrix_rank(rows) == num_tasks)
        assert harm(case, rows) <= 1e-6

    check(test)


@promised(STATIONARY)
def test_stationary(case, num_tasks):
    @hypothesis.given(integers(num_tasks - 1), factors(num_tasks - 1))
    def test(rows, weights):
        rows = np.concatenate([rows, -(weights @ rows)[None]])
        same(case, aggregate(case, rows), 0.0, np.abs(rows).max(), stationary=True)

    check(test)


@promised(NOWHERE_ELSE)
def test_stationary_nowhere_else(case, num_tasks):
    @hypothesis.given(integers(num_tasks))
    def test(rows):
        hypothesis.assume(not is_stationary(rows))
        assert np.linalg.norm(aggregate(case, rows)) > 1e-6

    check(test)


@promised(SCALE_FREE)
def test_scale_free(case, num_tasks):
    num_tasks = min(num_tasks, DIM)

    @hypothesis.given(integers(num_tasks), factors(num_tasks))
    def test(rows, scale):
        hypothesis.assume(np.linalg.matrix_rank(rows) == num_tasks)
        found = aggregate(case, scale[:, None] * rows)
        same(case, found, aggregate(case, rows), 1.0)

    check(test)


# What everybody promises.

ROWS = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])
DEGENERATE = {
    "zero": np.zeros((3, DIM)),
    "a zero row": ROWS * [[1.0], [0.0], [1.0]],
    "equal": np.tile(ROWS[0], (3, 1)),
    "opposed": np.stack([ROWS[0], -ROWS[0], ROWS[0]]),
    "in a plane": np.stack([ROWS[0], ROWS[1], ROWS[0] + ROWS[1]]),
    "tiny": ROWS * 1e-10,
    "huge": ROWS * 1e10,
    "tiny and huge": ROWS * [[1e-10], [1.0], [1e10]],
}
EVERY = pytest.mark.parametrize(
    "case", [c for c in CASES if 3 in c.num_tasks], ids=lambda case: case.name
)


def first_gradient(case, rows):
    run = compiled(case.name, len(rows), "float32")
    return np.asarray(run(jnp.asarray(rows, jnp.float32)))


@EVERY
def test_degenerate_rows_give_finite_gradients(case):
    for name, rows in DEGENERATE.items():
        found = first_gradient(case, rows)
        assert found.dtype == jnp.float32, name
        assert np.all(np.isfinite(found)), name
        if name == "zero":
            np.testing.assert_array_equal(found, np.zeros(DIM))
        elif case.degree == 1:
            assert np.abs(found).max() <= 100 * np.abs(rows).max(), name


@EVERY
def test_one_task_alone_keeps_its_direction(case):
    tx = case.make(1)
    row = np.array([[1.0, -2.0, 0.5, 3.0]], np.float32)
    found, _ = tx.update(jnp.asarray(row), tx.init(jnp.zeros(DIM)))
    found = np.asarray(found)
    cosine = found @ row[0] / np.linalg.norm(found) / np.linalg.norm(row[0])
    np.testing.assert_allclose(cosine, 1.0, rtol=1e-5)


@EVERY
def test_without_jit(case):
    tx = case.make(3)
    rows = jnp.asarray(ROWS, jnp.float32)
    found, _ = tx.update(rows, tx.init(jnp.zeros(DIM)))
    np.testing.assert_allclose(found, first_gradient(case, ROWS), rtol=1e-4, atol=1e-4)


@EVERY
def test_many_models_and_many_updates(case):
    """Under `vmap`, each with a state of its own, which a scan can carry."""
    tx = case.make(3)
    many = jnp.asarray(np.stack([ROWS, -ROWS, ROWS[::-1]]), jnp.float32)

    def train(rows):
        def step(state, _):
            g, state = tx.update(rows, state)
            return state, g

        return jax.lax.scan(step, tx.init(rows[0]), length=2)[1]

    found = jax.jit(jax.vmap(train))(many)
    assert found.shape == (3, 2, DIM)
    assert np.all(np.isfinite(found))
    expected = [first_gradient(case, rows) for rows in np.asarray(many)]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-4)


@EVERY
def test_an_absent_task_is_a_task_less(case):
    """Two of three are left: the order of the others leaves no choice."""
    tx = case.make(3)
    rows = jnp.asarray(ROWS, jnp.float32)
    update = jax.jit(lambda mask: tx.update(rows, tx.init(rows[0]), task_mask=mask)[0])
    for absent in range(3):
        left = np.delete(np.arange(3), absent)
        found = update(jnp.arange(3) != absent)
        expected = first_gradient(case, rows[left])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
