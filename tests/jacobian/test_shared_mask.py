"""Which parameters are shared, found from the jaxpr."""

import jax
import jax.numpy as jnp
import pytest

from auxjax import as_jacobian, shared_mask, task_jacobian

P = {"trunk": jnp.ones(2), "left": jnp.ones(2), "right": jnp.ones(2), "n": 1}
TRUNK = {"trunk": True, "left": False, "right": False, "n": False}


def heads(p, x=1.0):
    z = jnp.tanh(p["trunk"] * x)
    return jnp.sum(z * p["left"]), jnp.sum(z * p["right"])


@pytest.mark.parametrize(
    "losses",
    [
        heads,
        lambda p: dict(zip("zy", heads(p), strict=True)),
        lambda p: jnp.stack(heads(p)),
        jax.jit(heads),
        jax.checkpoint(heads),
        lambda p: (*heads(p), 1.0),
    ],
    ids=["tuple", "dict", "stacked", "jit", "checkpoint", "a constant loss"],
)
def test_trunk_and_heads(losses):
    assert shared_mask(losses, P) == TRUNK


def test_arguments_and_aux():
    assert shared_mask(lambda p, x: (heads(p, x), x), P, 2.0, has_aux=True) == TRUNK


def test_stop_gradient_does_not_count():
    def losses(p):
        z = jnp.tanh(p["trunk"])
        right = jnp.sum(jax.lax.stop_gradient(z) * p["right"])
        return jnp.sum(z * p["left"]), right

    assert shared_mask(losses, P) == TRUNK | {"trunk": False}


def test_a_detour_past_stop_gradient_counts():
    def losses(p):
        z = p["trunk"] + jax.lax.stop_gradient(p["trunk"])
        return jnp.sum(z * p["left"]), jnp.sum(z * p["right"])

    assert shared_mask(losses, P) == TRUNK


def test_through_scan():
    """The carry mixes trunk and left over the steps; the other output: the trunk."""

    def losses(p):
        def body(carry, _):
            x, y = carry
            return (x * p["trunk"], y * p["left"] + x), jnp.sum(x)

        (_, y), sums = jax.lax.scan(body, (p["trunk"], p["left"]), None, length=3)
        return jnp.sum(y * p["right"]), jnp.sum(sums)

    assert shared_mask(losses, P) == TRUNK


def test_through_cond():
    def losses(p):
        left, right = (lambda: p["left"]), (lambda: p["right"])
        either = jax.lax.cond(p["trunk"][0] > 0, left, right)
        return jnp.sum(either), jnp.sum(p["right"])

    assert shared_mask(losses, P) == TRUNK | {"trunk": False, "right": True}


def test_one_array_of_losses_shares_what_it_uses():
    def losses(p):
        return jax.vmap(lambda c: jnp.sum(p["trunk"]) * c)(jnp.arange(2.0))

    assert shared_mask(losses, P) == TRUNK


def test_inside_jit_it_is_static():
    @jax.jit
    def f(p):
        mask = shared_mask(heads, p)
        assert all(isinstance(flag, bool) for flag in jax.tree.leaves(mask))
        return task_jacobian(heads, p).norms(mask)

    assert f(P).shape == (2,)


def test_scaling_changes_nothing():
    jac = task_jacobian(heads, P).scale(jnp.zeros(2))
    assert jac.shared_mask() == TRUNK


def test_stacked_gradients_do_not_know():
    rows = task_jacobian(heads, P).rows()
    expected = dict.fromkeys(P, True) | {"n": False}
    assert as_jacobian(rows, P).shared_mask() == expected
