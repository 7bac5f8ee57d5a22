"""Auto-λ on bad input: what it refuses, and what it lives through."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

P = {"w": jnp.array([0.5, -1.0]), "b": jnp.array(0.3)}
X, OTHER = jnp.array([1.0, 2.0]), jnp.array([0.7, -0.4])


def losses(p, x):
    out = jnp.sin(p["w"] * x) + p["b"][None]
    return jnp.sum(out**2), jnp.sum(jnp.abs(out - 1)), jnp.sum(p["w"] ** 2)


def named(p, x, order=("main", "near", "far")):
    values = dict(zip(("main", "near", "far"), losses(p, x), strict=True))
    return {name: values[name] for name in order}


def rule(**options):
    return auxjax.scale_by_autolambda(0.1, num_tasks=3, **options)


def whole(**options):
    return auxjax.autolambda(optax.sgd(0.1), num_tasks=3, **options)


both = pytest.mark.parametrize("make", [rule, whole])


def update(tx, updates=None, params=P, state=None, **extra):
    """One update; with `losses` ahead on another batch, if nothing else is said."""
    updates = auxjax.task_jacobian(losses, P, X) if updates is None else updates
    extra.setdefault("meta_losses", lambda p: losses(p, OTHER))
    return tx.update(updates, tx.init(P) if state is None else state, params, **extra)


def refused(message):
    return pytest.raises(ValueError, match=re.escape(message))


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"primary": 3}, "`primary` should hold indices in 0..2. Found 3."),
        ({"primary": -1}, "`primary` should hold indices in 0..2. Found -1."),
        ({"primary": (0, 3)}, "`primary` should hold indices in 0..2. Found 3."),
        ({"primary": ()}, "`primary` should hold at least one task, each once."),
        ({"primary": (1, 1)}, "`primary` should hold at least one task, each once."),
        ({"primary": "main"}, '`primary` should be "all", an index or several. Fou'),
        ({"epsilon": 0.0}, "`epsilon` should be above 0. Found 0.0."),
        ({"epsilon": -0.01}, "`epsilon` should be above 0. Found -0.01."),
        ({"epsilon": float("inf")}, "`epsilon` should be finite. Found inf."),
        ({"init": float("nan")}, "`init` should be finite. Found nan."),
        ({"meta_gradient": "reverse"}, '`meta_gradient` should be "exact" or "finite_'),
        ({"tasks_per_step": 0}, "`tasks_per_step` should be at least 1. Found 0."),
        ({"tasks_per_step": 4}, "`tasks_per_step` should be at most 3, the number of"),
    ],
)  # fmt: skip
def test_bad_arguments(make, options, message):
    with refused(message):
        make(**options)


def test_one_task_has_nothing_to_weigh():
    message = "`num_tasks` should be at least 2, the main task and one auxiliary task."
    with refused(message):
        auxjax.scale_by_autolambda(num_tasks=1)
    with refused(message):
        auxjax.autolambda(optax.sgd(0.1), num_tasks=1)


def test_the_lookahead_is_of_the_plain_sum():
    with refused("`reuse_lookahead` should be False with an `aggregator`. Found True"):
        whole(reuse_lookahead=True, aggregator=auxjax.sum_tasks())


@both
def test_an_update_without_what_it_needs(make):
    name = "scale_by_autolambda" if make is rule else "autolambda"
    with refused(f"`{name}` needs the losses on a second batch. Pass"):
        update(make(), meta_losses=None)
    with refused(f"`{name}` needs the parameters. Found None"):
        update(make(), params=None)
    with refused("`meta_losses` should be a function of the parameters"):
        update(make(), meta_losses=jnp.ones(3))
    with refused("`meta_losses` should be a function of the parameters"):
        update(make(), meta_losses=losses(P, OTHER))


@both
def test_meta_losses_that_are_not_the_losses(make):
    tx = make()
    with refused(
        "`meta_losses` should return 3 losses, one per task (main, aux_1, aux_"
    ):
        update(tx, meta_losses=lambda p: losses(p, OTHER)[:2])
    with refused("Found 1 (main)"):
        update(tx, meta_losses=lambda p: losses(p, OTHER)[:1])
    with refused("Loss `main` should be a scalar. Found a tuple"):
        update(tx, meta_losses=lambda p: (losses(p, OTHER), {"accuracy": 1.0}))
    with refused("Loss `main` should be a scalar. Found shape (2,)"):
        update(tx, meta_losses=lambda p: (p["w"], p["b"], p["b"]))
    with refused("One summed loss has no tasks to weigh"):
        update(tx, meta_losses=lambda p: sum(losses(p, OTHER)))


@both
def test_meta_losses_in_another_order(make):
    jac = auxjax.task_jacobian(named, P, X)
    swapped = update(
        make(), jac, meta_losses=lambda p: named(p, OTHER, ("far", "main", "near"))
    )[1]
    in_order = update(make(), jac, meta_losses=lambda p: named(p, OTHER))[1]
    nameless = update(make(), jac)[1]
    np.testing.assert_array_equal(in_order.meta_gradient, nameless.meta_gradient)
    np.testing.assert_array_equal(swapped.meta_gradient, nameless.meta_gradient)


@both
@pytest.mark.parametrize("stacked", [False, True])
def test_another_number_of_tasks(make, stacked):
    two = auxjax.task_jacobian(lambda p: losses(p, X)[:2], P)
    with refused("`num_tasks` should be 2, the number of losses"):
        update(make(), two.rows() if stacked else two)


@both
def test_a_summed_gradient(make):
    summed = jax.grad(lambda p: sum(losses(p, X)))(P)
    with refused("looks like a gradient that is already summed over the tasks"):
        update(make(), summed)


@both
def test_stacked_gradients_have_no_losses_elsewhere(make):
    stacked = auxjax.task_jacobian(losses, P, X).rows()
    with refused("The finite difference needs the losses at other parameters."):
        update(make(meta_gradient="finite_difference"), stacked)


@pytest.mark.parametrize("optimizer", [optax.lion(0.1), optax.sign_sgd(0.1)])
def test_a_step_that_does_not_depend_on_the_gradient(optimizer):
    for tx in (
        auxjax.scale_by_autolambda(optimizer, num_tasks=3),
        auxjax.autolambda(optimizer, num_tasks=3),
    ):
        with refused("`optimizer` should take a step that is a differentiable"):
            update(tx)


def bad_once(bad):
    """A descent whose second step is `bad`; it counts, and keeps what it saw."""

    def step(g, state, params=None):
        count, _ = state
        return jnp.where(count == 1, bad, -0.1 * g), (count + 1, g)

    start = lambda w: (jnp.zeros((), jnp.int32), jnp.zeros_like(w))  # noqa: E731
    return optax.GradientTransformation(start, step)


def times(factor):
    """Meta losses so many times as large."""
    return lambda p: tuple(factor * x for x in losses(p, OTHER))


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@both
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_meta_batch_costs_one_step_of_lambda(make, bad, sampled):
    tx = make(lambda_optimizer=optax.adam(0.05), tasks_per_step=2 if sampled else None)
    meta = lambda scale: lambda p: tuple(scale * x for x in losses(p, OTHER))  # noqa: E731
    step = jax.jit(
        lambda state, scale: update(tx, state=state, meta_losses=meta(scale))
    )

    _, first = step(tx.init(P), 1.0)
    updates, second = step(first, bad)
    same((second.weights, second.lambda_state), (first.weights, first.lambda_state))
    assert (second.count, second.skipped) == (2, 1)
    assert not np.all(np.isfinite(second.meta_gradient))  # it is there to be seen
    # The network's own step is made all the same, with the λ of before.
    jac = auxjax.task_jacobian(losses, P, X)
    rows = updates.rows() if make is rule else updates
    expected = jac.scale(first.weights).rows()
    if make is whole:
        expected = jax.tree.map(lambda g: -0.1 * g, jac.vjp(first.weights))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), rows, expected
    )

    _, third = step(second, 1.0)
    _, without = step(first._replace(count=second.count), 1.0)  # had nothing happened
    same((third.weights, third.lambda_state), (without.weights, without.lambda_state))
    assert np.any(third.weights != second.weights)
    assert (third.count, third.skipped) == (3, 1)


@both
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_bad_step_of_lambdas_optimizer_is_not_made(make, bad):
    tx = make(lambda_optimizer=bad_once(bad))
    _, first = update(tx)
    _, second = update(tx, state=first)
    same((second.weights, second.lambda_state), (first.weights, first.lambda_state))
    assert (second.count, second.skipped) == (2, 1)
    count, seen = second.lambda_state
    good = second._replace(lambda_state=(count + 1, seen))
    _, third = update(tx, state=good)
    assert np.all(third.weights != second.weights)
    assert third.skipped == 1


def test_one_bad_entry_holds_its_own_lambda():
    """The others' λ go on: each has a copy of the optimizer."""
    bad = jnp.array([0.1, jnp.nan, 0.1])
    tx = rule(lambda_optimizer=bad_once(bad))
    _, first = update(tx)
    _, second = update(tx, state=first)
    np.testing.assert_allclose(second.weights - first.weights, [0.1, 0, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(second.lambda_state[0], [2, 1, 2])
    np.testing.assert_array_equal(second.nonfinite, [0, 1, 0])
    assert second.skipped == 1


@both
def test_a_slope_too_large_to_be_squared_costs_one_step_too(make):
    """Finite itself, it makes Adam's second moment infinite: λ would rest for ever."""
    tx = make(lambda_optimizer=optax.adam(0.05))
    _, first = update(tx)
    _, second = update(tx, state=first, meta_losses=times(1e25))
    assert np.all(np.isfinite(second.meta_gradient))
    same((second.weights, second.lambda_state), (first.weights, first.lambda_state))
    assert second.skipped == 1
    _, third = update(tx, state=second)
    assert np.any(third.weights != second.weights)
