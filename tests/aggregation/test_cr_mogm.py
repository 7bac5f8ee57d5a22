"""CR-MOGM: against the formula in NumPy, and against TorchJD's numbers."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

GOLDEN = Path(__file__).parent / "golden" / "torchjd_cr_mogm.json"
CASES = json.loads(GOLDEN.read_text())["cases"]
RULES = {
    "UPGrad": auxjax.upgrad,
    "DualProj": auxjax.dualproj,
    "IMTLG": auxjax.imtl_g,
    "AlignedMTL": auxjax.aligned_mtl,
}
ALPHAS = (0.0, 0.5, 0.9)


def follow(tx, sequence, **extra):
    """The gradient and the kept weights, step by step."""
    update, state = jax.jit(tx.update), tx.init(jnp.zeros(sequence[0].shape[1:]))
    steps = []
    for rows in sequence:
        d, state = update(jnp.asarray(rows), state, **extra)
        steps.append((np.asarray(d), np.asarray(state.weights)))
    return steps


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_weights_are_torchjds(rule, alpha, x64):
    for name, case in CASES.items():
        rows = np.array(case["jacobians"])
        theirs = np.array(case["weights"][f"{rule}, {alpha}"])
        tx = auxjax.cr_mogm(RULES[rule](), alpha, num_tasks=rows.shape[1])
        for (d, found), expected, x in zip(follow(tx, rows), theirs, rows, strict=True):
            size = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(found, expected, atol=1e-4 * size, err_msg=name)
            length = np.sum(np.abs(expected) * np.linalg.norm(x, axis=1))
            np.testing.assert_allclose(d, expected @ x, atol=1e-4 * length)


def test_the_golden_weights_are_worth_comparing():
    """They change from step to step, and the average differs from what it averages."""
    for rule in RULES:
        changes = []
        for case in CASES.values():
            raw, smooth = (
                np.array(case["weights"][f"{rule}, {alpha}"]) for alpha in (0.0, 0.9)
            )
            changes.append(np.abs(np.diff(raw, axis=0)).max())
            assert (np.abs(raw - smooth).max() > 1e-2) == (changes[-1] > 1e-2)
            np.testing.assert_array_equal(raw[0], smooth[0])
        assert sum(change > 1e-2 for change in changes) >= 2


def two_task_mgda(rows):
    """The shortest point between two gradients, in closed form."""
    a, b = rows
    share = np.clip(b @ (b - a) / ((a - b) @ (a - b)), 0.0, 1.0)
    return np.array([share, 1.0 - share])


RISING = [0.1, 0.2, 0.5, 0.5, 0.7, 0.8, 0.9, 0.95]
ema = pytest.mark.parametrize(
    "ema", [0.0, 0.3, 0.9, 1.0, lambda count: jnp.array(RISING)[count]]
)


@ema
def test_it_is_the_formula(ema, x64):
    rng = np.random.default_rng(0)
    sequence, kept = rng.normal(size=(8, 2, 3)), None
    steps = follow(auxjax.cr_mogm(auxjax.mgda(), ema), sequence)
    for count, (rows, (d, weights)) in enumerate(zip(sequence, steps, strict=True)):
        new = two_task_mgda(rows)
        alpha = ema(count) if callable(ema) else ema
        kept = new if kept is None else alpha * kept + (1 - alpha) * new
        np.testing.assert_allclose(weights, kept, atol=1e-9)
        np.testing.assert_allclose(d, kept @ rows, atol=1e-9)


def test_the_schedule_of_the_theory(x64):
    """α = 1 − η/η₀ with the learning rate's own schedule."""
    rates = [1.0, 0.5, 0.25]
    schedule = lambda count: jnp.array(rates)[count]  # noqa: E731
    tx = auxjax.cr_mogm(auxjax.mgda(), lambda count: 1 - schedule(count) / schedule(0))
    sequence = np.random.default_rng(1).normal(size=(3, 2, 3))
    kept = 0.0
    for rows, rate, (_, weights) in zip(
        sequence, rates, follow(tx, sequence), strict=True
    ):
        kept = (1 - rate) * kept + rate * two_task_mgda(rows)
        np.testing.assert_allclose(weights, kept, atol=1e-9)


def test_alpha_may_be_traced_and_mapped_over(x64):
    rows = jnp.asarray(np.random.default_rng(2).normal(size=(3, 2, 3)))
    alphas = jnp.array([0.1, 0.8])

    def last(alpha):
        tx = auxjax.cr_mogm(auxjax.mgda(), alpha)
        state = tx.init(rows[0, 0])
        for x in rows:
            d, state = tx.update(x, state)
        return d

    found = jax.jit(jax.vmap(last))(alphas)
    for i, alpha in enumerate(alphas):
        np.testing.assert_allclose(found[i], last(float(alpha)), atol=1e-12)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_what_is_no_share_is_refused(alpha):
    with pytest.raises(ValueError, match=r"`weights_ema` should be in \[0, 1\]\. Fou"):
        auxjax.cr_mogm(auxjax.mgda(), alpha)
