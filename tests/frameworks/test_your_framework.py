"""The page "Your framework": every step runs, every rule gets the true gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from tests.frameworks._pages import run, sections

PAGE = "your_framework.md"
RULES = ("olaux", "gcs", "cagrad", "autolambda")
FRAMEWORKS = ("Plain pytrees", "Flax linen", "Flax NNX", "Equinox", "Haiku")
TASK_JACOBIAN = auxjax.task_jacobian


def linear_jacobian(losses, params, *args, has_aux=False):
    """The Jacobian from `jax.grad`, one task after another.

    It is taken of linear losses that have these gradients, and that see of the
    parameters only what their task uses.
    """

    def values_of(p):
        result = losses(p, *args)
        return result[0] if has_aux else result

    values = values_of(params)
    grads = {
        name: jax.grad(lambda p, name=name: values_of(p)[name])(params)
        for name in values
    }
    paths = [
        jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]
    ]
    foreign = {"main": "decoder", "autoencoder": "head"}

    def linear(p):
        moved = jax.tree.leaves(optax.tree.sub(p, params))
        found = {}
        for name, value in values.items():
            slopes = zip(paths, jax.tree.leaves(grads[name]), moved, strict=True)
            own = [jnp.sum(g * m) for path, g, m in slopes if foreign[name] not in path]
            found[name] = value + sum(own)
        return found

    return TASK_JACOBIAN(linear, params)


def side_by_side(rules, expected_jacobian):
    """All rules in one transformation; it moves the parameters as the first does.

    Its state has `{rule: (state, updates)}` from the Jacobian that it is given, and the
    same from the expected one. Where no `meta_losses` are given, rules that need them
    wait.
    """

    def init(params):
        still = optax.tree.zeros_like(params)
        start = {name: (rule.init(params), still) for name, rule in rules.items()}
        rows = jax.tree.map(lambda x: jnp.zeros((2, *x.shape)), params)
        return {"found": (start, rows), "expected": (start, rows)}

    def update(jac, state, params, *, meta_losses=None, **extra):
        def all_rules(jac, states):
            after = dict(states)
            for name, rule in rules.items():
                if meta_losses is not None or name != "autolambda":
                    extra["meta_losses"] = meta_losses
                    updates, new = rule.update(jac, states[name][0], params, **extra)
                    after[name] = new, updates
            return after, jac.rows()

        state = {
            "found": all_rules(jac, state["found"][0]),
            "expected": all_rules(expected_jacobian(), state["expected"][0]),
        }
        return state["found"][0][next(iter(rules))][1], state

    return optax.GradientTransformationExtraArgs(init, update)


def test_the_page_offers_every_framework_and_every_rule():
    found = sections(PAGE)
    assert [heading for heading in found if heading in FRAMEWORKS] == list(FRAMEWORKS)
    assert tuple(run(PAGE, "The rule")["RULES"]) == RULES


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_step_with_every_rule(framework, monkeypatch, quick_compilation):
    rules = run(PAGE, "The rule")["RULES"]
    made = []

    def both(*args, **options):
        made.append(linear_jacobian(*args, **options))
        return TASK_JACOBIAN(*args, **options)

    monkeypatch.setattr(auxjax, "task_jacobian", both)
    tx = side_by_side(rules, lambda: made[-1])
    names = run(PAGE, "The rule", framework, tx=tx)

    assert names["values"].shape == (2,)
    assert np.isfinite(names["values"]).all()
    state = state_of(names)
    for rule in RULES:
        own, updates = state["found"][0][rule]
        assert optax.tree.norm(updates) > 1e-3, rule
        assert rule == "cagrad" or optax.tree.get(own, "weights").shape == (2,)
    both = (jax.tree.leaves(state[which]) for which in ("found", "expected"))
    for one, other in zip(*both, strict=True):  # rows, weights, moments and updates
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_a_callable_model_of_bools_is_a_mask():
    key = jax.random.key(0)
    layers = [eqx.nn.Linear(2, 2, use_bias=b, key=key) for b in (False, True)]
    model = eqx.nn.Sequential([*layers, eqx.nn.Lambda(jnp.tanh)])
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def losses(params, x):
        out = eqx.combine(params, static)(x)
        return {"main": jnp.sum(out**2), "helper": jnp.sum(jnp.sin(out))}

    x = jnp.array([0.3, -0.7])
    jac = auxjax.task_jacobian(losses, params, x)
    first = jax.tree.leaves(jac.rows())[0]
    nothing = jax.tree.map(lambda _: False, params)
    mask = eqx.tree_at(lambda m: m.layers[0].weight, nothing, True)
    assert callable(mask)
    expected = jnp.einsum("tij,sij->ts", first, first)
    np.testing.assert_allclose(jac.gramian(mask), expected, rtol=1e-5)
    np.testing.assert_allclose(jac.gramian_row(0, mask), expected[0], rtol=1e-5)
    rule = auxjax.gcs(weighted=True, where=mask)
    _, state = rule.update(jac, rule.init(params), params)
    cosine = expected[0, 1] / jnp.sqrt(expected[0, 0] * expected[1, 1])
    weight = optax.tree.get(state, "weights")[1]
    np.testing.assert_allclose(weight, jnp.maximum(cosine, 0), rtol=1e-4)
    assert 0.01 < abs(cosine) < 0.99


def state_of(names):
    """The optimizer's state, wherever the framework keeps it."""
    if "optimizer" in names:
        return names["nnx"].as_pure(names["optimizer"].opt_state)
    return names["state"].opt_state if "TrainState" in names else names["opt_state"]
