"""What weightings promise a main task, on gradients of every kind.

An auxiliary task that is the main task's enemy loses weight, and cosine gating never
gives up the main task's own descent.
"""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import auxjax

TASKS, DIM = 3, 4
sgd = optax.sgd(0.1)


def check(test):
    """Runs `test` on examples that are the same every time."""
    settings = hypothesis.settings(
        max_examples=30, deadline=None, derandomize=True, database=None
    )
    settings(test)()


numbers = st.lists(st.integers(-4, 4), min_size=DIM, max_size=DIM).map(
    lambda x: np.array(x, np.float64)
)

# Each with the field of its state that is the enemy's weight after the step.
ENEMIES = {
    "olaux": (lambda: auxjax.olaux(1, TASKS, 0.01), "weights"),
    "olaux, n = 2": (lambda: auxjax.olaux(2, TASKS, 0.01), "weights"),
    "olaux, cosines": (
        lambda: auxjax.olaux(1, TASKS, 0.01, inner_products="cosine"),
        "weights",
    ),
    "gcs": (lambda: auxjax.gcs(num_tasks=TASKS), "weights"),
    "gcs weighted": (lambda: auxjax.gcs(True, num_tasks=TASKS), "weights"),
    "gcs sketch": (
        lambda: auxjax.gcs(True, ema=0.9, num_tasks=TASKS, sketch=2),
        "weights",
    ),
    "scale_by_autolambda": (
        lambda: optax.chain(
            auxjax.scale_by_autolambda(0.01, num_tasks=TASKS, lambda_optimizer=sgd),
            auxjax.sum_tasks(),
        ),
        "weights",
    ),
    "autolambda": (
        lambda: auxjax.autolambda(
            optax.sgd(0.01, momentum=0.9), num_tasks=TASKS, lambda_optimizer=sgd
        ),
        "weights",
    ),
    "slgrad": (lambda: auxjax.slgrad(TASKS), "weights"),
    "auxilearn": (
        lambda: auxjax.auxilearn(TASKS, every=1, init_weight=0.1, optimizer=sgd),
        "network",
    ),
}


@functools.cache
def trained(name):
    """Two steps at the same place; the enemy is minus the main task and a constant."""
    make, field = ENEMIES[name]
    tx = make()

    def losses(params, other):
        main = 0.5 * jnp.sum(params**2)
        return main, 100.0 - main, 0.5 * jnp.sum((params - other) ** 2)

    @jax.jit
    def run(params, other):
        jac = auxjax.task_jacobian(losses, params, other)
        extra = {"meta_losses": lambda p: losses(p, other)}
        if name == "slgrad":
            extra["sample_losses"] = lambda p: [c[None] for c in losses(p, other)]
        state = tx.init(params)
        before = optax.tree.get(state, field)
        for _ in range(2):
            _, state = tx.update(jac, state, params, **extra)
        return before, optax.tree.get(state, field)

    return run


@pytest.mark.parametrize("name", ENEMIES)
def test_the_weight_of_a_negated_main_task_falls(name):
    @hypothesis.given(numbers, numbers)
    def test(params, other):
        hypothesis.assume(np.any(params != 0))
        with jax.enable_x64(True):
            before, after = trained(name)(jnp.asarray(params), jnp.asarray(other))
        assert after[1] < before[1]

    check(test)


@functools.cache
def bargain():
    """AuxiNash on a main task and two others, of which the first works against it."""
    tx = auxjax.auxinash(TASKS, every=1, optimizer=optax.sgd(1e-3))

    def losses(params, away, other):
        main = 0.5 * jnp.sum(params**2)
        return (
            main,
            -0.5 * main + params @ away,
            0.5 * jnp.sum((params - other) ** 2),
        )

    @jax.jit
    def run(params, away, other):
        jac = auxjax.task_jacobian(losses, params, away, other)
        state = tx.init(params)
        meta = lambda p: losses(p, away, other)  # noqa: E731
        _, state = tx.update(jac, state, params, meta_losses=meta)
        return state[0].preference, jac.gramian()

    return run


def test_an_enemy_of_the_main_task_loses_its_power_to_bargain():
    """Minus the main gradient itself leaves nothing to bargain about."""

    @hypothesis.given(numbers, numbers, numbers)
    def test(params, away, other):
        with jax.enable_x64(True):
            given = (params, away, other)
            p, gramian = bargain()(*(jnp.asarray(x) for x in given))
        gramian = np.asarray(gramian)
        lengths = np.sqrt(np.diag(gramian))
        hypothesis.assume(np.all(lengths > 0))
        cosines = gramian / np.outer(lengths, lengths)
        hypothesis.assume(cosines[0, 1] < -0.2)
        hypothesis.assume(np.linalg.eigvalsh(cosines)[0] > 0.05)
        hypothesis.assume(cosines[0, 2] > 0)
        assert p[1] < p[0]

    check(test)


GATES = {
    "gcs": lambda: auxjax.gcs(num_tasks=TASKS),
    "gcs, threshold": lambda: auxjax.gcs(threshold=0.3, num_tasks=TASKS),
    "gcs weighted": lambda: auxjax.gcs(True, num_tasks=TASKS),
    "slgrad": lambda: auxjax.slgrad(TASKS),
}


@functools.cache
def gated(name):
    tx = GATES[name]()

    def losses(params, rows):
        return tuple(rows @ params)

    @jax.jit
    def run(rows):
        params = jnp.zeros(DIM)
        extra = {}
        if name == "slgrad":
            extra["meta_losses"] = lambda p: losses(p, rows)
            extra["sample_losses"] = lambda p: [c[None] for c in losses(p, rows)]
        jac = auxjax.task_jacobian(losses, params, rows)
        return tx.update(jac, tx.init(params), params, **extra)[0]

    return run


@pytest.mark.parametrize("name", GATES)
def test_gating_never_raises_the_main_loss_to_first_order(name):
    """⟨∇L_main, step⟩ ≥ 0, and with GCS at least what the main task has alone."""

    @hypothesis.given(st.lists(numbers, min_size=TASKS, max_size=TASKS))
    def test(rows):
        rows = np.array(rows)
        with jax.enable_x64(True):
            step = np.asarray(gated(name)(jnp.asarray(rows)))
        least = 0.0 if name == "slgrad" else rows[0] @ rows[0]
        assert rows[0] @ step >= least - 1e-10

    check(test)
