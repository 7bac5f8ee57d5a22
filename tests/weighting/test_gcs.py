"""GCS against Algorithms 1 and 2 of Du et al. (2018), written in NumPy, in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

STEPS, TASKS, RATE = 12, 3, 0.05


class Problem:
    """L_i = ½‖A_i u + C_i v + B_i φ_i - c_i - batch‖²: u and v shared, φ_i a head."""

    def __init__(self):
        rng = np.random.default_rng(3)
        self.a = rng.normal(size=(TASKS, 4, 3))
        self.c = rng.normal(size=(TASKS, 4, 2))
        self.b = rng.normal(size=(TASKS, 4, 2))
        self.target = rng.normal(size=(TASKS, 4))
        self.batches = 0.5 * rng.normal(size=(STEPS, 4))
        self.start = {
            "u": rng.normal(size=3),
            "v": rng.normal(size=2),
            "heads": rng.normal(size=(TASKS, 2)),
        }

    def rows(self, p, batch):
        """NumPy: the gradients of all tasks in u, v and their own head."""
        r = self.a @ p["u"] + self.c @ p["v"] - self.target - batch
        r = r + np.einsum("tij,tj->ti", self.b, p["heads"])
        return {
            "u": np.einsum("tij,ti->tj", self.a, r),
            "v": np.einsum("tij,ti->tj", self.c, r),
            "heads": np.einsum("tij,ti->tj", self.b, r),
        }

    def losses(self, dtype):
        """The same in JAX."""
        fixed = (self.a, self.b, self.c, self.target)
        tables = [[jnp.asarray(x, dtype) for x in table] for table in fixed]

        def losses(params, batch):
            return tuple(
                0.5
                * jnp.sum((a @ params["u"] + c @ params["v"] + b @ h - y - batch) ** 2)
                for a, b, c, y, h in zip(*tables, params["heads"], strict=True)
            )

        return losses

    def params(self, dtype):
        start = self.start | {"heads": list(self.start["heads"])}
        return jax.tree.map(lambda x: jnp.asarray(x, dtype), start)


PROBLEM = Problem()
SHARED = ("u", "v")


def cos(x, y):
    return x @ y / (np.linalg.norm(x) * np.linalg.norm(y))


def algorithm(*, weighted=False, threshold=0.0, ema=0.0, per_layer=False, on=SHARED):
    """Algorithm 1, or 2 if weighted: parameters, weights and cosines per step.

    `on`: where cosines are taken and gates apply; elsewhere gradients are summed.
    """
    p = {k: x.copy() for k, x in PROBLEM.start.items()}
    average = np.zeros(TASKS)
    seen = []
    for t in range(STEPS):
        g = PROBLEM.rows(p, PROBLEM.batches[t])
        if per_layer:
            now = [np.mean([cos(g[k][0], g[k][i]) for k in on]) for i in range(TASKS)]
        else:
            joint = np.concatenate([g[k] for k in on], axis=1)
            now = [cos(joint[0], joint[i]) for i in range(TASKS)]
        average = ema * average + (1 - ema) * np.array(now)
        cosines = average / (1 - ema ** (t + 1))
        w = np.where(cosines >= threshold, np.maximum(0, cosines) ** int(weighted), 0.0)
        w[0] = 1.0
        for k in SHARED:
            p[k] = p[k] - RATE * ((w if k in on else np.ones(TASKS)) @ g[k])
        p["heads"] = p["heads"] - RATE * g["heads"]  # a head gets its own gradient
        flat = np.concatenate([p["heads"].ravel(), p["u"], p["v"]])
        seen.append((flat, w, cosines))
    return [np.array(x) for x in zip(*seen, strict=True)]


def library(dtype="float64", **options):
    tx = optax.chain(auxjax.gcs(num_tasks=TASKS, **options), optax.sgd(RATE))
    losses = PROBLEM.losses(dtype)

    def body(carry, batch):
        params, state = carry
        jac = auxjax.task_jacobian(losses, params, batch)
        updates, state = tx.update(jac, state, params)
        params = optax.apply_updates(params, updates)
        gate = state[0][0]
        flat = jnp.concatenate(jax.tree.leaves(params))
        return (params, state), (flat, gate.weights, gate.cosines)

    params = PROBLEM.params(dtype)
    batches = jnp.asarray(PROBLEM.batches, dtype)
    return jax.lax.scan(body, (params, tx.init(params)), batches)[1]


VARIANTS = {
    "unweighted": {},
    "weighted": {"weighted": True},
    "negative threshold": {"threshold": -0.4, "weighted": False},
    "weighted threshold": {"weighted": True, "threshold": 0.2},
    "ema": {"ema": 0.9},
    "per layer": {"per_layer": True},
    "atari": {"weighted": True, "threshold": 0.02, "ema": 0.999, "per_layer": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_algorithms_in_float64(x64, variant):
    options = VARIANTS[variant]
    flat, weights, cosines = library(**options)
    theirs = algorithm(**options)
    assert 0 in theirs[1]  # some task is off at some step
    assert np.count_nonzero(theirs[1][:, 1:])  # and some is on
    np.testing.assert_allclose(flat, theirs[0], atol=1e-12, rtol=0)
    np.testing.assert_allclose(weights, theirs[1], atol=1e-12, rtol=0)
    if variant == "unweighted":
        assert cosines is None
    else:
        np.testing.assert_allclose(cosines, theirs[2], atol=1e-12, rtol=0)


@pytest.mark.parametrize("variant", ["unweighted", "atari"])
def test_algorithms_in_float32(variant):
    flat, weights, _ = library("float32", **VARIANTS[variant])
    assert flat.dtype == weights.dtype == jnp.float32
    theirs = algorithm(**VARIANTS[variant])
    np.testing.assert_allclose(flat, theirs[0], atol=2e-5, rtol=0)
    np.testing.assert_allclose(weights, theirs[1], atol=2e-4, rtol=0)


@pytest.mark.parametrize("options", [{}, {"weighted": True}, {"per_layer": True}])
def test_where_gates_only_what_it_names(x64, options):
    only_u = {"u": True, "v": False, "heads": False}
    flat, weights, _ = library(where=only_u, **options)
    theirs = algorithm(on=("u",), **options)
    np.testing.assert_allclose(weights, theirs[1], atol=1e-12, rtol=0)
    np.testing.assert_allclose(flat, theirs[0], atol=1e-12, rtol=0)


# cosines with the main row: 1, 0.6, 0, -0.8
ROWS = jnp.array([[2.0, 0.0], [3.0, 4.0], [0.0, 1.0], [-4.0, 3.0]])


def update(tx, rows, state=None):
    params = jnp.zeros(rows.shape[1])
    return tx.update(rows, tx.init(params) if state is None else state, params)


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, [1.0, 1.0, 1.0, 0.0]),
        ({"weighted": True}, [1.0, 0.6, 0.0, 0.0]),
        ({"threshold": 0.5}, [1.0, 1.0, 0.0, 0.0]),
        ({"threshold": 0.7}, [1.0, 0.0, 0.0, 0.0]),
        ({"threshold": -1.0}, [1.0, 1.0, 1.0, 1.0]),
        ({"threshold": -1.0, "weighted": True}, [1.0, 0.6, 0.0, 0.0]),
    ],
)
def test_gates_by_hand(options, weights):
    total, state = update(auxjax.gcs(num_tasks=4, **options), ROWS)
    np.testing.assert_allclose(optax.tree.get(state, "weights"), weights, rtol=1e-6)
    np.testing.assert_allclose(total, np.array(weights) @ np.asarray(ROWS), rtol=1e-6)


def test_gcs_weights_alone():
    cosines = jnp.array([1.0, 0.6, 0.0, -0.8])
    got = auxjax.gcs_weights(cosines, weighted=True, threshold=-1.0)
    np.testing.assert_allclose(got, [1.0, 0.6, 0.0, 0.0])
    np.testing.assert_array_equal(auxjax.gcs_weights(-cosines), [1.0, 0.0, 1.0, 1.0])


def test_a_head_keeps_its_own_gradient_when_its_task_is_off():
    def losses(p):
        z = p["trunk"]
        enemy = -z * p["heads"][1] + p["heads"][1] ** 2
        return {"main": z * p["heads"][0], "enemy": enemy}

    params = {"trunk": jnp.array(2.0), "heads": [jnp.array(3.0), jnp.array(5.0)]}
    jac = auxjax.task_jacobian(losses, params)
    for options in ({}, {"weighted": True}, {"per_layer": True}):
        tx = auxjax.gcs(**options)
        total, state = tx.update(jac, tx.init(params), params)
        np.testing.assert_array_equal(optax.tree.get(state, "weights"), [1.0, 0.0])
        np.testing.assert_array_equal(total["trunk"], 3.0)  # without -5
        np.testing.assert_array_equal(total["heads"], [2.0, 8.0])  # -2 + 2·5


def test_the_moving_average_starts_at_the_first_cosine():
    tx = auxjax.gcs(num_tasks=4, ema=0.999)
    _, state = update(tx, ROWS)
    expected = [1.0, 0.6, 0.0, -0.8]
    np.testing.assert_allclose(optax.tree.get(state, "cosines"), expected, rtol=1e-4)
    # Of two it is the mean, nearly: (0.999·0.001·c₁ + 0.001·c₂)/(1 - 0.999²).
    _, state = update(tx, ROWS * jnp.array([[1.0], [-1.0], [1.0], [1.0]]), state)
    expected = [1.0, 0.6 * (0.999 - 1) / 1.999, 0.0, -0.8]
    np.testing.assert_allclose(
        optax.tree.get(state, "cosines"), expected, rtol=1e-3, atol=1e-6
    )


def test_a_gradient_of_zero_has_cosine_zero():
    zero_last = jnp.array([[1.0, 1.0], [0.0, 0.0]])
    for rows in (zero_last, zero_last[::-1]):
        _, state = update(auxjax.gcs(ema=0.5), rows)
        cosines = np.asarray(optax.tree.get(state, "cosines"))
        assert cosines[1] == 0.0
        np.testing.assert_array_equal(optax.tree.get(state, "weights"), [1.0, 1.0])
        _, state = update(auxjax.gcs(weighted=True), rows)
        np.testing.assert_array_equal(optax.tree.get(state, "weights"), [1.0, 0.0])


def test_a_layer_with_a_zero_gradient_adds_nothing_to_the_mean():
    def losses(p):
        return jnp.sum(p["a"]) + jnp.sum(p["b"]), jnp.sum(p["a"]) + 0 * jnp.sum(p["b"])

    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    tx = auxjax.gcs(per_layer=True)
    _, state = tx.update(auxjax.task_jacobian(losses, params), tx.init(params))
    np.testing.assert_allclose(optax.tree.get(state, "cosines"), [1.0, 0.5], rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"weighted": True}, {"per_layer": True}])
def test_tasks_that_share_nothing_are_left_alone(options):
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    jac = auxjax.task_jacobian(lambda p: (jnp.sum(p["a"]), jnp.sum(p["b"])), params)
    tx = auxjax.gcs(**options)
    total, state = tx.update(jac, tx.init(params), params)
    np.testing.assert_array_equal(total["b"], [1.0, 1.0])
    assert np.all(np.isfinite(optax.tree.get(state, "weights")))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"threshold": 1.5}, "`threshold` should be in [-1, 1]. Found 1.5."),
        ({"ema": 1.0}, "`ema` should be in [0, 1). Found 1.0."),
        ({"ema": -0.1}, "`ema` should be in [0, 1). Found -0.1."),
        ({"num_tasks": 1}, "`num_tasks` should be at least 2"),
    ],
)
def test_bad_arguments(kwargs, message):
    for make in (auxjax.gcs, auxjax.scale_by_gcs):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(**kwargs)
