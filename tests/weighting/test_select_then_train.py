"""Search, back to the start, then training: against NumPy, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

CENTRES = np.array([[1.0, 0.5], [0.9, 0.6], [-1.0, -2.0], [0.8, 0.1]])
OFFSETS = np.array([0.1, 0.2, 0.3, 0.4])
HEADS = np.array([0.3, -0.5, 2.0, 1.5])
LABELS = (10, 40, 40, 25)
SEARCH, STEPS, BETA, N = 7, 16, 0.3, 2


def losses(params):
    """Half squared distances, and a head of each task's own."""
    trunk, heads = params["trunk"], params["heads"]
    return {
        f"task {i}": jnp.sum((trunk - jnp.asarray(CENTRES[i], trunk.dtype)) ** 2) / 2
        + (heads[f"task {i}"] - float(HEADS[i])) ** 2 / 2
        + float(OFFSETS[i])
        for i in range(4)
    }


def start(dtype):
    heads = {f"task {i}": jnp.zeros((), dtype) for i in range(4)}
    return {"trunk": jnp.zeros(2, dtype), "heads": heads}


def reference():
    """Parameters [steps, 2 + 4] and weights [steps, 4] after every step."""
    first = np.zeros(6)
    theta, momentum = first.copy(), np.zeros(6)
    weights, total, seen = np.ones(4), np.zeros(4), []
    for step in range(STEPS):
        trunk, heads = theta[:2], theta[2:]
        rows = np.zeros((4, 6))
        rows[:, :2] = trunk - CENTRES
        rows[np.arange(4), 2 + np.arange(4)] = heads - HEADS
        values = (rows[:, :2] ** 2).sum(1) / 2 + (heads - HEADS) ** 2 / 2 + OFFSETS
        if step < SEARCH:  # OL-AUX of logarithms, by gradient descent at 0.05
            logs = rows / values[:, None]
            theta = theta - 0.05 * weights @ logs
            total = total + logs @ logs[0]
            if (step + 1) % N == 0:
                weights = np.append(1.0, weights[1:] + BETA * total[1:])
                total = np.zeros(4)
        elif step == SEARCH:
            chosen = weights > np.sqrt(max(weights[1:].max(), 1.0))
            chosen[0] = True
            weights = np.where(chosen, np.array(LABELS) / LABELS[0], 0.0)
            theta = first.copy()
        else:  # momentum 0.9 at 0.1; the trunk's weights sum to 4, heads their own
            gradient = (4 / weights.sum()) * weights @ rows
            gradient[2:] = np.diag(rows[:, 2:])
            momentum = 0.9 * momentum + gradient
            theta = theta - 0.1 * momentum
        seen.append((theta.copy(), weights.copy()))
    return map(np.array, zip(*seen, strict=True))


def make():
    return auxjax.select_then_train(
        optax.sgd(0.1, momentum=0.9),
        search_steps=SEARCH,
        num_tasks=4,
        num_labels=LABELS,
        n=N,
        learning_rate=BETA,
        search_optimizer=optax.sgd(0.05),
    )


def train(tx, params, steps=STEPS, **extra):
    @jax.jit
    def step(params, state):
        jac = auxjax.task_jacobian(losses, params)
        updates, state = tx.update(jac, state, params, **extra)
        return optax.apply_updates(params, updates), state

    state, seen = tx.init(params), []
    for _ in range(steps):
        params, state = step(params, state)
        heads = [params["heads"][f"task {i}"] for i in range(4)]
        seen.append(([*params["trunk"], *heads], state.weights))
    return (np.array([x[i] for x in seen]) for i in (0, 1)), state


def test_every_step_is_the_reference_s():
    with jax.enable_x64(True):
        (params, weights), state = train(make(), start(jnp.float64))
    wanted, wanted_weights = reference()
    np.testing.assert_allclose(params, wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(weights, wanted_weights, rtol=1e-9, atol=1e-9)
    assert state.selected.tolist() == (wanted_weights[-1] > 0).tolist()
    assert state.selected.tolist() == [True, True, False, False]


def test_training_sees_nothing_of_the_search():
    """From the second part on it is what the optimizer does alone, from the start."""
    tx = make()
    (params, weights), _ = train(tx, start(jnp.float32))
    plain = optax.chain(
        auxjax.scale_by_fixed([float(w) for w in weights[-1]]),
        auxjax.scale_to_sum(own_heads=True),
        auxjax.sum_tasks(),
        optax.sgd(0.1, momentum=0.9),
    )
    now, state = start(jnp.float32), plain.init(start(jnp.float32))
    for i in range(SEARCH + 1, STEPS):
        jac = auxjax.task_jacobian(losses, now)
        updates, state = plain.update(jac, state, now)
        now = optax.apply_updates(now, updates)
        np.testing.assert_allclose(params[i][:2], now["trunk"], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        ([1.0, 900.0, 31.0, 29.0, -5.0], [True, True, True, False, False]),
        ([1.0, 1.0, 1.0], [True, False, False]),  # nobody has grown
        ([1.0, 0.9, -3.0], [True, False, False]),
        ([1.0, 4.0], [True, True]),
        ([1e9, 4.0, 1.5], [True, True, False]),  # the main task's is not looked at
        ([1.0, np.nan, 4.0], [True, False, True]),
    ],
)
def test_who_helps_is_nearer_to_the_best_than_to_one(weights, chosen):
    assert auxjax.selected_helpers(jnp.array(weights)).tolist() == chosen


def test_an_absent_helper_is_not_selected():
    mask = jnp.array([True, True, True, False])
    _, state = train(make(), start(jnp.float32), task_mask=mask)
    assert state.selected.tolist()[3] is False
    assert float(state.weights[3]) == 0.0


def test_stacked_gradients_train_too():
    tx = make()
    params, state = start(jnp.float32), None
    state = tx.init(params)
    for _ in range(SEARCH + 3):
        jac = auxjax.task_jacobian(losses, params)
        updates, state = tx.update(jac.rows(), state, params, losses=jac.losses)
        params = optax.apply_updates(params, updates)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(params))
    assert float(jnp.sum(state.weights)) == pytest.approx(1 + 4)


def test_updates_have_the_parameters_dtype():
    tx = make()
    params = start(jnp.bfloat16)
    state = tx.init(params)
    for _ in range(SEARCH + 2):
        jac = auxjax.task_jacobian(losses, params)
        updates, state = tx.update(jac, state, params)
        assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
        params = optax.apply_updates(params, updates)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search_steps": 0}, "`search_steps` should be at least 1. Found 0"),
        ({"num_tasks": 1}, "`num_tasks`"),
        ({"num_labels": (1, 2, 3)}, "`num_labels` should be 2 numbers above 0"),
        ({"num_labels": (0, 2)}, r"Found \(0, 2\)"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        auxjax.select_then_train(optax.sgd(0.1), **options)


def test_parameters_are_needed():
    tx = auxjax.select_then_train(optax.sgd(0.1))
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update(jnp.eye(2), tx.init(jnp.zeros(2)), losses=jnp.ones(2))
