"""Auto-λ's parametrisations and its logarithm, against derivatives of the whole.

The reference differentiates M(θ + u(Σ λᵢ(z) ∇Lᵢ(θ))) by z, gradients of gradients, with
Optax's optimizers; one case is in NumPy as well.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from tests.weighting.test_autolambda import ALPHA, STEPS, close, library, problem

RATE = 3.0
MAPS = {
    "raw": lambda z: z,
    "softmax": lambda z: z.shape[0] * jax.nn.softmax(z),
    "exp": lambda z: jnp.exp(z - z[0]),
}
STARTS = {"raw": 0.1, "softmax": 0.0, "exp": 0.0}
OPTIMIZERS = {
    "momentum": lambda: optax.chain(
        optax.add_decayed_weights(0.03), optax.sgd(ALPHA, momentum=0.9)
    ),
    "adam": lambda: optax.adam(0.05),
}


def reference(p, optimizer, form, objective, primary=(0,), clip=False, masks=None):
    """θ, λ, ∂M(θ′)/∂λ after each step; nothing of auxjax but `apply_updates`."""
    theta, opt_state = p.params(), optimizer.init(p.params())
    z = jnp.full(p.num_tasks, STARTS[form])
    lam = MAPS[form](z)
    out = []
    for t in range(STEPS):
        batch, other = jnp.asarray(p.batches[t]), jnp.asarray(p.meta_batches[t])
        there = jnp.ones(p.num_tasks) if masks is None else jnp.asarray(masks[t], float)

        def gradient(weights, theta=theta, batch=batch, there=there):
            return jax.grad(lambda q: (weights * there) @ p.losses(q, batch))(theta)

        def ahead(
            weights, theta=theta, opt_state=opt_state, other=other, grad=gradient
        ):
            updates, _ = optimizer.update(grad(weights), opt_state, theta)
            values = p.losses(optax.apply_updates(theta, updates), other)
            values = values[jnp.array(primary)]
            return jnp.sum(jnp.log(values) if objective == "log" else values)

        def of(z, lam=lam, there=there):
            """Tasks that are absent keep their λ; the others share what is left."""
            if form == "softmax":
                e = there * jnp.exp(z)
                left = p.num_tasks - jnp.sum((1 - there) * lam)
                return (1 - there) * lam + left * e / jnp.sum(e)
            return there * MAPS[form](z) + (1 - there) * lam

        slope = jax.grad(ahead)(of(z)) * there
        step = jax.grad(lambda z, of=of, ahead=ahead: ahead(of(z)))(z)
        z = z - RATE * step * there
        lam = of(z)
        if clip:
            lam = jnp.maximum(lam, 0.0)
            z = lam
        updates, opt_state = optimizer.update(gradient(lam), opt_state, theta)
        theta = optax.apply_updates(theta, updates)
        flat = jnp.concatenate([theta["u"], theta["v"]])
        out.append((flat, lam, slope))
    return [np.array(x) for x in zip(*out, strict=True)]


FORMS = [(f, o) for f in MAPS for o in ("loss", "log")][1:]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("form", "objective"), FORMS)
def test_against_the_derivative_of_the_whole(x64, optimizer, form, objective):
    p, make = problem(3), OPTIMIZERS[optimizer]
    tx = auxjax.autolambda(
        make(),
        num_tasks=3,
        lambda_optimizer=optax.sgd(RATE),
        parametrisation=form,
        meta_objective=objective,
    )
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam counts in integers
        expected = reference(p, make(), form, objective)
        found, state = library(p, tx)
    close(found, expected, 1e-9)
    assert np.ptp(expected[1][-1]) > 0.02  # λ do move
    if form == "softmax":
        np.testing.assert_allclose(found[1].sum(1), 3.0, rtol=1e-12)
    if form == "exp":
        np.testing.assert_array_equal(found[1][:, 0], np.ones(STEPS))
    if form == "raw":
        assert state.z is None
    else:
        lam = MAPS[form](state.z)
        np.testing.assert_allclose(lam, state.weights, rtol=1e-12)


@pytest.mark.parametrize("form", ["softmax", "exp"])
def test_in_numpy(x64, form):
    """One plain step ahead; the chain rule by hand, several primary tasks."""
    p, primary = problem(3), [0, 2]
    theta, z, out = p.start.copy(), np.zeros(3), []
    for batch, other in zip(p.batches, p.meta_batches, strict=True):
        e = np.exp(z - z[0])
        lam = 3 * e / e.sum() if form == "softmax" else e
        rows = p.values_and_rows(theta, batch)[1]
        values, grads = p.values_and_rows(theta - ALPHA * lam @ rows, other)
        d = np.sum(grads[primary] / values[primary, None], axis=0)
        slope = -ALPHA * rows @ d
        by_z = lam * slope
        if form == "softmax":
            by_z -= lam * (lam @ slope) / 3
        else:
            by_z[0] = -np.sum(by_z[1:])
        z = z - RATE * by_z
        e = np.exp(z - z[0])
        lam = 3 * e / e.sum() if form == "softmax" else e
        theta = theta - ALPHA * lam @ rows
        out.append((theta, lam, slope))
    rule = auxjax.scale_by_autolambda(
        ALPHA,
        num_tasks=3,
        primary=primary,
        lambda_optimizer=optax.sgd(RATE),
        parametrisation=form,
        meta_objective="log",
    )
    found, _ = library(p, optax.chain(rule, auxjax.sum_tasks(), optax.sgd(ALPHA)))
    close(found, [np.array(x) for x in zip(*out, strict=True)], 1e-9)


@pytest.mark.parametrize(("form", "objective"), FORMS)
def test_the_finite_difference_goes_the_same_way(x64, form, objective):
    p = problem(3)
    tx = auxjax.autolambda(
        OPTIMIZERS["momentum"](),
        num_tasks=3,
        lambda_optimizer=optax.sgd(RATE),
        parametrisation=form,
        meta_objective=objective,
        meta_gradient="finite_difference",
        epsilon=1e-3,
    )
    found, _ = library(p, tx)
    close(found, reference(p, OPTIMIZERS["momentum"](), form, objective), 1e-6)


def test_clipped_at_zero(x64):
    p, make = problem(3), OPTIMIZERS["momentum"]
    free = reference(p, make(), "raw", "loss")
    expected = reference(p, make(), "raw", "loss", clip=True)
    assert free[1].min() < -0.1
    assert expected[1].min() == 0.0
    tx = auxjax.autolambda(
        make(), num_tasks=3, lambda_optimizer=optax.sgd(RATE), clip_at_zero=True
    )
    found, _ = library(p, tx)
    close(found, expected, 1e-9)


# Who looks ahead

MASKS = np.ones((STEPS, 3), bool)
MASKS[1, 1] = MASKS[2, 2] = MASKS[4, 0] = False
MASKS[3] = [True, False, False]


@pytest.mark.parametrize("form", ["softmax", "exp"])
def test_absent_tasks_keep_their_weight(x64, form):
    p, optimizer = problem(3), optax.sgd(ALPHA)
    expected = reference(p, optimizer, form, "loss", masks=MASKS)
    tx = auxjax.autolambda(
        optimizer, num_tasks=3, lambda_optimizer=optax.sgd(RATE), parametrisation=form
    )

    @jax.jit
    def step(theta, state, batch, other, mask):
        jac = auxjax.task_jacobian(p.losses, theta, batch)
        meta = lambda q: p.losses(q, other)  # noqa: E731
        updates, state = tx.update(jac, state, theta, meta_losses=meta, task_mask=mask)
        return optax.apply_updates(theta, updates), state

    theta, found = p.params(), []
    state = tx.init(theta)
    for batch, other, mask in zip(p.batches, p.meta_batches, MASKS, strict=True):
        before = state.weights
        theta, state = step(theta, state, batch, other, mask)
        np.testing.assert_array_equal(state.weights[~mask], before[~mask])
        flat = jnp.concatenate([theta["u"], theta["v"]])
        found.append((flat, state.weights, state.meta_gradient))
    close([np.array(x) for x in zip(*found, strict=True)], expected, 1e-9)
    if form == "softmax":
        np.testing.assert_allclose(state.weights.sum(), 3.0, rtol=1e-12)


@pytest.mark.parametrize("form", ["softmax", "exp"])
def test_tasks_that_are_drawn(x64, form):
    """The others keep their λ; the sum stays, and so does the main task's 1."""
    p = problem(3)
    tx = auxjax.scale_by_autolambda(
        ALPHA,
        num_tasks=3,
        lambda_optimizer=optax.sgd(RATE),
        parametrisation=form,
        tasks_per_step=2,
    )
    found, _ = library(p, optax.chain(tx, auxjax.sum_tasks(), optax.sgd(ALPHA)))
    lam = np.concatenate([np.ones((1, 3)), found[1]])
    moved = np.diff(lam, axis=0) != 0
    assert np.all(moved.sum(1) <= 2)
    assert moved.any()
    if form == "softmax":
        np.testing.assert_allclose(lam.sum(1), 3.0, rtol=1e-12)
    else:
        np.testing.assert_array_equal(lam[:, 0], np.ones(STEPS + 1))


