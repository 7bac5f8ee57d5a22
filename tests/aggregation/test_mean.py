import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

P = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([[3.0]])}


def losses(p):
    return jnp.sum(p["a"] ** 2) * p["b"][0, 0], jnp.sum(p["a"]), jnp.sum(p["b"] ** 3)


@pytest.mark.parametrize("kind", ["jacobian", "stacked"])
@pytest.mark.parametrize("with_params", [True, False])
def test_is_the_gradient_of_the_mean_loss(kind, with_params):
    jac = auxjax.task_jacobian(losses, P)
    tx = auxjax.mean_tasks()
    updates = jac if kind == "jacobian" else jac.rows()
    found, state = tx.update(updates, tx.init(P), P if with_params else None)
    np.testing.assert_allclose(found["a"], np.array([7.0, -11.0]) / 3, rtol=1e-6)
    np.testing.assert_allclose(found["b"], [[32.0 / 3]], rtol=1e-6)
    assert state == optax.EmptyState()


def test_averages_the_present_tasks():
    tx = auxjax.mean_tasks()
    rows = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 12.0]])
    state = tx.init(jnp.zeros(2))
    for mask, expected in [
        ([True, False, True], [3.0, 7.0]),
        ([False, True, False], [3.0, 4.0]),
        ([False, False, False], [0.0, 0.0]),
    ]:
        found, _ = tx.update(rows, state, task_mask=jnp.array(mask))
        np.testing.assert_array_equal(found, expected)


def test_float64(x64):
    tx = auxjax.mean_tasks()
    rows = jnp.array([[1.0], [1.0], [2.0]])
    assert rows.dtype == jnp.float64
    found, _ = tx.update(rows, tx.init(jnp.zeros(1)))
    np.testing.assert_allclose(found, [4 / 3], rtol=1e-15)


def test_a_summed_gradient_is_refused():
    tx = auxjax.mean_tasks()
    summed = jax.grad(lambda p: sum(losses(p)))(P)
    with pytest.raises(ValueError, match="already summed over the tasks"):
        tx.update(summed, tx.init(P), P)
