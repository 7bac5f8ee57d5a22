"""The page "Your framework": every step runs, every rule gets the true gradients."""

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


def state_of(names):
    """The optimizer's state, wherever the framework keeps it."""
    if "optimizer" in names:
        return names["nnx"].as_pure(names["optimizer"].opt_state)
    return names["state"].opt_state if "TrainState" in names else names["opt_state"]
