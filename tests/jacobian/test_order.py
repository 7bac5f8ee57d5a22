"""Which task is the main one, and what the losses may be returned as."""

import collections
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax
from auxjax import shared_mask, task_grads, task_jacobian

P = jnp.array([1.0, 2.0])


def policy_first(p):
    return {"policy": jnp.sum(p**2), "decoder": jnp.sum(p), "value": p[0]}


@jax.custom_vjp
def backwards(p):
    return policy_first(p)


backwards.defvjp(
    lambda p: (policy_first(p), p),
    lambda p, bar: (
        2 * p * bar["policy"] + bar["decoder"] + bar["value"] * jnp.eye(2)[0],
    ),
)


def scanned(p):
    start = {name: 0.0 * x for name, x in policy_first(p).items()}
    return jax.lax.scan(lambda *_: (policy_first(p), None), start, length=1)[0]


SORTED = {
    "checkpoint": jax.checkpoint(policy_first),
    "inner jit": lambda p: jax.jit(policy_first)(p),
    "jit of checkpoint": jax.jit(jax.checkpoint(policy_first)),
    "halved": lambda p: {k: v / 2 for k, v in jax.jit(policy_first)(p).items()},
    "with a penalty": lambda p: {
        k: v + 0.0 * jnp.sum(p**2) for k, v in jax.checkpoint(policy_first)(p).items()
    },
    "weighted": lambda p: {
        k: v * (1.0 + 0.0 * p[0]) for k, v in jax.jit(policy_first)(p).items()
    },
    "scan": scanned,
    "cond": lambda p: jax.lax.cond(p[0] < 9, policy_first, policy_first, p),
    "custom_vjp": backwards,
}


@pytest.mark.parametrize("name", SORTED)
def test_the_order_of_the_alphabet_out_of_a_transformation(name):
    message = r"Pass the main task's name, `main=\"...\"`"
    for build in (task_jacobian, task_grads(SORTED[name])):
        args = (SORTED[name], P) if build is task_jacobian else (P,)
        with pytest.raises(ValueError, match=message):
            build(*args)
    factor = 0.5 if name == "halved" else 1.0
    jac = task_jacobian(SORTED[name], P, main="policy")
    assert jac.names == ("policy", "decoder", "value")
    np.testing.assert_allclose(jac.losses, factor * np.array([5.0, 3.0, 1.0]))
    np.testing.assert_allclose(jac.row(0), factor * np.array([2.0, 4.0]))
    again = jac.at(2 * P)
    assert again.names == jac.names
    np.testing.assert_allclose(again.losses, factor * np.array([20.0, 6.0, 2.0]))
    values, grads = task_grads(SORTED[name], main="policy")(P)
    np.testing.assert_allclose(values, jac.losses)
    np.testing.assert_allclose(grads, jac.rows())
    assert shared_mask(SORTED[name], P) is True  # the same in any order


def heads_of_one_trunk(p):
    """A transformation inside that is not the losses'."""
    size, hidden = jax.checkpoint(lambda p: (jnp.sum(p**2), jnp.tanh(p)))(p)
    return {"a": jnp.sum(hidden), "b": jnp.sum(hidden**2) + size, "c": size}


def test_an_order_that_can_be_trusted():
    trusted = {
        "by hand": lambda p: {"a": p[0], "b": jnp.sum(p), "c": jnp.sum(p**2)},
        "unsorted": policy_first,
        "jitted": jax.jit(policy_first),
        "ordered": lambda p: collections.OrderedDict(a=p[0], b=jnp.sum(p)),
        "heads of one trunk": heads_of_one_trunk,
        "main": jax.checkpoint(lambda p: {"main": p[0], "other": p[1]}),
        "a tuple": jax.checkpoint(lambda p: (p[0], p[1])),
    }
    names = {key: task_jacobian(f, P).names for key, f in trusted.items()}
    assert names["by hand"] == ("a", "b", "c")
    assert names["unsorted"] == names["jitted"] == ("policy", "decoder", "value")
    assert names["ordered"] == ("a", "b")
    assert names["main"] == ("main", "other")
    assert names["a tuple"] == ("main", "aux_1")


@pytest.mark.parametrize(
    "form", [dict, tuple, jnp.stack], ids=["dict", "tuple", "array"]
)
def test_the_main_task_by_name(form):
    def losses(p):
        values = policy_first(p)
        return values if form is dict else form(list(values.values()))

    name = "value" if form is dict else "aux_2"
    jac = task_jacobian(losses, P, main=name)
    assert jac.names[0] == name
    np.testing.assert_allclose(jac.losses, [1.0, 5.0, 3.0])
    np.testing.assert_allclose(jac.row(0), [1.0, 0.0])
    np.testing.assert_allclose(jac.at(P).losses, jac.losses)
    with pytest.raises(
        ValueError, match=r"`main` should be one of the tasks, \(.*Found 'x'"
    ):
        task_jacobian(losses, P, main="x")


class Losses(NamedTuple):
    policy: jax.Array
    decoder: jax.Array


def test_a_named_tuple_keeps_its_names():
    jac = task_jacobian(lambda p: Losses(jnp.sum(p**2), p[0]), P)
    assert jac.names == ("policy", "decoder")
    assert (
        task_jacobian(lambda p: Losses(p[0], p[1]), P, main="decoder").names[0]
        == "decoder"
    )


def test_a_loss_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"Loss `b` should be a scalar\. Found None\."):
        task_jacobian(lambda p: {"b": None, "a": p[0]}, P)


@pytest.mark.parametrize("rule", ["autolambda", "auxinash", "famo"])
def test_losses_elsewhere_are_sorted_back(rule):
    """`jax.checkpoint` sorts them; the names say which is which."""
    tx = {
        "autolambda": lambda: auxjax.scale_by_autolambda(0.1, num_tasks=3),
        "auxinash": lambda: auxjax.scale_by_auxinash(3, every=1),
        "famo": lambda: auxjax.scale_by_famo(3),
    }[rule]()
    jac = task_jacobian(policy_first, P)
    found = []
    for elsewhere in (policy_first, jax.checkpoint(policy_first)):
        more = {"next_losses" if rule == "famo" else "meta_losses": elsewhere}
        state = tx.init(P)
        for _ in range(2):
            _, state = tx.update(jac, state, P, **more)
        found.append(jax.tree.leaves(state))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other)


class Once:
    """Arguments that may be used once, as Equinox's State."""

    def __init__(self, value):
        self.value = value

    def take(self):
        value, self.value = self.value, None
        return value


def flatten_once(once):
    if once.value is None:
        raise ValueError("used before")
    return (once.value,), None


jax.tree_util.register_pytree_node(Once, flatten_once, lambda _, leaves: Once(*leaves))


def test_arguments_that_may_be_used_once():
    def losses(p, state):
        scale = state.take()
        return (scale * jnp.sum(p**2), jnp.sum(p)), Once(scale + 1)

    jac = task_jacobian(losses, P, Once(jnp.array(2.0)), has_aux=True)
    np.testing.assert_allclose(jac.losses, [10.0, 3.0])
    np.testing.assert_allclose(jac.at(2 * P).losses, [40.0, 6.0])
    np.testing.assert_allclose(jac.at(3 * P).losses, [90.0, 9.0])
    assert jac.aux.value == 3.0
