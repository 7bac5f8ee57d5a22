"""Auto-λ with layers that have a state or a randomness of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import auxjax
from auxjax.meta import (
    exact_meta_gradient,
    finite_difference_meta_gradient,
    lookahead,
)

TASKS = 3


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def batch(seed):
    return draw(seed, 16, 4), draw(seed + 100, TASKS, 16)


class Normalised(nn.Module):
    """A trunk with BatchNorm, one head per task."""

    @nn.compact
    def __call__(self, x, training):
        x = nn.Dense(5)(x)
        x = nn.BatchNorm(use_running_average=not training, momentum=0.9)(x)
        return [nn.Dense(1)(nn.tanh(x))[:, 0] for _ in range(TASKS)]


class Dropped(nn.Module):
    """A trunk with dropout, one head per task."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(8)(x))
        x = nn.Dropout(0.5, deterministic=False)(x)
        return [nn.Dense(1)(x)[:, 0] for _ in range(TASKS)]


def squared(outputs, y):
    return tuple(jnp.mean((out - t) ** 2) for out, t in zip(outputs, y, strict=True))


def normalised():
    """Losses with the new running statistics beside them; parameters, statistics."""
    model = Normalised()
    variables = model.init(jax.random.key(0), draw(0, 1, 4), True)

    def losses(params, statistics, batch):
        x, y = batch
        outputs, new = model.apply(
            {"params": params, "batch_stats": statistics}, x, True,
            mutable=["batch_stats"],
        )  # fmt: skip
        return squared(outputs, y), new["batch_stats"]

    return losses, variables["params"], variables["batch_stats"]


def dropped():
    """Losses that take a key for dropout; parameters."""
    model = Dropped()
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}

    def losses(params, batch, key):
        x, y = batch
        return squared(model.apply({"params": params}, x, rngs={"dropout": key}), y)

    return losses, model.init(keys, draw(0, 1, 4))["params"]


@pytest.mark.parametrize(
    ("kind", "whole"), [("exact", False), ("finite_difference", True)]
)
def test_running_statistics_move_by_one_forward_pass_a_step(kind, whole):
    """Those on training batches: steps that are only looked at leave no trace."""
    losses, params, statistics = normalised()
    options = {"num_tasks": TASKS, "meta_gradient": kind}
    if whole:
        tx = auxjax.autolambda(optax.sgd(0.1, momentum=0.9), **options)
    else:
        rule = auxjax.scale_by_autolambda(0.1, **options)
        tx = optax.chain(rule, auxjax.sum_tasks(), optax.sgd(0.1))

    @jax.jit
    def step(params, statistics, state, now, other):
        jac = auxjax.task_jacobian(losses, params, statistics, now, has_aux=True)
        updates, state = tx.update(
            jac, state, params, meta_losses=lambda p: losses(p, jac.aux, other)[0]
        )
        return optax.apply_updates(params, updates), jac.aux, state

    forward = jax.jit(lambda p, statistics, now: losses(p, statistics, now)[1])
    state, expected = tx.init(params), statistics
    for t in range(3):
        expected = forward(params, expected, batch(t))
        params, statistics, state = step(
            params, statistics, state, batch(t), batch(50 + t)
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
            statistics,
            expected,
        )
    weights = optax.tree.get(state, "weights")
    assert np.all(weights != 0.1)
    assert optax.tree.get(state, "skipped") == 0


@pytest.mark.parametrize("kind", ["exact", "finite_difference"])
def test_the_meta_gradient_through_batch_statistics(kind):
    """Training mode in every pass, against JAX's own reverse over reverse."""
    losses, params, statistics = normalised()
    weights = jnp.array([0.5, 0.3, 0.8])
    sgd = optax.sgd(0.1)

    @jax.jit
    def found():
        jac = auxjax.task_jacobian(losses, params, statistics, batch(0), has_aux=True)
        ahead = lookahead(jac, weights, sgd, sgd.init(params), params)
        d = jax.grad(lambda p: losses(p, statistics, batch(1))[0][0])(ahead.params)
        if kind == "exact":
            return exact_meta_gradient(jac, ahead, d)
        return finite_difference_meta_gradient(jac, ahead, d)

    @jax.jit
    @jax.grad
    def expected(weights):
        def total(p):
            return jnp.sum(weights * jnp.stack(losses(p, statistics, batch(0))[0]))

        ahead = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(total)(params))
        return losses(ahead, statistics, batch(1))[0][0]

    slope = expected(weights)
    error = np.linalg.norm(found() - slope) / np.linalg.norm(slope)
    assert error < (1e-5 if kind == "exact" else 2e-3)


def test_the_finite_difference_drops_what_the_training_pass_dropped():
    losses, params = dropped()
    weights, sgd = jnp.array([0.5, 0.3, 0.8]), optax.sgd(0.1)
    keys = jax.random.split(jax.random.key(1), 3)

    @jax.jit
    def run():
        jac = auxjax.task_jacobian(losses, params, batch(0), keys[0])
        ahead = lookahead(jac, weights, sgd, sgd.init(params), params)
        d = jax.grad(lambda p: losses(p, batch(1), keys[1])[0])(ahead.params)
        exact = exact_meta_gradient(jac, ahead, d)
        approximate = finite_difference_meta_gradient(jac, ahead, d)

        # The same by hand, with one key for both passes and with two.
        v = ahead.pull(d)
        s = 0.01 / optax.tree.norm(v)
        plus, minus = (
            jax.tree.map(lambda p, v, sign=sign: p + sign * s * v, params, v)
            for sign in (1.0, -1.0)
        )

        def quotient(one, two):
            ends = (losses(plus, batch(0), one), losses(minus, batch(0), two))
            return (jnp.stack(ends[0]) - jnp.stack(ends[1])) / (2 * s)

        return exact, approximate, quotient(keys[0], keys[0]), quotient(*keys[1:])

    exact, approximate, one_key, two_keys = run()

    def error(found):
        return np.linalg.norm(found - exact) / np.linalg.norm(exact)

    assert error(approximate) < 2e-3
    assert error(one_key) < 2e-3
    assert error(two_keys) > 1.0


def test_dropout_in_the_rule():
    """A new key every step, in the arguments of the losses; both kinds agree."""
    losses, params = dropped()

    def train(kind):
        tx = auxjax.autolambda(
            optax.sgd(0.1),
            num_tasks=TASKS,
            meta_gradient=kind,
            lambda_optimizer=optax.sgd(0.5),
        )

        def body(carry, key):
            params, state = carry
            now, other = jax.random.split(key)
            jac = auxjax.task_jacobian(losses, params, batch(0), now)
            updates, state = tx.update(
                jac, state, params, meta_losses=lambda p: losses(p, batch(1), other)
            )
            return (optax.apply_updates(params, updates), state), state.meta_gradient

        keys = jax.random.split(jax.random.key(2), 3)
        (_, state), slopes = jax.lax.scan(body, (params, tx.init(params)), keys)
        return state.weights, slopes

    weights, slopes = jax.jit(train, static_argnums=0)("exact")
    assert np.ptp(np.asarray(slopes), axis=0).min() > 1e-3  # other keys, other slopes
    approximate, _ = jax.jit(train, static_argnums=0)("finite_difference")
    moved = np.max(np.abs(weights - 0.1))
    np.testing.assert_allclose(approximate, weights, rtol=0, atol=5e-3 * moved)
