"""Optimizers whose step tells nothing about the weights are refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax import scale_by_autolambda, task_jacobian
from auxjax.meta import exact_meta_gradient, lookahead

P = jnp.array([1.0, -2.0])
X = jnp.array([0.5, 0.3])


def losses(p, x):
    return jnp.sum((p - x) ** 2), jnp.sum(jnp.sin(p) * x)


def of_update(update):
    """A stateless optimizer."""
    return optax.GradientTransformation(
        lambda params: optax.EmptyState(),
        lambda g, state, params=None: (update(g), state),
    )


def halve_while_long(g):
    """A clipping that nobody can run backwards: how often it halves is not known."""
    return jax.lax.while_loop(lambda g: jnp.sum(g**2) > 0.1, lambda g: 0.5 * g, g)


def on_the_host(g):
    shape = jax.ShapeDtypeStruct(g.shape, g.dtype)
    return jax.pure_callback(lambda g: np.asarray(-0.1 * g), shape, g)


REFUSED = {
    "lion": (lambda: optax.lion(1e-3), "does not change with it"),
    "sign_sgd": (lambda: optax.sign_sgd(1e-3), "does not change with it"),
    "frozen": (optax.set_to_zero, "does not change with it"),
    "while_loop": (lambda: of_update(halve_while_long), "differentiated backwards"),
    "pure_callback": (lambda: of_update(on_the_host), "cannot be differentiated"),
}
every_refused = pytest.mark.parametrize("name", REFUSED)
jitted = pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])


@jitted
@every_refused
def test_a_step_without_a_useful_slope_is_refused(name, wrap):
    make, what = REFUSED[name]
    optimizer = make()

    def slope(params):
        jac = task_jacobian(losses, params, X)
        state = optimizer.init(params)
        ahead = lookahead(jac, jnp.ones(2), optimizer, state, params)
        return exact_meta_gradient(jac, ahead, params)

    with pytest.raises(ValueError, match=f"`optimizer` should take a step.*{what}"):
        wrap(slope)(P)


@every_refused
def test_the_rule_refuses_it_too_and_says_what_to_do(name):
    make, _ = REFUSED[name]
    tx = scale_by_autolambda(make())
    jac = task_jacobian(losses, P, X)
    with pytest.raises(ValueError, match=r"Look ahead with another.*optax.sgd"):
        tx.update(jac, tx.init(P), P, meta_losses=lambda p: losses(p, X))


def test_the_optimizers_own_error_comes_first():
    def update(g):
        raise RuntimeError("its own")

    optimizer = of_update(update)
    jac = task_jacobian(losses, P, X)
    with pytest.raises(RuntimeError, match="its own"):
        lookahead(jac, jnp.ones(2), optimizer, optimizer.init(P), P)


def test_a_part_that_is_frozen_is_no_reason():
    """One leaf moves by its gradient, the other by its sign: that is enough."""
    params = {"a": P, "b": P}
    optimizer = optax.partition(
        {"moves": optax.sgd(0.1), "sign": optax.sign_sgd(0.1)},
        {"a": "moves", "b": "sign"},
    )

    def both(p, x):
        return tuple(u + 3 * v for u, v in zip(losses(p["a"], x), losses(p["b"], x)))  # noqa: B905

    jac = task_jacobian(both, params, X)
    state = optimizer.init(params)
    ahead = lookahead(jac, jnp.ones(2), optimizer, state, params)
    found = exact_meta_gradient(jac, ahead, {"a": P, "b": P})
    alone = task_jacobian(losses, P, X)
    np.testing.assert_allclose(found, -0.1 * alone.jvp(P), rtol=1e-6)
