"""The page "Your framework": every step runs, and every rule gets the true gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.frameworks._pages import run, sections

import auxjax

PAGE = "your_framework.md"
RULES = ("olaux", "gcs", "cagrad", "autolambda")
FRAMEWORKS = ("Plain pytrees", "Flax linen", "Flax NNX", "Equinox", "Haiku")


def side_by_side(rules):
    """All rules in one transformation; it moves the parameters as the first does.

    Its state is `{rule: (state, updates)}`. Where no `meta_losses` are given, those
    that need them wait.
    """

    def init(params):
        still = optax.tree.zeros_like(params)
        return {name: (rule.init(params), still) for name, rule in rules.items()}

    def update(jac, state, params, *, meta_losses=None, **extra):
        state = dict(state)
        for name, rule in rules.items():
            if meta_losses is not None or name != "autolambda":
                updates, new = rule.update(
                    jac, state[name][0], params, meta_losses=meta_losses, **extra
                )
                state[name] = new, updates
        return state[next(iter(rules))][1], state

    return optax.GradientTransformationExtraArgs(init, update)


def linear_jacobian(losses, params, *args, has_aux=False):
    """The Jacobian from `jax.grad`, one task after another.

    It is taken of linear losses that have these gradients, and that see of the
    parameters only what their task uses.
    """

    def values_of(p):
        result = losses(p, *args)
        return result if has_aux else (result, None)

    values, aux = values_of(params)
    grads = {
        name: jax.grad(lambda p, name=name: values_of(p)[0][name])(params)
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
        return found, aux

    return TASK_JACOBIAN(linear, params, has_aux=True)


TASK_JACOBIAN = auxjax.task_jacobian


def state_of(names):
    """The optimizer's state, wherever the framework keeps it."""
    if "optimizer" in names:
        return names["nnx"].as_pure(names["optimizer"].opt_state)
    return names["state"].opt_state if "TrainState" in names else names["opt_state"]


def test_the_page_offers_every_framework_and_every_rule():
    found = sections(PAGE)
    assert [heading for heading in found if heading in FRAMEWORKS] == list(FRAMEWORKS)
    assert tuple(run(PAGE, "The rule")["RULES"]) == RULES


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_step_with_every_rule(framework, monkeypatch, quick_compilation):
    start = run(PAGE, "The rule")
    tx = side_by_side(start["RULES"])
    found = run(PAGE, "The rule", framework, tx=tx)
    monkeypatch.setattr(auxjax, "task_jacobian", linear_jacobian)
    expected = run(PAGE, "The rule", framework, tx=tx)

    values = jax.tree.map(np.asarray, (found["values"], expected["values"]))
    assert values[0].shape == (2,)
    np.testing.assert_allclose(*values, rtol=1e-5)
    assert set(state_of(found)) == set(RULES)
    for rule in RULES:
        state, updates = state_of(found)[rule]
        assert optax.tree.norm(updates) > 1e-3, rule
        assert rule == "cagrad" or optax.tree.get(state, "weights").shape == (2,)
        both = (jax.tree.leaves(state_of(names)[rule]) for names in (found, expected))
        for one, other in zip(*both, strict=True):  # weights, moments and updates
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6, err_msg=rule)
