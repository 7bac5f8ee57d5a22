"""A dict of losses that comes out of a transformation has its keys sorted.

Another task than the first would become the main one, so `task_jacobian` refuses, and
takes the main task's name instead.
"""

import collections

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import auxjax

X = jnp.array([[1.0, -2.0, 0.5], [0.3, 0.2, 0.1]])


def values(hidden):
    """Two losses, the main one's name after the other's in the alphabet."""
    return {"zebra": jnp.sum(hidden**2), "apple": jnp.sum(jnp.cos(hidden))}


def plain(w):
    return values(X @ w)


def linen(transform):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return values(nn.Dense(2, use_bias=False)(x))

    module = transform(Model)()

    def losses(w):
        # The module's name inside a transformation is its own business.
        shapes = jax.eval_shape(module.init, jax.random.key(0), X)
        variables = jax.tree.map(lambda _: w, shapes)
        return module.apply(variables, X)

    return losses


def nnx_model(transform):
    graphdef, state = nnx.split(nnx.Linear(3, 2, use_bias=False, rngs=nnx.Rngs(0)))

    def losses(w):
        model = nnx.merge(graphdef, jax.tree.map(lambda _: w, state), copy=True)
        return transform(lambda model, x: values(model(x)))(model, X)

    return losses


SORTERS = {
    "jax.checkpoint": jax.checkpoint(plain),
    "an inner jax.jit": lambda w: jax.jit(plain)(w),
    "jax.jit in jax.vmap": lambda w: jax.tree.map(
        jnp.sum, jax.vmap(lambda x: jax.jit(values)(x @ w))(X)
    ),
    "nn.remat": linen(nn.remat),
    "nn.jit": linen(nn.jit),
    "nnx.remat": nnx_model(nnx.remat),
    "nnx.jit": nnx_model(nnx.jit),
    "eqx.filter_checkpoint": eqx.filter_checkpoint(plain),
    "an inner eqx.filter_jit": lambda w: eqx.filter_jit(plain)(w),
}

W = jnp.array([[0.5, -1.0], [0.2, 0.7], [1.5, -0.3]])
every_sorter = pytest.mark.parametrize("losses", SORTERS.values(), ids=SORTERS)


@every_sorter
def test_another_main_task_is_refused(losses):
    assert list(losses(W)) == ["apple", "zebra"]  # in silence, by JAX
    with pytest.raises(ValueError, match=r'Pass the main task.*`main="'):
        auxjax.task_jacobian(losses, W)
    with pytest.raises(ValueError, match=r'Pass the main task.*`main="'):
        auxjax.task_grads(losses)(W)


@every_sorter
def test_the_named_task_is_the_main_one(losses):
    jac = auxjax.task_jacobian(losses, W, main="zebra")
    assert jac.names == ("zebra", "apple")
    expected = jax.grad(lambda w: plain(w)["zebra"])(W)
    np.testing.assert_allclose(jac.losses[0], plain(W)["zebra"], rtol=1e-5)
    np.testing.assert_allclose(jac.row(0), expected, rtol=1e-5)
    np.testing.assert_allclose(jac.rows()[0], expected, rtol=1e-5)
    np.testing.assert_allclose(
        auxjax.task_grads(losses, main="zebra")(W)[1][0], expected
    )
    moved = jac.at(W + 1)  # it keeps the order that it was given
    assert moved.names == ("zebra", "apple")
    np.testing.assert_allclose(moved.losses[0], plain(W + 1)["zebra"], rtol=1e-5)


@pytest.mark.parametrize("rule", ["olaux", "gcs", "cagrad", "autolambda"])
def test_every_rule_has_the_named_task_first(rule):
    rules = {
        "olaux": auxjax.olaux(n=1),
        "gcs": auxjax.gcs(),
        "cagrad": auxjax.cagrad(),
        "autolambda": auxjax.autolambda(optax.sgd(0.1)),
    }
    tx, losses = rules[rule], SORTERS["jax.checkpoint"]
    jacobians = (
        auxjax.task_jacobian(losses, W, main="zebra"),
        auxjax.task_jacobian(plain, W),
    )
    both = [
        tx.update(jac, tx.init(W), W, meta_losses=meta)
        for jac, meta in zip(jacobians, (losses, plain), strict=True)
    ]
    for one, other in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_what_keeps_its_order_is_taken_as_it_is():
    whole = jax.jit(plain)  # looked through
    ordered = jax.checkpoint(lambda w: collections.OrderedDict(plain(w)))
    pair = jax.checkpoint(lambda w: tuple(plain(w).values()))
    assert auxjax.task_jacobian(whole, W).names == ("zebra", "apple")
    assert auxjax.task_jacobian(ordered, W).names == ("zebra", "apple")
    np.testing.assert_allclose(
        auxjax.task_jacobian(pair, W).losses[0], plain(W)["zebra"], rtol=1e-6
    )
    model = nn.remat(nn.Dense)(2, use_bias=False)  # a layer inside is no dict of losses
    found = auxjax.task_jacobian(
        lambda w: values(model.apply({"params": {"kernel": w}}, X)), W
    )
    assert found.names == ("zebra", "apple")
