"""PBI and COSMOS: the weights are the gradients of their scalarisations."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

GOLDEN = Path(__file__).parents[1] / "aggregation" / "golden"
GOLDEN = json.loads((GOLDEN / "torchjd_all_matter.json").read_text())["scalars"]
WISH, IDEAL = [0.5, 0.2, 0.9], [0.1, -1.0, 0.0]
LOSSES = np.array([[2.0, 0.5, 1.0], [0.3, 0.3, 4.0], [1e-3, 2e-3, 1e-3]])


def value_of_pbi(losses, wish, theta, ideal):
    """d₁ + θ d₂ of the definition."""
    f = losses - ideal
    unit = wish / np.sqrt(np.sum(wish**2))
    d1 = np.sum(f * unit)
    return d1 + theta * np.sqrt(np.sum((f - d1 * unit) ** 2))


def value_of_cosmos(losses, wish, lam):
    lengths = np.sqrt(np.sum(wish**2) * np.sum(losses**2))
    return np.sum(wish * losses) - lam * np.sum(wish * losses) / lengths


def slope(function, losses):
    """Central differences in extended precision: nothing of the rules' formulas."""
    x = np.asarray(losses, np.longdouble)
    found = []
    for i in range(len(x)):
        h = np.longdouble(1e-6) * x[i]
        step = h * (np.arange(len(x)) == i)
        one, two = (
            (function(x + k * step) - function(x - k * step)) / (2 * k * h)
            for k in (1, 2)
        )
        found.append((4 * one - two) / 3)  # Richardson: the error is of order h⁴
    return np.array(found, np.float64)


def long(values):
    return np.asarray(values, np.longdouble)


RULES = {
    "pbi": (
        lambda: auxjax.scale_by_pbi(3),
        functools.partial(value_of_pbi, wish=np.ones(3), theta=5.0, ideal=0.0),
    ),
    "pbi options": (
        lambda: auxjax.scale_by_pbi(3, theta=0.3, preference=WISH, ideal=IDEAL),
        functools.partial(
            value_of_pbi, wish=long(WISH), theta=long(0.3), ideal=long(IDEAL)
        ),
    ),
    "cosmos": (
        lambda: auxjax.scale_by_cosmos(3),
        functools.partial(value_of_cosmos, wish=np.ones(3) / long(3), lam=2.0),
    ),
    "cosmos options": (
        lambda: auxjax.scale_by_cosmos(3, lam=0.7, preference=WISH),
        functools.partial(value_of_cosmos, wish=long(WISH), lam=long(0.7)),
    ),
}
every_rule = pytest.mark.parametrize("rule", RULES)


def scales(tx, losses, **extra):
    """The row scales of one update, and the state after it."""
    losses = jnp.asarray(losses)
    rows = jnp.ones((losses.shape[0], 1), losses.dtype)
    update = jax.jit(tx.update)
    found, state = update(rows, tx.init(rows[0]), losses=losses, **extra)
    return np.asarray(found[:, 0]), state


