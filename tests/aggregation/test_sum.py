import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

P = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([[3.0]])}


def losses(p):
    return jnp.sum(p["a"] ** 2) * p["b"][0, 0], jnp.sum(p["a"]), jnp.sum(p["b"] ** 3)


# Σ a² b + Σ a + b³
TOTAL = {"a": [7.0, -11.0], "b": [[5.0 + 27.0]]}


@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
@pytest.mark.parametrize("with_params", [True, False])
def test_sums_the_rows(kind, with_params):
    jac = auxjax.task_jacobian(losses, P)
    tx = auxjax.sum_tasks()
    updates = jac if kind == "jacobian" else jac.rows()
    total, state = tx.update(updates, tx.init(P), P if with_params else None)
    assert jax.tree.structure(total) == jax.tree.structure(P)
    for key, expected in TOTAL.items():
        np.testing.assert_allclose(total[key], expected)
    assert state == optax.EmptyState()


def test_is_the_gradient_of_the_sum():
    tx = auxjax.sum_tasks()
    total, _ = tx.update(auxjax.task_jacobian(losses, P), tx.init(P))
    plain = jax.grad(lambda p: sum(losses(p)))(P)
    jax.tree.map(np.testing.assert_allclose, total, plain)


def test_sums_the_scaled_rows():
    jac = auxjax.task_jacobian(losses, P).scale(
        jnp.array([0.0, 2.0, 1.0]), {"a": True, "b": False}
    )
    tx = auxjax.sum_tasks()
    for updates in (jac, jac.rows()):
        total, _ = tx.update(updates, tx.init(P), P)
        np.testing.assert_allclose(total["a"], [2.0, 2.0])
        np.testing.assert_allclose(total["b"], [[32.0]])


def test_any_number_of_tasks():
    for count in (1, 7):
        tx = auxjax.sum_tasks()
        total, _ = tx.update(jnp.ones((count, 2)), tx.init(jnp.zeros(2)))
        np.testing.assert_array_equal(total, [count, count])


def test_bfloat16_rows_are_summed_in_float32():
    """256 + 1 is 256 in bfloat16: a sum that rounds on the way loses all the ones."""
    rows = jnp.concatenate([jnp.full((1, 3), 256.0), jnp.ones((64, 3))])
    tx = auxjax.sum_tasks()
    total, _ = tx.update(rows.astype(jnp.bfloat16), tx.init(jnp.zeros(3)))
    assert total.dtype == jnp.bfloat16
    np.testing.assert_array_equal(total.astype(jnp.float32), np.full(3, 320.0))


def test_a_summed_gradient_is_refused():
    tx = auxjax.sum_tasks()
    summed = jax.grad(lambda p: sum(losses(p)))(P)
    for params in (P, None):
        with pytest.raises(ValueError, match="already summed over the tasks"):
            tx.update(summed, tx.init(P), params)
