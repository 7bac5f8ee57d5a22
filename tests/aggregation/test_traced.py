"""Hyper-parameters that are known only while the program runs; donated states."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax.aggregation._checks import check_integer

ROWS = np.array(
    [[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [2.0, -4.0, -2.0, 16.0]]
)
VECTORS = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.4], [1.0, 1.0, 1.0]])
STATIC = ("num_tasks", "num_steps", "objectives")
descent = functools.partial(auxjax.sdmgrad, 3, learning_rate=0.2)

CASES = {  # what is varied: the factory, the argument, its values
    "c": (auxjax.cagrad, "c", [0.0, 0.4, 1.5]),
    "lam": (functools.partial(auxjax.sdmgrad, 3), "lam", [0.0, 0.3, 2.0]),
    "lam, descent": (descent, "lam", [0.0, 0.3, 2.0]),
    "learning_rate": (
        functools.partial(auxjax.sdmgrad, 3),
        "learning_rate",
        [0.1, 0.5, 1.0],
    ),
    "momentum": (descent, "momentum", [0.0, 0.5, 0.9]),
    "beta": (functools.partial(auxjax.gradvac, num_tasks=3), "beta", [0.0, 0.5, 1.0]),
    "tau": (functools.partial(auxjax.pcd, num_tasks=3), "tau", [0.0, 0.1, 0.9]),
    "tau, each": (functools.partial(auxjax.pcd, num_tasks=3), "tau", VECTORS[:, 1:]),
    "beta, pcd": (functools.partial(auxjax.pcd, 0.5, 3), "beta", [0.0, 0.5, 0.9]),
    "eps": (functools.partial(auxjax.pcd, 0.5, 3), "eps", [0.0, 1e-8, 1.0]),
    "beta, db_mtl": (
        functools.partial(auxjax.db_mtl, 3, log=False),
        "beta",
        [0.0, 0.5, 0.9],
    ),
    "eps, db_mtl": (
        functools.partial(auxjax.db_mtl, 3, log=False),
        "eps",
        [0.0, 1e-8, 1.0],
    ),
    "alpha": (auxjax.fairgrad, "alpha", [0.5, 1.0, 3.0]),
    "max_norm": (auxjax.nash_mtl, "max_norm", [0.1, 1.0, 10.0]),
    "dualproj": (auxjax.dualproj, "regularisation", [0.0, 1e-3, 0.1]),
    "upgrad": (auxjax.upgrad, "regularisation", [0.0, 1e-3, 0.1]),
    "leak": (auxjax.graddrop, "leak", VECTORS),
    "tracking_rate": (
        functools.partial(auxjax.moco, 3),
        "tracking_rate",
        [0.1, 0.5, 1.0],
    ),
    "learning_rate, moco": (
        functools.partial(auxjax.moco, 3, tracking_rate=1.0),
        "learning_rate",
        [0.0, 0.01, 0.1],
    ),
    "regularisation, moco": (
        functools.partial(auxjax.moco, 3, learning_rate=0.01, tracking_rate=1.0),
        "regularisation",
        [0.0, 1.0, 10.0],
    ),
    "fraction": (auxjax.trimmed_mean, "fraction", [0.0, 0.34, 0.4]),
    "preference, dualproj": (auxjax.dualproj, "preference", VECTORS),
    "preference, upgrad": (auxjax.upgrad, "preference", VECTORS),
    "preference, con_fig": (auxjax.con_fig, "preference", VECTORS),
    "preference, aligned_mtl": (auxjax.aligned_mtl, "preference", VECTORS),
}
every_case = pytest.mark.parametrize("name", list(CASES))


def two_updates(tx, dtype="float32"):
    """The second one knows the first: `beta` counts from there on."""
    rows = jnp.asarray(ROWS, dtype)
    state = tx.init(rows[0])
    first, state = tx.update(rows, state)
    second, _ = tx.update(rows[::-1], state)
    return jnp.stack([first, second])


@every_case
def test_many_at_once_are_each_alone(name):
    factory, argument, values = CASES[name]
    run = jax.jit(lambda value: two_updates(factory(**{argument: value})))
    found = jax.vmap(run)(jnp.asarray(values, jnp.float32))
    for mine, value in zip(found, values, strict=True):
        known = value if np.ndim(value) else float(value)
        expected = two_updates(factory(**{argument: known}))
        np.testing.assert_allclose(mine, expected, rtol=2e-4, atol=2e-5)
    assert np.ptp(np.asarray(found), axis=0).max() > 1e-4  # it makes a difference


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float64") for name in CASES), ("c", "bfloat16"), ("beta", "bfloat16")],
)
def test_injected(name, dtype, x64):
    """As Optax schedules them: arrays of the parameters' dtype, in the state."""
    factory, argument, values = CASES[name]
    static = [x for x in STATIC if x in inspect.signature(factory).parameters]
    rows = jnp.asarray(ROWS, dtype)
    table = jnp.asarray(values)
    injected = optax.inject_hyperparams(factory, static_args=static)
    tx = injected(**{argument: lambda count: table[count]})
    state = tx.init(rows[0])
    step = jax.jit(lambda state: tx.update(rows, state, rows[0]))
    plain = None
    for value in values:
        found, state = step(state)
        assert found.dtype == rows.dtype
        if dtype == "bfloat16":
            value = np.asarray(jnp.asarray(value, dtype), np.float64)
        alone = factory(**{argument: value if np.ndim(value) else float(value)})
        plain = alone.init(rows[0]) if plain is None else plain
        expected, plain = alone.update(rows, plain, rows[0])
        tolerance = 1e-2 if dtype == "bfloat16" else 1e-7
        np.testing.assert_allclose(
            found.astype("float64"),
            expected.astype("float64"),
            rtol=tolerance,
            atol=tolerance,
        )


