"""PCD against a solver that tries all sets of constraints, and against TorchJD."""

import itertools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import auxjax

GOLDEN = json.loads(
    (Path(__file__).parent / "golden" / "torchjd_main_task.json").read_text()
)["PCD"]


def closest(rows, taus):
    """argmin ½‖d − g₀‖² with ⟨gⱼ, d⟩ ≥ τⱼ‖gⱼ‖²: each set of constraints as equations.

    The nearest of all the points that come out of this and are allowed; None where no
    point is.
    """
    main, others = rows[0], rows[1:]
    least = taus * np.sum(others**2, axis=1)
    best = None
    for size in range(len(others) + 1):
        for chosen in map(list, itertools.combinations(range(len(others)), size)):
            a = others[chosen]
            d = main + np.linalg.lstsq(a, least[chosen] - a @ main, rcond=None)[0]
            allowed = np.all(others @ d >= least - 1e-9 * (1 + np.abs(others).max()))
            if allowed and (
                best is None
                or np.linalg.norm(d - main) < np.linalg.norm(best - main) - 1e-12
            ):
                best = d
    return best


class Paper:
    """Algorithm 1, a step after another, on rows `[T, n]` in float64."""

    def __init__(self, tau, beta=0.999, eps=1e-8):
        self.tau, self.beta, self.eps = tau, beta, eps
        self.v, self.t = 0.0, 0

    def step(self, rows):
        squares = np.sum(rows**2, axis=1)
        self.t += 1
        self.v = self.beta * self.v + (1 - self.beta) * squares
        s = 1 / np.sqrt(self.v / (1 - self.beta**self.t) + self.eps)
        scaled = s[:, None] * rows
        taus = np.broadcast_to(self.tau, (len(rows) - 1,))
        d = closest(scaled, taus)
        d = scaled[0] if d is None else d
        return d * np.linalg.norm(rows[0]) / np.linalg.norm(d)


def run(tx, steps, dtype="float64"):
    """The gradients of one step after another, compiled."""
    update = jax.jit(tx.update)
    state, found = tx.init(jnp.zeros(steps.shape[-1], dtype)), []
    for rows in steps:
        d, state = update(jnp.asarray(rows, dtype), state)
        found.append(np.asarray(d))
    return np.array(found), state


OPTIONS = [
    {"tau": 0.02},
    {"tau": 0.0},
    {"tau": 1.0},
    {"tau": 0.4, "beta": 0.9, "eps": 1e-2},
    {"tau": 0.1, "beta": 0.0},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", [(2, 3), (3, 8), (6, 12)])
def test_equals_algorithm_1(x64, options, shape):
    rng = np.random.default_rng(shape[0])
    steps = rng.normal(size=(6, *shape)) * 10.0 ** rng.uniform(-1, 1, (6, shape[0], 1))
    paper = Paper(**options)
    expected = np.array([paper.step(rows) for rows in steps])
    plain = steps[:, 0] / np.linalg.norm(steps[:, 0], axis=1, keepdims=True)
    turned = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.min(np.sum(plain * turned, axis=1)) < 0.999  # a constraint was at work
    found, state = run(auxjax.pcd(num_tasks=shape[0], **options), steps)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(state[0].squares, paper.v, rtol=1e-12)
    np.testing.assert_array_equal(state[0].steps, np.full(shape[0], 6))


def test_a_share_for_each_task(x64):
    rows = np.random.default_rng(1).normal(size=(4, 9))
    for tau in ([0.0, 0.3, 0.9], np.array([0.5, 0.0, 0.0]), jnp.array([0.1, 0.2, 0.3])):
        found, _ = run(auxjax.pcd(tau, 4), rows[None])
        np.testing.assert_allclose(
            found[0], Paper(np.asarray(tau)).step(rows), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("kind", ["normal", "alike", "duplicated", "unequal lengths"])
@pytest.mark.parametrize("shape", [(5, 3), (12, 30), (40, 100)])
def test_the_conditions_of_an_optimum(x64, make_rows, kind, shape):
    """d = g₀ + Σ μⱼgⱼ with μ ≥ 0, every constraint holds, μⱼ > 0 only where it binds.

    Where a linear program finds no direction that keeps the constraints, d is g₀.
    """
    tau = 0.05
    for seed in range(4):
        rows = make_rows(*shape, kind, seed)
        w = np.asarray(auxjax.pcd_weights(jnp.asarray(rows @ rows.T), tau=tau))
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        c = w * np.linalg.norm(rows, axis=1)
        feasible = scipy.optimize.linprog(
            np.zeros(shape[1]),
            A_ub=-unit[1:],
            b_ub=np.full(shape[0] - 1, -tau),
            bounds=(None, None),
        ).success
        if not feasible:
            np.testing.assert_allclose(w[0], 1.0, rtol=1e-12)
            np.testing.assert_array_equal(w[1:], 0.0)
            continue
        mu, d = c[1:] / c[0], unit.T @ (c / c[0])
        slack = unit[1:] @ d - tau
        assert np.all(mu >= 0)
        assert np.all(slack >= -1e-8 * (1 + np.abs(mu).max()))
        assert np.all(np.abs(mu * slack) <= 1e-7 * (1 + mu.max()) ** 2)
        np.testing.assert_allclose(
            np.linalg.norm(w @ rows), np.linalg.norm(rows[0]), rtol=1e-6
        )


def test_by_hand(x64):
    """Opposed unit gradients: d̃ = g₀ + μg₁ with ⟨g₁, d̃⟩ = −1 + μ = τ."""
    rows = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    for tau, direction in ((0.5, -1.0), (0.0, 0.0)):
        d = auxjax.pcd_weights(rows @ rows.T, tau=tau) @ rows
        np.testing.assert_allclose(d, [direction, 0.0], atol=1e-12)
    # The second is content with g₀: nothing is bent.
    content = jnp.array([[1.0, 0.0], [3.0, 1.0]])
    w = auxjax.pcd_weights(content @ content.T, tau=0.9)
    np.testing.assert_array_equal(w, [1.0, 0.0])


def test_constraints_that_contradict_each_other_are_dropped(x64):
    rows = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, -1.0]])
    gramian = jnp.asarray(rows @ rows.T)
    np.testing.assert_allclose(auxjax.pcd_weights(gramian, tau=0.1), [1, 0, 0])
    # Together they allow d₂ = 0, which asks for no share; one that does contradicts.
    np.testing.assert_allclose(auxjax.pcd_weights(gramian, tau=0.0), [1, 0, 0])
    share = jnp.array([0.1, 0.0])
    np.testing.assert_allclose(auxjax.pcd_weights(gramian, tau=share), [1, 0, 0])
    # A third way out makes them agree again.
    rows[2, 0] = 1.0
    w = auxjax.pcd_weights(jnp.asarray(rows @ rows.T), tau=0.1)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    d = closest(unit, np.full(2, 0.1))
    np.testing.assert_allclose(
        w @ rows, d * np.sqrt(2) / np.linalg.norm(d), rtol=1e-9, atol=1e-12
    )


