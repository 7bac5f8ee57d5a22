"""Task affinity against losses written down in NumPy, one step ahead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax
from tests.diagnosis.conftest import Problem

RATE = 0.3


def close(found, expected, rtol=1e-9):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def jacobian(problem, dtype="float64"):
    x = jnp.asarray(problem.x[0], dtype)
    return auxjax.task_jacobian(problem.losses, problem.params(dtype), x)


def reference(problem, rate=RATE):
    """`[T, T]`: 1 − Lⱼ(w − α ∇_w Lᵢ) / Lⱼ(w); the heads stay."""
    x = problem.x[0]
    now, rows = problem.losses_at(problem.w, x), problem.rows(x)
    after = [problem.losses_at(problem.w - rate * row, x) for row in rows]
    return 1 - np.stack(after) / now[None]


def slope(problem, rate=RATE):
    x = problem.x[0]
    rows, now = problem.rows(x), problem.losses_at(problem.w, x)
    return rate * (rows @ rows.T) / now[None]


@pytest.mark.parametrize("num_tasks", [1, 2, 4, 40])
def test_it_is_that_of_numpy(x64, num_tasks):
    problem = Problem(num_tasks)
    if num_tasks == 1:  # nothing is shared: all leaves count
        found = auxjax.task_affinity(
            jacobian(problem), RATE, where={"heads": False, "w": True}
        )
    else:
        found = auxjax.task_affinity(jacobian(problem), RATE)
    expected = reference(problem)
    close(found, expected)
    assert num_tasks < 40 or (expected < 0).any()
    assert abs(expected - expected.T).max() > 0.1 or num_tasks == 1  # i onto j


@pytest.mark.parametrize("num_tasks", [2, 4])
def test_the_first_order_is_the_slope(x64, num_tasks):
    problem = Problem(num_tasks)
    jac = jacobian(problem)
    found = auxjax.task_affinity(jac, RATE, first_order=True)
    close(found, slope(problem))
    small = 1e-6
    exact = auxjax.task_affinity(jac, small)
    np.testing.assert_allclose(exact / small, found / RATE, rtol=1e-4, atol=1e-4)
    mask = jac.shared_mask()
    for i in range(num_tasks):  # a tangent pass along the task's step gives its row
        fallen = RATE * jac.jvp(jac.row(i), mask)
        close(found[i], fallen / jac.losses)


def test_under_jit_and_vmap(four):
    rates = jnp.array([0.1, 0.3])

    @jax.jit
    def of(rate):
        return auxjax.task_affinity(jacobian(four), rate)

    found = jax.vmap(of)(rates)
    for i, rate in enumerate((0.1, 0.3)):
        close(found[i], reference(four, rate))


def test_the_leaves_that_move_can_be_chosen(four):
    everywhere = {"heads": True, "w": True}
    found = auxjax.task_affinity(jacobian(four), RATE, where=everywhere)
    expected = reference(four)
    x, w = four.x[0], four.w
    now = four.losses_at(w, x)
    moved = (four.heads * (1 - RATE)) ** 2 / 2 - four.heads**2 / 2
    close(found, expected - np.diag(moved / now))


def test_absent_tasks_and_bad_numbers(four):
    present = jnp.array([True, False, True, True])
    for first_order in (False, True):
        whole = auxjax.task_affinity(jacobian(four), RATE, first_order=first_order)
        found = auxjax.task_affinity(
            jacobian(four), RATE, first_order=first_order, task_mask=present
        )
        there = np.outer(present, present)
        close(np.asarray(found)[there], np.asarray(whole)[there])
        assert np.isnan(np.asarray(found)[~there]).all()

    def losses(params, x):
        bad = {"aux0": jnp.sqrt(params["w"][0] * 0.0), "aux1": params["w"][1] * 0.0}
        return four.losses(params, x) | bad  # an infinite slope; a loss of 0

    jac = auxjax.task_jacobian(losses, four.params(), jnp.asarray(four.x[0]))
    found = np.asarray(auxjax.task_affinity(jac, RATE))
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 2]).all()
    sound = np.ix_([0, 3], [0, 3])
    close(found[sound], reference(four)[sound])


def test_a_loss_below_zero_keeps_the_sign(x64):
    jac = auxjax.task_jacobian(lambda p: (jnp.sum(p**2) - 10, jnp.sum(p)), jnp.ones(2))
    found = auxjax.task_affinity(jac, 0.1)
    close(found[0], [(2 - 2 * 0.8**2) / 8, 0.2])  # both fall: above 0


def test_stacked_gradients_have_the_first_order_alone(four):
    values, grads = auxjax.task_grads(four.losses)(
        four.params(), jnp.asarray(four.x[0])
    )
    where = {"heads": False, "w": True}
    found = auxjax.task_affinity(
        grads, RATE, first_order=True, losses=values, where=where
    )
    close(found, slope(four))
    with pytest.raises(ValueError, match=r"`losses` should be given with stacked"):
        auxjax.task_affinity(grads, RATE, first_order=True)
    with pytest.raises(ValueError, match=r"a TaskJacobian, which can look ahead"):
        auxjax.task_affinity(grads, RATE, losses=values)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none(four, rate):
    with pytest.raises(ValueError, match=r"`learning_rate` should be above 0"):
        auxjax.task_affinity(jacobian(four), rate)


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-5), ("bfloat16", 0.05)])
def test_lesser_precision(dtype, atol):
    problem = Problem(4)
    found = auxjax.task_affinity(jacobian(problem, dtype), RATE)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, reference(problem), atol=atol)
    found = auxjax.task_affinity(jacobian(problem, dtype), RATE, first_order=True)
    np.testing.assert_allclose(found, slope(problem), atol=atol)