def test_a_number_of_tasks_cannot_be_traced():
    """Optax makes an array of every number: the error says how to keep it one."""
    with pytest.raises(ValueError, match=r'pass `static_args=\("num_tasks", \.\.\.\)`'):
        jax.jit(lambda n: check_integer("num_tasks", n))(3)
    with pytest.raises(ValueError, match=r"`num_tasks` should be an integer\. Found 2"):
        check_integer("num_tasks", 2.5)
    assert check_integer("num_tasks", np.int64(3)) == 3


def test_known_arrays_are_checked():
    with pytest.raises(ValueError, match=r"`c` should be finite and at least 0\. Fou"):
        auxjax.cagrad(jnp.array(-0.5))
    auxjax.cagrad(jnp.array(0.5))
    auxjax.cagrad(1)


def test_arguments_have_names():
    """So that a typing error is an error and `inject_hyperparams` sees them."""
    for name in DONATED:
        kinds = {
            p.kind for p in inspect.signature(getattr(auxjax, name)).parameters.values()
        }
        assert inspect.Parameter.VAR_KEYWORD not in kinds, name


DONATED = {
    "mean_tasks": {},
    "sum_tasks": {},
    "aligned_mtl": {},
    "cagrad": {},
    "con_fig": {},
    "dualproj": {},
    "fairgrad": {},
    "graddrop": {"leak": [1.0, 0.0, 0.5]},
    "gradvac": {"num_tasks": 3},
    "imtl_g": {},
    "krum": {},
    "mgda": {},
    "moco": {"num_tasks": 3},
    "nash_mtl": {},
    "pcgrad": {},
    "sdmgrad": {"num_tasks": 3, "objectives": 2},
    "trimmed_mean": {},
    "upgrad": {},
}
KEYED = ("graddrop", "gradvac", "pcgrad", "sdmgrad")


@pytest.mark.parametrize("name", list(DONATED))
def test_parameters_and_state_may_be_donated(name):
    """No buffer twice, none of the user's, none that the next `init` needs."""
    key = jax.random.key(7)
    extra = {"key": key} if name in KEYED else {}
    whole = ("sum_tasks", "mean_tasks", "moco")
    grouped = {} if name in whole else {"groups": "leaf"}
    tx = getattr(auxjax, name)(**DONATED[name], **extra, **grouped)
    tx = optax.chain(tx, optax.sgd(0.1, momentum=0.9))
    rows = {"a": jnp.asarray(ROWS, jnp.float32), "b": jnp.asarray(ROWS[::-1] * 2.0)}

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        grads, state = tx.update(rows, state, params)
        return optax.apply_updates(params, grads), state

    for init in (tx.init, jax.jit(tx.init)):
        params = jax.tree.map(lambda x: x[0] + 0.0, rows)
        state = init(params)
        for _ in range(2):
            old, old_state = params, state
            params, state = step(params, state)
            given = jax.tree.leaves((old, old_state))
            assert all(x.is_deleted() for x in given)  # they were donated indeed
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(params))
    assert not key.is_deleted()
    jax.random.uniform(key)
