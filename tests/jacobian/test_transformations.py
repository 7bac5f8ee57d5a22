"""A `TaskJacobian` is a pytree: it goes where arrays go."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax import task_jacobian

P = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
V = {"a": jnp.array([1.0, -1.0]), "b": jnp.array(2.0)}


def losses(p, c=1.0):
    return {"z": jnp.sum(p["a"] ** 2) * p["b"] * c, "y": jnp.sum(p["a"]), "x": p["b"]}


def slopes(p, c=1.0):
    """J v by hand, for `V`."""
    a, b = np.asarray(p["a"]), np.asarray(p["b"])
    return np.array([(2 * a @ [1, -1] * b + 2 * (a @ a)) * c, 0.0, 2.0])


def test_crosses_jit_and_is_traced_once():
    make = jax.jit(lambda p: task_jacobian(losses, p))
    traces = []

    @jax.jit
    def push(jac):
        traces.append(jac.names)
        return jac.jvp(V), jac.losses

    for shift in (0.0, 1.0, 2.0):
        params = jax.tree.map(lambda x, s=shift: x + s, P)
        jac = make(params)
        pushed, values = push(jac)
        np.testing.assert_allclose(pushed, slopes(params), rtol=1e-6)
        np.testing.assert_allclose(values, list(losses(params).values()), rtol=1e-6)
    assert traces == [("z", "y", "x")]
    assert jac.names == ("z", "y", "x")


def test_scales_cross_jit():
    make = jax.jit(
        lambda p: task_jacobian(losses, p).scale(
            jnp.array([2.0, 3.0, 4.0]), {"a": True, "b": False}
        )
    )
    rows = make(P).rows()
    np.testing.assert_allclose(rows["a"], [[12.0, 24.0], [3.0, 3.0], [0.0, 0.0]])
    np.testing.assert_allclose(rows["b"], [5.0, 0.0, 1.0])


def test_comes_out_of_vmap_and_is_asked_there():
    many = jax.tree.map(lambda x: jnp.stack([x, 2 * x, 3 * x]), P)
    jacs = jax.vmap(lambda p: task_jacobian(losses, p))(many)
    assert jacs.losses.shape == (3, 3)
    pushed = jax.vmap(lambda jac: jac.jvp(V))(jacs)
    expected = [slopes(jax.tree.map(lambda x, i=i: x[i], many)) for i in range(3)]
    np.testing.assert_allclose(pushed, expected, rtol=1e-6)


def test_vmap_over_data_only():
    cs = jnp.array([1.0, 2.0])
    pushed = jax.vmap(lambda c: task_jacobian(losses, P, c).jvp(V))(cs)
    np.testing.assert_allclose(pushed, [slopes(P, 1.0), slopes(P, 2.0)], rtol=1e-6)


@pytest.mark.parametrize("pick", [True, False])
def test_is_asked_inside_cond(pick):
    @jax.jit
    def choose(p, pick):
        jac = task_jacobian(losses, p)
        return jax.lax.cond(pick, lambda: jac.vjp(jnp.ones(3)), lambda: jac.row(2))

    expected = {"a": [7.0, 13.0], "b": 6.0} if pick else {"a": [0.0, 0.0], "b": 1.0}
    got = choose(P, pick)
    np.testing.assert_allclose(got["a"], expected["a"])
    np.testing.assert_allclose(got["b"], expected["b"])


def test_stacks_up_as_the_output_of_scan():
    def body(p, c):
        jac = task_jacobian(losses, p, c)
        return jax.tree.map(lambda x: x + 1.0, p), jac.scale(jnp.full(3, 2.0))

    _, jacs = jax.jit(lambda p: jax.lax.scan(body, p, jnp.array([1.0, 3.0])))(P)
    pushed = jax.vmap(lambda jac: jac.jvp(V))(jacs)
    after = jax.tree.map(lambda x: x + 1.0, P)
    expected = [2 * slopes(P, 1.0), 2 * slopes(after, 3.0)]
    np.testing.assert_allclose(pushed, expected, rtol=1e-6)


def test_a_training_loop_in_scan_with_chain():
    tx = optax.chain(
        auxjax.scale_by_fixed([1.0, 0.5]), auxjax.sum_tasks(), optax.sgd(0.1)
    )

    def quadratics(p, target):
        return jnp.sum((p - target) ** 2), jnp.sum(p**2)

    def body(carry, target):
        p, state = carry
        jac = task_jacobian(quadratics, p, target)
        updates, state = tx.update(jac, state, p)
        return (optax.apply_updates(p, updates), state), jac.losses

    p = jnp.array([1.0, -2.0])
    targets = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    (end, _), seen = jax.lax.scan(body, (p, tx.init(p)), jnp.asarray(targets))
    by_hand, values = np.array([1.0, -2.0]), []
    for target in targets:
        values.append([np.sum((by_hand - target) ** 2), np.sum(by_hand**2)])
        by_hand = by_hand - 0.1 * (2 * (by_hand - target) + 0.5 * 2 * by_hand)
    np.testing.assert_allclose(end, by_hand, rtol=1e-5)
    np.testing.assert_allclose(seen, values, rtol=1e-5)


def test_contractions_can_be_differentiated_with_respect_to_weights():
    """d/dw ⟨Σ wᵢ∇Lᵢ, v⟩ = J v."""

    def along(w):
        total = task_jacobian(losses, P).vjp(w)
        return sum(jnp.vdot(total[k], V[k]) for k in V)

    np.testing.assert_allclose(jax.grad(along)(jnp.ones(3)), slopes(P), rtol=1e-6)