# What has no logarithm, or no number

P, X = jnp.array([0.5, -1.0]), jnp.array([1.0, 2.0])


def below_zero(p):
    return jnp.sum((p - X) ** 2) - 100.0, jnp.sum(p * X), jnp.sum(p**2)


@functools.cache
def updated(form, objective, bad=1.0, **options):
    tx = auxjax.scale_by_autolambda(
        0.1,
        num_tasks=3,
        lambda_optimizer=optax.sgd(0.1),
        parametrisation=form,
        meta_objective=objective,
        **options,
    )
    jac = auxjax.task_jacobian(lambda p: [bad * x for x in below_zero(p)], P)
    _, state = tx.update(jac, tx.init(P), P, meta_losses=below_zero)
    return tx.init(P), state


@pytest.mark.parametrize("form", MAPS)
def test_a_loss_below_zero_counts_as_it_is(form):
    _, plain = updated(form, "loss")
    _, state = updated(form, "log")
    np.testing.assert_array_equal(state.weights, plain.weights)
    assert np.any(plain.meta_gradient != 0)


@pytest.mark.parametrize("form", MAPS)
def test_a_bad_batch_costs_a_step(form):
    before, state = updated(form, "log", bad=jnp.nan)
    np.testing.assert_array_equal(state.weights, before.weights)
    np.testing.assert_array_equal(state.z, before.z)
    assert state.skipped == 1


