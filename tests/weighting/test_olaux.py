"""OL-AUX against Algorithm 1 of Lin et al. (2019), written in NumPy, in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

STEPS, TASKS, SIZES = 12, 3, (2, 3)  # θ is two leaves
ALPHA, BETA = 0.05, 1.5


class Quadratics:
    """L_i(θ) = ½ (θ - a_i)ᵀ A_i (θ - a_i) + 1, its centre moved by the batch."""

    def __init__(self):
        rng = np.random.default_rng(7)
        roots = rng.normal(size=(TASKS, 5, 5))
        self.matrices = roots @ roots.transpose(0, 2, 1) / 5
        self.matrices[2] = self.matrices[0]
        self.centres = rng.normal(size=(TASKS, 5))
        self.centres[2] = -2 * self.centres[0]  # the third is in the first one's way
        self.batches = 0.3 * rng.normal(size=(STEPS, 5))
        self.start = rng.normal(size=5)

    def values_and_rows(self, theta, batch):
        """NumPy: losses `[T]` and gradients `[T, 5]`."""
        off = theta - self.centres - batch
        pulled = np.einsum("tij,tj->ti", self.matrices, off)
        return 0.5 * np.sum(off * pulled, axis=1) + 1.0, pulled

    def losses(self, dtype):
        """The same in JAX, of a pytree of two leaves."""
        matrices, centres = (
            jnp.asarray(x, dtype) for x in (self.matrices, self.centres)
        )

        def losses(params, batch):
            theta = jnp.concatenate([params["u"], params["v"]])
            off = theta[None] - centres - batch[None]
            return tuple(0.5 * o @ (m @ o) + 1.0 for m, o in zip(matrices, off))  # noqa: B905

        return losses

    def params(self, dtype):
        u, v = np.split(self.start, [SIZES[0]])
        return {"u": jnp.asarray(u, dtype), "v": jnp.asarray(v, dtype)}


PROBLEM = Quadratics()


def algorithm_1(n, *, log=True, init=1.0, beta=BETA, mask=1.0, clip=False, window=1):
    """Returns θ and w after each step; the line numbers are Algorithm 1's own order."""
    theta, w = PROBLEM.start.copy(), np.full(TASKS - 1, init)
    dots, past, thetas, weights = [], [], [], []
    for t in range(STEPS):
        values, rows = PROBLEM.values_and_rows(theta, PROBLEM.batches[t])
        g = rows / values[:, None] if log else rows
        past.append(g)
        smooth = np.mean(past[-window:], axis=0) * mask
        dots.append(smooth[1:] @ smooth[0])
        # θ_{t+1} ← θ_t - α∇(log L_main + Σ w_i log L_aux,i), with the w of before
        theta = theta - ALPHA * (g[0] + w @ g[1:])
        if (t + 1) % n == 0:
            rate = beta(t) if callable(beta) else beta
            w = w - rate * -ALPHA * np.sum(dots[-n:], axis=0)  # Eq. 6
            w = np.maximum(w, 0.0) if clip else w
        thetas.append(theta)
        weights.append(np.concatenate([[1.0], w]))
    return np.array(thetas), np.array(weights)


def library(
    n, dtype="float64", *, log=True, learning_rate=BETA, step_size=ALPHA, **more
):
    """The same run by auxjax, in one scan."""
    rule = auxjax.olaux(n, TASKS, learning_rate, step_size=step_size, **more)
    balance = [auxjax.scale_by_log_loss()] if log else []
    tx = optax.chain(*balance, rule, optax.sgd(ALPHA))
    losses = PROBLEM.losses(dtype)

    def body(carry, batch):
        params, state = carry
        jac = auxjax.task_jacobian(losses, params, batch)
        updates, state = tx.update(jac, state, params)
        params = optax.apply_updates(params, updates)
        theta = jnp.concatenate([params["u"], params["v"]])
        return (params, state), (theta, optax.tree.get(state, "weights"))

    params = PROBLEM.params(dtype)
    batches = jnp.asarray(PROBLEM.batches, dtype)
    _, (thetas, weights) = jax.lax.scan(body, (params, tx.init(params)), batches)
    return thetas, weights


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize(("dtype", "tol"), [("float64", 1e-12), ("float32", 1e-5)])
def test_algorithm_1(n, dtype, tol):
    with jax.enable_x64(dtype == "float64"):
        thetas, weights = library(n, dtype)
    assert thetas.dtype == weights.dtype == dtype
    expected = algorithm_1(n)
    assert np.ptp(expected[1][:, 1:]) > 0.1  # the weights do move
    np.testing.assert_allclose(thetas, expected[0], atol=tol, rtol=0)
    np.testing.assert_allclose(weights, expected[1], atol=tol, rtol=0)


