"""Bad input is told what it should have been, and what was found."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax import as_jacobian, task_grads, task_jacobian

P = {"a": jnp.ones(3), "b": jnp.ones(2)}


def good(p):
    return jnp.sum(p["a"] ** 2), jnp.sum(p["b"]) * p["a"][0]


@pytest.fixture(params=["jacobian", "stacked"])
def jac(request):
    jac = task_jacobian(good, P)
    return jac if request.param == "jacobian" else as_jacobian(jac.rows(), P)


def refused(message):
    return pytest.raises(ValueError, match=re.escape(message))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"m": jnp.ones(3)}, "Loss `m` should be a scalar. Found shape (3,)"),
        ((1.0, jnp.ones((1,))), "Loss `aux_1` should be a scalar. Found shape (1,)"),
        ({"m": 1}, "Loss `m` should be a floating-point scalar. Found int32."),
        ({"m": 1j}, "Loss `m` should be a floating-point scalar. Found complex64."),
        (jnp.array([1, 2]), "floating-point losses. Found an array of int32."),
        ({}, "`losses` should return at least one loss. Found none."),
        ((), "`losses` should return at least one loss. Found none."),
        (jnp.zeros(0), "a [T] array of scalar losses. Found (0,)."),
        (jnp.ones((2, 2)), "a [T] array of scalar losses. Found (2, 2)."),
        (jnp.ones(()), "Found (). One summed loss has no tasks to weigh"),
        (None, "a [T] array of scalar losses. Found NoneType."),
    ],
)
@pytest.mark.parametrize("make", [task_jacobian, lambda f, p: task_grads(f)(p)])
def test_losses(make, returned, message):
    with refused(message):
        make(lambda p: returned, P)


def test_missing_aux():
    message = "`losses` should return a pair (losses, aux) when `has_aux=True`. Found d"
    with refused(message):
        task_jacobian(lambda p: {"m": 1.0}, P, has_aux=True)


@pytest.mark.parametrize("method", ["vjp", "scale"])
def test_weights(jac, method):
    for wrong in (jnp.ones(3), jnp.ones((2, 1)), 1.0):
        with refused("`weights` should have shape (2,), one per task. Found ("):
            getattr(jac, method)(wrong)


def test_direction_of_another_structure(jac):
    with refused("`direction` should have the structure of the parameters"):
        jac.jvp({"a": P["a"]})


def test_direction_of_another_shape(jac):
    with refused("`direction` should have shape (2,) at ['b']. Found (3,)."):
        jac.jvp({"a": P["a"], "b": jnp.ones(3)})


@pytest.mark.parametrize(
    "where",
    [
        {"a": True},
        {"a": True, "c": False},
        {"a": True, "b": {"deeper": False}},
        {"a": True, "b": None},
        lambda p: {"a": True},
    ],
)
@pytest.mark.parametrize("method", ["gramian", "norms"])
def test_where_of_another_structure(jac, where, method):
    with refused("`where` should be a pytree of bools that is a prefix of the param"):
        getattr(jac, method)(where)


def test_where_is_checked_in_jvp_and_scale(jac):
    with refused("`where` should be a pytree of bools"):
        jac.jvp(P, {"a": True})
    with refused("`where` should be a pytree of bools"):
        jac.scale(jnp.ones(2), {"a": True})


@pytest.mark.parametrize(
    ("flag", "found"), [(jnp.array(True), "ArrayImpl"), (1, "int"), (0.0, "float")]
)
def test_where_that_holds_something_else(jac, flag, found):
    with refused(f"`where` should hold Python bools. Found {found}."):
        jac.norms({"a": flag, "b": False})


@pytest.mark.parametrize("index", [2, -1])
def test_row_out_of_range(jac, index):
    with refused(f"`index` should be in 0..1. Found {index}."):
        jac.row(index)


@pytest.mark.parametrize("chunk_size", [0, -2])
def test_chunk_size(chunk_size):
    jac = task_jacobian(good, P)
    message = f"`chunk_size` should be at least 1. Found {chunk_size}."
    for method in ("rows", "gramian", "norms"):
        with refused(message):
            getattr(jac, method)(chunk_size=chunk_size)
    with refused(message):
        task_grads(good, chunk_size=chunk_size)


SUMMED = "this looks like a gradient that is already summed over the tasks"


def test_a_summed_gradient_is_refused_when_the_parameters_are_known():
    with refused(SUMMED):
        as_jacobian(P, P)


def test_a_square_parameter_does_not_hide_a_summed_gradient():
    square = {"w": jnp.ones((3, 3))}
    with refused("`updates` should have a leading task axis, (T, 3, 3), at `['w']`."):
        as_jacobian(square, square)


def test_a_summed_gradient_is_refused_by_its_unequal_leading_axes():
    with refused("[T, *param], at `['b']`. Found shape (2,): " + SUMMED):
        as_jacobian(P)


def test_a_scalar_gradient_is_refused():
    with refused("Found shape (): " + SUMMED):
        as_jacobian({"a": jnp.ones(())})


def test_updates_of_another_structure():
    with refused("`updates` should be a TaskJacobian, or have the structure of the"):
        as_jacobian({"a": jnp.ones((2, 3))}, P)


def test_no_updates():
    with refused("`updates` should hold at least one gradient. Found none."):
        as_jacobian({})


def test_number_of_tasks():
    with refused("`num_tasks` should be 2, the number of losses (main, aux_1), main"):
        as_jacobian(task_jacobian(good, P), num_tasks=3)
    with refused("Found 3. Pass `num_tasks=2` to the rule."):
        as_jacobian(jnp.ones((2, 4)), num_tasks=3)


def test_losses_for_stacked_gradients():
    with refused("`losses` should have shape (2,), one per task. Found (3,)."):
        as_jacobian(jnp.ones((2, 4)), losses=jnp.ones(3))


OPTIMIZERS = {
    "adafactor": lambda: optax.adafactor(0.1),
    "adam": lambda: optax.adam(0.1),
    "adamw": lambda: optax.adamw(0.1),
    "adaptive_grad_clip": lambda: optax.adaptive_grad_clip(0.1),
    "add_decayed_weights": lambda: optax.add_decayed_weights(0.1),
    "apply_if_finite": lambda: optax.apply_if_finite(optax.sgd(0.1), 3),
    "centralize": optax.centralize,
    "clip": lambda: optax.clip(1.0),
    "clip_by_global_norm": lambda: optax.clip_by_global_norm(1.0),
    "lbfgs": optax.lbfgs,
    "lion": lambda: optax.lion(0.1),
    "masked": lambda: optax.masked(optax.sgd(0.1), {"w": True}),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9),
    "multi_steps": lambda: optax.MultiSteps(optax.sgd(0.1), 2),
    "muon": lambda: optax.contrib.muon(0.1),
    "partition": lambda: optax.partition({"a": optax.sgd(0.1)}, {"w": "a"}),
    "rmsprop": lambda: optax.rmsprop(0.1),
    "scale": lambda: optax.scale(0.1),
    "schedule": lambda: optax.scale_by_schedule(lambda count: 0.1),
    "sgd": lambda: optax.sgd(0.1),
    "sign_sgd": lambda: optax.sign_sgd(0.1),
    "zero_nans": optax.zero_nans,
}


NO_GRADIENT = "Found the Jacobian of the task losses where a gradient is needed"


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("place", ["before", "behind", "behind stacked"])
def test_an_optimizer_without_an_aggregator_before_it(name, place):
    """It would take residuals, or T gradients, for a gradient."""
    params = {"w": jnp.ones(3)}
    optimizer = OPTIMIZERS[name]()
    rules = auxjax.olaux(n=1), auxjax.scale_by_olaux(n=1)
    parts = (optimizer, rules[0]) if place == "before" else (rules[1], optimizer)
    tx = optax.chain(*parts)

    def losses(p):
        return jnp.sum(p["w"] ** 2), jnp.sum(p["w"])

    updates = auxjax.task_jacobian(losses, params)
    if place == "behind stacked":
        updates = updates.rows()
    with jax.numpy_dtype_promotion("standard"), refused(NO_GRADIENT):
        updates, _ = tx.update(updates, tx.init(params), params)
        optax.apply_updates(params, updates)


@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
def test_no_aggregator_at_all(kind):
    params = jnp.ones(3)
    tx = auxjax.scale_by_olaux(n=1)
    updates = auxjax.task_jacobian(lambda p: (jnp.sum(p**2), jnp.sum(p)), params)
    updates = updates if kind == "jacobian" else updates.rows()
    updates, _ = tx.update(updates, tx.init(params), params)
    with refused(NO_GRADIENT):
        optax.apply_updates(params, updates)
    with refused(NO_GRADIENT):
        optax.apply_updates({"w": params}, updates)


@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
def test_what_is_no_gradient_passes_through_the_transformations_of_jax(kind):
    def make(x):
        def losses(p):
            return jnp.sum(p**2), jnp.sum(p)

        jac = auxjax.task_jacobian(losses, x)
        return jac if kind == "jacobian" else as_jacobian(jac.rows(), losses=jac.losses)

    x = jnp.arange(6.0).reshape(2, 3)
    each = jax.jit(jax.vmap(make))(x)
    grams = jax.vmap(lambda jac: jac.gramian())(each)
    _, again = jax.lax.scan(lambda _, jac: (None, jac.gramian()), None, each)
    chosen = jax.lax.cond(True, lambda jac: jac, lambda jac: jac, make(x[0]))
    for i in range(2):
        np.testing.assert_allclose(grams[i], make(x[i]).gramian())
    np.testing.assert_allclose(again, grams)
    np.testing.assert_allclose(chosen.gramian(), grams[0])
    jax.block_until_ready(jax.device_put(each))
    for act in (lambda g: g + 1, np.sum, jnp.sqrt, np.negative):
        with refused(NO_GRADIENT):
            jax.tree.map(act, each)


def test_a_main_task_that_is_not_the_first_is_an_error():
    def losses(p):
        return {"main": jnp.sum(p**2), "aux": jnp.sum(p)}

    for sorted_by_jax in (lambda p: jax.jit(losses)(p), jax.checkpoint(losses)):
        with pytest.raises(ValueError, match="`main` after `aux`"):
            task_jacobian(sorted_by_jax, jnp.ones(2))


def test_jit_is_looked_through_wherever_it_stands():
    class Model:
        @functools.partial(jax.jit, static_argnums=0)
        def losses(self, p):
            return {"main": jnp.sum(p**2), "aux": jnp.sum(p)}

    def losses(k, p):
        return {"main": jnp.sum(p**2) * k, "aux": jnp.sum(p)}

    twice = jax.jit(jax.jit(lambda p: losses(1.0, p)))
    for jitted in (Model().losses, functools.partial(jax.jit(losses), 1.0), twice):
        assert task_jacobian(jitted, jnp.ones(2)).names == ("main", "aux")
