import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
P = jnp.zeros(2)


def scaled(values, **options):
    tx = auxjax.scale_by_log_loss(**options)
    values = jnp.asarray(values, jnp.float32)
    got, _ = tx.update(jnp.asarray(ROWS, jnp.float32), tx.init(P), P, losses=values)
    return np.asarray(got)


@pytest.mark.parametrize(
    ("values", "options", "factors"),
    [
        ([2.0, 4.0, 0.5], {}, [0.5, 0.25, 2.0]),
        ([2.0, 4.0, 0.5], {"tasks": "auxiliary"}, [1.0, 0.25, 2.0]),
        ([2.0, 4.0, 0.5], {"tasks": [0, 2]}, [0.5, 1.0, 2.0]),
        ([2.0, 4.0, 0.5], {"tasks": ()}, [1.0, 1.0, 1.0]),
        ([2.0, 4.0, 0.5], {"offset": 2.0}, [0.25, 1 / 6, 0.4]),
        ([-2.0, 0.0, 0.5], {}, [1.0, 1.0, 2.0]),  # no logarithm: as it is
        ([-2.0, -0.5, 0.0], {"offset": 1.0}, [1.0, 2.0, 1.0]),
    ],
)
def test_rows_by_hand(values, options, factors):
    expected = ROWS * np.array(factors)[:, None]
    np.testing.assert_allclose(scaled(values, **options), expected, rtol=1e-6)


def test_is_the_gradient_of_the_logarithm():
    p = np.array([0.3, -0.8])
    centres = np.array([[1.0, 1.0], [-2.0, 0.5]])
    off = p - centres
    values = np.sum(off**2, axis=1)
    expected = 2 * off / (values[:, None] + 0.02)  # ∇ log(‖p - c‖² + 0.02)

    def losses(p):
        return tuple(jnp.sum((p - c) ** 2) for c in jnp.asarray(centres, jnp.float32))

    jac = auxjax.task_jacobian(losses, jnp.asarray(p, jnp.float32))
    tx = auxjax.scale_by_log_loss(offset=0.02)
    got, state = tx.update(jac, tx.init(P), P)
    np.testing.assert_allclose(got.rows(), expected, rtol=1e-6)
    np.testing.assert_allclose(got.losses, values, rtol=1e-6)  # they stay as they are
    assert state.nonfinite == 0


def test_before_olaux_its_products_are_of_logarithms():
    """And after it they are not; the update is the same, for scalings commute."""
    values = jnp.array([2.0, 4.0])
    rows = jnp.array([[1.0, 0.0], [1.0, 1.0]])
    rule, balance = auxjax.scale_by_olaux(n=1), auxjax.scale_by_log_loss()
    for order, product in (((balance, rule), 1 / 8), ((rule, balance), 1.0)):
        tx = optax.chain(*order, auxjax.sum_tasks())
        total, state = tx.update(rows, tx.init(P), P, losses=values)
        np.testing.assert_allclose(total, [0.5 + 0.25, 0.25])
        weights = optax.tree.get(state, "weights")
        np.testing.assert_allclose(weights, [1.0, 1.0 + 5e-3 * product], rtol=1e-6)


def test_a_loss_near_zero_is_bounded_by_the_offset():
    assert scaled([1e-30, 1.0, 1.0], offset=0.02)[0, 0] == pytest.approx(50.0)


def test_stacked_gradients_need_the_losses():
    tx = auxjax.scale_by_log_loss()
    message = "`scale_by_log_loss` needs the losses. Found stacked gradients alone"
    with pytest.raises(ValueError, match=re.escape(message)):
        tx.update(jnp.asarray(ROWS), tx.init(P), P)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tasks": "main"}, '"all", "auxiliary" or a sequence of indices. Found \'ma'),
        ({"offset": -1.0}, "`offset` should be at least 0. Found -1.0."),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        auxjax.scale_by_log_loss(**kwargs)


@pytest.mark.parametrize("index", [3, -1])
def test_an_index_out_of_range(index):
    message = f"`tasks` should hold indices in 0..2. Found {index}."
    with pytest.raises(ValueError, match=re.escape(message)):
        scaled([1.0, 1.0, 1.0], tasks=[index])