VARIANTS = {
    "without log": ({"n": 3, "log": False}, {"log": False}),
    "init_weight": ({"n": 2, "init": 0.25}, {"init_weight": 0.25}),
    "clip_at_zero": (
        {"n": 1, "log": False, "beta": 2.0, "clip": True},
        {"log": False, "learning_rate": 2.0, "clip_at_zero": True},
    ),
    "unclipped": (
        {"n": 1, "log": False, "beta": 2.0},
        {"log": False, "learning_rate": 2.0},
    ),
    "schedule": (
        {"n": 2, "beta": lambda t: 0.4 * 0.5**t},
        {"learning_rate": lambda count: 0.4 * 0.5 ** count.astype(jnp.float64)},
    ),
    "where": (
        {"n": 2, "mask": np.repeat([1.0, 0.0], SIZES)},
        {"where": {"u": True, "v": False}},
    ),
    "smoothing": ({"n": 2, "window": 4}, {"smoothing": 4}),
    "smoothing where": (
        {"n": 1, "window": 3, "mask": np.repeat([0.0, 1.0], SIZES)},
        {"smoothing": 3, "where": lambda p: {"u": False, "v": True}},
    ),
    "only the product of step sizes matters": (
        {"n": 5},
        {"learning_rate": BETA * ALPHA, "step_size": 1.0},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(x64, variant):
    theirs, mine = VARIANTS[variant]
    thetas, weights = library(theirs["n"], **mine)
    expected = algorithm_1(**theirs)
    np.testing.assert_allclose(thetas, expected[0], atol=1e-12, rtol=0)
    np.testing.assert_allclose(weights, expected[1], atol=1e-12, rtol=0)


def test_the_clipped_run_reaches_zero_and_the_free_run_goes_below():
    kwargs = {"n": 1, "log": False, "beta": 2.0}
    assert algorithm_1(**kwargs)[1].min() < -0.1
    assert algorithm_1(**kwargs, clip=True)[1].min() == 0.0


# Rows in the plane: ⟨main, a⟩ = 2, ⟨main, b⟩ = -3.
ROWS = jnp.array([[1.0, 0.0], [2.0, 1.0], [-3.0, 1.0]])


def update(tx, state, rows=ROWS, **extra):
    return tx.update(rows, state, jnp.zeros(2), **extra)


def test_the_step_is_made_with_the_weights_of_before():
    tx = auxjax.olaux(n=1, num_tasks=3, learning_rate=0.1)
    state = tx.init(jnp.zeros(2))
    total, state = update(tx, state)
    np.testing.assert_allclose(total, [0.0, 2.0])  # all weights still 1
    np.testing.assert_allclose(optax.tree.get(state, "weights"), [1.0, 1.2, 0.7])
    total, state = update(tx, state)
    np.testing.assert_allclose(total, [1.0 + 2.4 - 2.1, 1.2 + 0.7], rtol=1e-6)


def test_horizon_counts_and_resets():
    tx = auxjax.scale_by_olaux(n=3, num_tasks=3, learning_rate=0.1)
    state = tx.init(jnp.zeros(2))
    seen = []
    for _ in range(6):
        _, state = update(tx, state)
        seen.append((int(state.count), state.weights[1].item(), state.statistic[1]))
    np.testing.assert_allclose(
        np.array(seen, float),
        [(1, 1, 2), (2, 1, 4), (3, 1.6, 0), (4, 1.6, 2), (5, 1.6, 4), (6, 2.2, 0)],
        rtol=1e-6,
    )


def test_a_shorter_horizon_does_not_scale_beta():
    """OL-AUX-1's β/5 is the user's to choose: five n=1 steps move as far as one n=5."""
    for n in (1, 5):
        tx = auxjax.olaux(n=n, num_tasks=3, learning_rate=0.1)
        state = tx.init(jnp.zeros(2))
        for _ in range(5):
            _, state = update(tx, state)
        weights = optax.tree.get(state, "weights")
        np.testing.assert_allclose(weights, [1.0, 2.0, -0.5], rtol=1e-5)


def test_the_main_task_weight_stays_one():
    tx = auxjax.olaux(n=1, num_tasks=3, init_weight=0.0, learning_rate=1.0)
    state = tx.init(jnp.zeros(2))
    np.testing.assert_array_equal(optax.tree.get(state, "weights"), [1.0, 0.0, 0.0])
    total, state = update(tx, state)
    np.testing.assert_array_equal(total, ROWS[0])
    np.testing.assert_array_equal(optax.tree.get(state, "weights"), [1.0, 2.0, -3.0])


def test_last_step_takes_every_nth_inner_product_alone():
    tx = auxjax.olaux(n=2, num_tasks=3, learning_rate=0.1, statistic="last_step")
    state = tx.init(jnp.zeros(2))
    for factor in (10.0, 1.0, 10.0, 1.0):  # only the factors 1 are looked at
        _, state = update(tx, state, factor * ROWS)
    weights = optax.tree.get(state, "weights")
    np.testing.assert_allclose(weights, [1.0, 1.4, 0.4], rtol=1e-6)


def linear(table):
    return lambda p: tuple(jnp.sum(row * p) for row in table)


SOURCES = {
    "a Jacobian": lambda calls: auxjax.task_jacobian(linear(2 * ROWS), jnp.zeros(2)),
    "stacked": lambda calls: 2 * ROWS,
    "a function": lambda calls: lambda: (calls.append(1), 2 * ROWS)[1],
    "a function to a Jacobian": lambda calls: (
        lambda: auxjax.task_jacobian(linear(2 * ROWS), jnp.zeros(2))
    ),
}


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("source", SOURCES)
def test_the_ablation_looks_at_another_jacobian(source, jit):
    """Eq. 4 on other data: its rows are twice as long, its products four times."""
    tx = auxjax.olaux(n=2, num_tasks=3, learning_rate=0.1, statistic="last_step")

    def step(state):
        return update(tx, state, statistic_jacobian=SOURCES[source]([]))

    step = jax.jit(step) if jit else step
    state = tx.init(jnp.zeros(2))
    for _ in range(2):
        total, state = step(state)
        np.testing.assert_allclose(total, ROWS.sum(0))  # the step is made by ROWS
    weights = optax.tree.get(state, "weights")
    np.testing.assert_allclose(weights, [1.0, 1.8, -0.2], rtol=1e-6)


def test_the_ablation_runs_its_function_every_nth_step_only():
    calls = []

    def compute(theta):
        calls.append(1)
        return np.asarray(2 * ROWS)

    def source():
        shape = jax.ShapeDtypeStruct(ROWS.shape, ROWS.dtype)
        return jax.pure_callback(compute, shape, jnp.zeros(()))

    tx = auxjax.olaux(n=3, num_tasks=3, statistic="last_step")
    step = jax.jit(lambda state: update(tx, state, statistic_jacobian=source)[1])
    state = tx.init(jnp.zeros(2))
    for expected in (0, 0, 1, 1, 1, 2):
        state = jax.block_until_ready(step(state))
        assert len(calls) == expected


def test_masked_out_everywhere_the_weights_rest():
    for options in ({}, {"smoothing": 2}):
        tx = auxjax.olaux(n=1, num_tasks=3, where=False, **options)
        state = tx.init(jnp.zeros(2))
        _, state = update(tx, state)
        np.testing.assert_array_equal(optax.tree.get(state, "weights"), np.ones(3))


def test_ignores_a_harmful_task():
    """Section 5.1: x² + y², a helper at (0.5, 0.5), and an adversary; N = 1, no log."""

    def losses(p):
        main = jnp.sum(p**2)
        return {"main": main, "near": jnp.sum((p - 0.5) ** 2), "adversary": -main}

    def train(rule):
        tx = optax.chain(rule, optax.sgd(0.05))

        def body(carry, _):
            p, state = carry
            jac = auxjax.task_jacobian(losses, p)
            updates, state = tx.update(jac, state, p)
            return (optax.apply_updates(p, updates), state), optax.tree.get(
                state, "weights"
            )

        p = jnp.array([-1.0, 1.5])
        (p, _), weights = jax.lax.scan(body, (p, tx.init(p)), None, length=300)
        return np.asarray(p), np.asarray(weights)

    equal, _ = train(auxjax.fixed([1.0, 1.0, 1.0]))
    np.testing.assert_allclose(
        equal, [0.5, 0.5], atol=1e-3
    )  # main and adversary cancel
    learned, weights = train(auxjax.olaux(n=1, num_tasks=3, learning_rate=0.05))
    assert np.linalg.norm(learned) < 0.2 * np.linalg.norm(equal)
    assert np.all(np.diff(weights[:, 2]) <= 0)
    assert weights[-1, 2] < 0 < weights[:, 1].max() - 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n": 0}, "`n` should be at least 1. Found 0."),
        ({"num_tasks": 1}, "`num_tasks` should be at least 2, the main task and one"),
        ({"smoothing": 0}, "`smoothing` should be at least 1. Found 0."),
        ({"statistic": "mean"}, '`statistic` should be "n_step" or "last_step". F'),
    ],
)
def test_bad_arguments(kwargs, message):
    for make in (auxjax.olaux, auxjax.scale_by_olaux):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(**kwargs)


def test_the_statistic_must_be_of_the_same_tasks():
    tx = auxjax.olaux(n=1, num_tasks=3, statistic="last_step")
    with pytest.raises(ValueError, match="`num_tasks` should be 2"):
        update(tx, tx.init(jnp.zeros(2)), statistic_jacobian=ROWS[:2])


def test_a_statistic_jacobian_that_would_be_ignored_is_an_error():
    params = jnp.ones(2)
    grads = jnp.ones((2, 2))
    for options in ({}, {"statistic": "last_step", "smoothing": 2}):
        tx = auxjax.scale_by_olaux(2, 2, **options)
        with pytest.raises(ValueError, match="statistic_jacobian"):
            tx.update(grads, tx.init(params), params, statistic_jacobian=grads)