@every_rule
@pytest.mark.parametrize("losses", LOSSES, ids=str)
def test_the_weights_are_the_derivatives(x64, rule, losses):
    make, value = RULES[rule]
    found, state = scales(make(), losses)
    np.testing.assert_allclose(found, slope(value, losses), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(state.weights, found)


@every_rule
def test_forty_tasks_in_single_precision(rule):
    losses = np.random.default_rng(0).uniform(0.1, 5.0, 40)
    name = rule.split()[0]
    found, _ = scales(getattr(auxjax, f"scale_by_{name}")(40), losses.astype("f4"))
    wish = {"pbi": np.ones(40), "cosmos": np.full(40, 1 / long(40))}[name]
    more = {"pbi": {"theta": 5.0, "ideal": 0.0}, "cosmos": {"lam": 2.0}}[name]
    value = {"pbi": value_of_pbi, "cosmos": value_of_cosmos}[name]
    expected = slope(functools.partial(value, wish=wish, **more), losses)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def quadratics(params):
    centres = jnp.asarray([[1.0, -2.0], [0.5, 0.5], [-1.0, 3.0]], params.dtype)
    return jnp.sum((params[None] - centres) ** 2, axis=1) + 0.1


@every_rule
def test_the_sum_is_the_gradient_of_the_whole(x64, rule):
    params = jnp.array([0.2, -0.3])
    jac = auxjax.task_jacobian(quadratics, params)
    tx = optax.chain(RULES[rule][0](), auxjax.sum_tasks())
    found, _ = tx.update(jac, tx.init(params), params)
    value = RULES[rule][1]
    weights = slope(value, np.asarray(quadratics(params)))
    rows = np.asarray(jax.jacobian(quadratics)(params))
    np.testing.assert_allclose(found, weights @ rows, rtol=1e-9)


@pytest.mark.parametrize("case", range(len(GOLDEN)))
def test_equals_torchjd(x64, case):
    case = GOLDEN[case]
    losses, wish, ideal = (
        jnp.array(case[k]) for k in ("losses", "preference", "ideal")
    )
    rules = {
        "COSMOS(2.0)": auxjax.cosmos_weights(losses, wish, lam=2.0),
        "COSMOS(0.01)": auxjax.cosmos_weights(losses, wish, lam=0.01),
        "PBI(5.0)": auxjax.pbi_weights(losses, wish, theta=5.0),
        "PBI(0.5, ideal)": auxjax.pbi_weights(losses - ideal, wish, theta=0.5),
    }
    assert rules.keys() == case["weights"].keys()
    for name, found in rules.items():
        np.testing.assert_allclose(found, case["weights"][name], rtol=1e-7, atol=1e-9)


def test_pbi_on_the_line_takes_the_shortest_subgradient(x64):
    """Rounding is no direction: 0.1 · (0.5, 0.2, 0.9) is on the line but for a bit."""
    unit = np.array(WISH) / np.linalg.norm(WISH)
    for factor in (0.1, 1.0, 7.3, 1e-200, 1e200):
        with jax.enable_x64(True):
            found, _ = scales(
                auxjax.scale_by_pbi(3, preference=WISH), factor * np.array(WISH)
            )
        np.testing.assert_allclose(found, unit, rtol=1e-12)
    found, _ = scales(auxjax.scale_by_pbi(3, preference=WISH), np.zeros(3))
    np.testing.assert_allclose(found, unit, rtol=1e-12)


def test_a_little_off_the_line_is_off_the_line(x64):
    off = np.array(WISH) + 1e-9 * np.array([0.9, 0.0, -0.5])  # at right angles to it
    found, _ = scales(auxjax.scale_by_pbi(3, preference=WISH, theta=2.0), off)
    unit = np.array(WISH) / np.linalg.norm(WISH)
    across = np.array([0.9, 0.0, -0.5]) / np.linalg.norm([0.9, 0.0, -0.5])
    np.testing.assert_allclose(found, unit + 2 * across, rtol=1e-5, atol=1e-5)


def test_cosmos_at_zero_is_the_weighted_sum():
    found, _ = scales(auxjax.scale_by_cosmos(3, preference=WISH), np.zeros(3, "f4"))
    np.testing.assert_allclose(found, WISH, rtol=1e-6)


@pytest.mark.parametrize("rule", ["pbi", "cosmos"])
def test_negative_weights_may_be_clipped(rule):
    make = getattr(auxjax, f"scale_by_{rule}")
    losses = np.array([0.1, 0.05, 2.0], "f4")
    plain, _ = scales(make(3), losses)
    clipped, state = scales(make(3, clip_at_zero=True), losses)
    assert plain.min() < 0
    np.testing.assert_array_equal(clipped, np.maximum(plain, 0))
    np.testing.assert_array_equal(state.weights, clipped)


@pytest.mark.parametrize("rule", ["pbi", "cosmos"])
def test_a_preference_may_come_with_every_step(rule):
    """As COSMOS draws it; also traced."""
    make = getattr(auxjax, f"scale_by_{rule}")
    losses = LOSSES[0].astype("f4")
    for wish in (WISH, [1.0, 0.0, 3.0]):
        expected, _ = scales(make(3, preference=wish), losses)
        found, _ = scales(make(3), losses, preference=jnp.asarray(wish, "float32"))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    tx, rows = make(3), jnp.ones((3, 1))
    with pytest.raises(ValueError, match=r"`preference` should have shape \(3,\)"):
        tx.update(rows, tx.init(rows[0]), losses=losses, preference=jnp.ones(2))


@pytest.mark.parametrize(
    ("rule", "options", "ratio"),
    [
        ("pbi", {"theta": 0.0}, 1 / 9),
        ("pbi", {"theta": 5.0}, 3.0),  # on the line of the preference
        ("cosmos", {"lam": 0.0}, 1 / 9),
        ("cosmos", {"lam": 4.0}, None),
    ],
)
def test_training_ends_in_the_minimum_of_the_scalarisation(x64, rule, options, ratio):
    """Two bowls, of which the front is the line between their centres."""

    def losses(p):
        return jnp.stack([jnp.sum((p - 1) ** 2), jnp.sum((p + 1) ** 2)])

    wish = np.array([0.75, 0.25])
    tx = optax.chain(
        getattr(auxjax, rule)(2, preference=wish, **options),
        optax.sgd(optax.exponential_decay(0.02, 200, 0.5)),
    )

    def step(carry, _):
        params, state = carry
        jac = auxjax.task_jacobian(losses, params)
        updates, state = tx.update(jac, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.array([0.9, 0.5])
    with jax.numpy_dtype_promotion("standard"):
        run = jax.jit(lambda c: jax.lax.scan(step, c, length=2000)[0])
        params, _ = run((start, tx.init(start)))
    front = np.linspace(-1, 1, 20_001)
    value = {
        "pbi": functools.partial(value_of_pbi, wish=wish, ideal=0.0, **options),
        "cosmos": functools.partial(value_of_cosmos, wish=wish, **options),
    }[rule]
    totals = [value(np.array([2 * (x - 1) ** 2, 2 * (x + 1) ** 2])) for x in front]
    best = front[np.argmin(totals)]
    np.testing.assert_allclose(params, [best, best], atol=5e-3)
    if ratio is not None:
        first, second = losses(params)
        np.testing.assert_allclose(first / second, ratio, rtol=0.02)


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("pbi", {"theta": -1.0}, "`theta` should be at least 0. Found -1.0."),
        ("pbi", {"ideal": [1.0]}, r"`ideal` should have shape \(2,\), one per task."),
        ("pbi", {"preference": [0.0, 0.0]}, "`preference` should be at least 0, and a"),
        ("cosmos", {"lam": -1.0}, "`lam` should be at least 0. Found -1.0."),
        ("cosmos", {"preference": [1.0, -1.0]}, "`preference` should be at least 0, "),
        ("cosmos", {"preference": [1.0]}, r"`preference` should have shape \(2,\), o"),
    ],
)
def test_refusals(rule, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(auxjax, rule)(**options)