def test_a_number_too_large_for_the_exponential_is_not_taken():
    tx = auxjax.scale_by_autolambda(
        0.1, num_tasks=3, lambda_optimizer=optax.adam(-1e4), parametrisation="exp"
    )
    jac = auxjax.task_jacobian(below_zero, P)
    with jax.numpy_dtype_promotion("standard"):
        _, state = tx.update(jac, tx.init(P), P, meta_losses=below_zero)
    before = tx.init(P)
    np.testing.assert_array_equal(state.weights, np.ones(3))
    np.testing.assert_array_equal(state.z, before.z)
    same = jax.tree.map(np.array_equal, state.lambda_state, before.lambda_state)
    assert all(jax.tree.leaves(same))
    assert state.skipped == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"parametrisation": "sigmoid"},
            '`parametrisation` should be "raw", "softmax" or "exp". Found \'sigmoid\'.',
        ),
        ({"meta_objective": "ln"}, '`meta_objective` should be "loss" or "log". Found'),
        (
            {"parametrisation": "softmax", "init": 0.5},
            '`init` should be None with `parametrisation="softmax"`, whose λ are 1',
        ),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        auxjax.scale_by_autolambda(0.1, **options)
    with pytest.raises(ValueError, match=re.escape(message)):
        auxjax.autolambda(optax.sgd(0.1), **options)


def test_the_raw_state_has_the_leaves_of_before():
    for make in (
        lambda: auxjax.scale_by_autolambda(0.1),
        lambda: auxjax.autolambda(optax.sgd(0.1)),
    ):
        state = make().init(P)
        assert state.z is None
        np.testing.assert_allclose(state.weights, [0.1, 0.1])
