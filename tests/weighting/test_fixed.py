import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
P = jnp.zeros(2)


def losses(p):
    return tuple(jnp.sum(jnp.asarray(r, jnp.float32) * p) for r in ROWS)


@pytest.mark.parametrize(
    "weights", [[1.0, 0.5, -2.0], np.array([1.0, 0.5, -2.0]), jnp.array([1, 0.5, -2])]
)
def test_weighs_the_rows(weights):
    jac = auxjax.task_jacobian(losses, P)
    for updates in (jac, jac.rows()):
        tx = auxjax.fixed(weights)
        total, state = tx.update(updates, tx.init(P), P)
        np.testing.assert_allclose(total, [1 + 1.5 - 10, 2 + 2 - 12])
        np.testing.assert_array_equal(optax.tree.get(state, "weights"), [1, 0.5, -2])


def test_equal_weights_are_the_gradient_of_the_sum():
    jac = auxjax.task_jacobian(losses, P)
    plain = jax.grad(lambda p: sum(losses(p)))(P)
    for tx in (auxjax.fixed([1.0] * 3), auxjax.sum_tasks()):
        np.testing.assert_allclose(tx.update(jac, tx.init(P), P)[0], plain)


def test_the_main_task_alone():
    tx = auxjax.fixed([1, 0, 0])
    jac = auxjax.task_jacobian(losses, P)
    np.testing.assert_array_equal(tx.update(jac, tx.init(P), P)[0], ROWS[0])


def test_state_has_the_precision_of_the_parameters(x64):
    tx = auxjax.fixed([1.0, 0.1])
    for dtype, wide in (("bfloat16", "float32"), ("float32", "float32")):
        assert tx.init(jnp.zeros(2, dtype))[0].weights.dtype == wide
    weights = tx.init(jnp.zeros(2, "float64"))[0].weights
    assert weights.dtype == "float64"
    assert weights[1] == 0.1  # not float32's 0.1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], "`weights` should have shape (T,). Found (0,)."),
        (np.ones((2, 1)), "`weights` should have shape (T,). Found (2, 1)."),
        ([1.0, float("nan")], "`weights` should be finite. Found [1.0, nan]."),
        ([1.0, float("inf")], "`weights` should be finite. Found [1.0, inf]."),
    ],
)
def test_bad_arguments(weights, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        auxjax.fixed(weights)


def test_another_number_of_tasks():
    tx = auxjax.fixed([1.0, 1.0])
    with pytest.raises(ValueError, match=r"`weights` should have 3 entries.*Found 2"):
        tx.update(auxjax.task_jacobian(losses, P), tx.init(P), P)
