"""The price of a rule, as the compiler counts operations: it must not grow with T."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

FEW, MANY = 5, 40


def problem(num_tasks):
    """Two layers of 64 and a small head per task."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    params = {
        "layers": [draw(64, 64), draw(64, 64)],
        "heads": [draw(64, 2) for _ in range(num_tasks)],
    }

    def losses(params, x):
        for layer in params["layers"]:
            x = jnp.tanh(x @ layer)
        return tuple(jnp.mean((x @ h) ** 2) for h in params["heads"])

    return losses, params, draw(32, 64)


def flops(rule, num_tasks):
    losses, params, x = problem(num_tasks)

    def step(params, state, x):
        jac = auxjax.task_jacobian(losses, params, x)
        return rule.update(jac, state, params)

    program = jax.jit(step).lower(params, rule.init(params), x).compile()
    return program.cost_analysis()["flops"]


@pytest.fixture(scope="module")
def price():
    """Operations of a step relative to equal weighting, by rule and T."""
    found = {}
    for num_tasks in (FEW, MANY):
        equal = flops(auxjax.sum_tasks(), num_tasks)
        rules = {
            "olaux": auxjax.olaux(n=5, num_tasks=num_tasks),
            "gcs": auxjax.gcs(num_tasks=num_tasks),
            "modo": auxjax.modo(num_tasks),
            "dga": auxjax.dga(num_tasks),
            "sketched olaux": auxjax.olaux(
                num_tasks=num_tasks, inner_products="cosine", sketch=1
            ),
        }
        if num_tasks == FEW:
            rules["weighted gcs"] = auxjax.gcs(weighted=True, num_tasks=num_tasks)
        for name, rule in rules.items():
            found[name, num_tasks] = flops(rule, num_tasks) / equal
    return found


@pytest.mark.parametrize("rule", ["olaux", "gcs", "modo", "dga"])
def test_forty_tasks_cost_twice_equal_weighting(price, rule):
    assert 1.0 < price[rule, MANY] <= 2.4


@pytest.mark.parametrize("rule", ["olaux", "gcs", "modo", "dga"])
def test_the_relative_price_does_not_grow_with_the_tasks(price, rule):
    assert price[rule, MANY] <= 1.05 * price[rule, FEW]


def test_cosines_by_sketches_cost_a_tangent_pass_more(price):
    for num_tasks in (FEW, MANY):
        found = price["sketched olaux", num_tasks]
        assert found <= price["olaux", num_tasks] + 1.2
    assert price["sketched olaux", MANY] <= 1.05 * price["sketched olaux", FEW]


def test_signs_alone_cost_no_more_than_olaux(price):
    for num_tasks in (FEW, MANY):
        assert price["gcs", num_tasks] <= 1.1 * price["olaux", num_tasks]


def test_norms_are_what_makes_weighted_gcs_dear(price):
    """T more backward passes, in a loop whose body the compiler counts once."""
    assert price["weighted gcs", FEW] > 1.2 * price["gcs", FEW]