def test_degenerate_gradients():
    for rows, expected in [
        ([[0.0, 0.0], [1.0, 2.0]], [0.0, 0.0]),  # no main gradient: no step
        ([[1.0, 2.0], [0.0, 0.0]], [1.0, 2.0]),  # nothing to be guaranteed
        ([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]),
        ([[1.0, 2.0], [3.0, 6.0]], [1.0, 2.0]),
    ]:
        for eps in (1e-8, 0.0):
            found, _ = run(auxjax.pcd(eps=eps), np.array([rows, rows]), "float32")
            np.testing.assert_allclose(found, [expected] * 2, rtol=1e-6)


def test_what_a_loss_is_multiplied_by_does_not_matter(x64):
    steps = np.random.default_rng(5).normal(size=(4, 3, 7))
    tx = auxjax.pcd(0.3, 3, eps=0.0)
    factors = np.array([1.0, 1e-3, 50.0])[:, None]
    np.testing.assert_allclose(
        run(tx, steps * factors)[0], run(tx, steps)[0], rtol=1e-9
    )


def test_an_absent_task_is_no_constraint(x64):
    rng = np.random.default_rng(2)
    rows, more = rng.normal(size=(2, 4, 6))
    tx = auxjax.pcd(0.2, 4, beta=0.5)
    state = tx.init(jnp.zeros(6))
    _, state = tx.update(jnp.asarray(rows), state)
    mask = jnp.array([True, True, False, True])
    found, after = tx.update(jnp.asarray(more), state, task_mask=mask)
    small = auxjax.pcd(0.2, 3, beta=0.5)
    _, kept = small.update(jnp.asarray(rows[[0, 1, 3]]), small.init(jnp.zeros(6)))
    expected, _ = small.update(jnp.asarray(more[[0, 1, 3]]), kept)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_array_equal(after[0].steps, [2, 2, 1, 2])
    assert after[0].squares[2] == state[0].squares[2]
    # Without the main task the second leads.
    mask = jnp.array([False, True, True, True])
    found, after = tx.update(jnp.asarray(more), state, task_mask=mask)
    small = auxjax.pcd(0.2, 3, beta=0.5)
    _, kept = small.update(jnp.asarray(rows[1:]), small.init(jnp.zeros(6)))
    expected, _ = small.update(jnp.asarray(more[1:]), kept)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_array_equal(after[0].steps, [1, 2, 2, 2])


def test_a_batch_that_is_not_finite_is_seen_and_not_remembered():
    rows = np.random.default_rng(3).normal(size=(3, 5))
    tx = auxjax.pcd(0.2, 3)
    _, state = run(tx, rows[None], "float32")
    rows[1, 2] = np.inf
    found, after = jax.jit(tx.update)(jnp.asarray(rows, jnp.float32), state)
    assert not np.all(np.isfinite(found))
    jax.tree.map(np.testing.assert_array_equal, after, state)


@pytest.mark.parametrize("case", list(GOLDEN))
def test_equals_torchjd(case):
    """Theirs is in float64, ours in float32: within 1e-4 of the longest."""
    found = GOLDEN[case]
    steps, theirs = np.array(found["jacobians"]), np.array(found["outputs"])
    mine, _ = run(
        auxjax.pcd(num_tasks=steps.shape[1], **found["options"]), steps, "float32"
    )
    lengths = np.linalg.norm(steps[:, 0], axis=-1, keepdims=True)
    np.testing.assert_allclose(mine / lengths, theirs / lengths, atol=1e-4)


def test_refusals():
    for options, message in (
        ({"tau": -0.1}, "`tau` should be in [0, 1]. Found -0.1."),
        ({"tau": [0.1, np.nan], "num_tasks": 3}, "`tau` should be in [0, 1]. Found"),
        ({"tau": [0.1, 0.2]}, "`tau` should be one number or 1, one for each task"),
        ({"num_tasks": 0}, "`num_tasks` should be at least 1. Found 0."),
        ({"beta": 1.0}, "`beta` should be in [0, 1). Found 1.0."),
        ({"eps": -1.0}, "`eps` should be finite and at least 0. Found -1.0."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            auxjax.pcd(**options)
    tx = auxjax.pcd()
    with pytest.raises(ValueError, match="`num_tasks` should be 3"):
        tx.update(jnp.ones((3, 4)), tx.init(jnp.zeros(4)))
