"""Meta-gradients against differentiating the whole of the learning step twice."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax import task_jacobian
from auxjax.meta import (
    exact_meta_gradient,
    exact_n_step_meta_gradient,
    finite_difference_meta_gradient,
    first_order_n_step_meta_gradient,
    lookahead,
)

OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.1),
    "momentum_and_decay": lambda: optax.chain(
        optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9)
    ),
    "adam": lambda: optax.adam(1e-2),
    "clipping": lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)),
    "clipped_adam": lambda: optax.chain(
        optax.clip_by_global_norm(0.5), optax.adam(1e-2)
    ),
}


@pytest.fixture(autouse=True)
def _exact_numbers():
    # Optax's Adam needs the standard promotion (`decay ** count`).
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def losses(params, batch):
    x, y = batch
    hidden = jnp.tanh(x @ params["trunk"])
    return tuple(
        jnp.mean((jnp.sin(hidden @ head) - y * (i + 1)) ** 2)
        for i, head in enumerate(params["heads"])
    )


def problem(num_tasks=3):
    keys = iter(jax.random.split(jax.random.key(0), 20))
    params = {
        "trunk": jax.random.normal(next(keys), (4, 5)),
        "heads": [jax.random.normal(next(keys), (5, 1)) for _ in range(num_tasks)],
    }
    batches = [
        (jax.random.normal(next(keys), (7, 4)), jax.random.normal(next(keys), (7, 1)))
        for _ in range(3)
    ]
    return params, jnp.linspace(0.5, 1.5, num_tasks), batches


def warm(optimizer, params, batch):
    """An optimizer state that has seen three gradients."""
    state = optimizer.init(params)
    for scale in (1.0, -0.5, 2.0):
        gradient = jax.grad(lambda p, s=scale: s * sum(losses(p, batch)))(params)
        _, state = optimizer.update(gradient, state, params)
    return state


def by_brute_force(weights, params, optimizer, state, batches, meta_batch):
    """Reverse over reverse: grad of (train, then the main loss), by JAX alone."""

    def train(weights):
        p, s = params, state
        for batch in batches:
            g = jax.grad(
                lambda q, b=batch: sum(
                    w * value for w, value in zip(weights, losses(q, b), strict=True)
                )
            )(p)
            u, s = optimizer.update(g, s, p)
            p = optax.apply_updates(p, u)
        return losses(p, meta_batch)[0]

    return jax.grad(train)(weights)


def close(found, expected, tolerance):
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < tolerance, error


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_step_is_exact_through_any_optimizer(name):
    params, weights, (batch, meta_batch, other) = problem()
    optimizer = OPTIMIZERS[name]()
    state = warm(optimizer, params, other)
    jac = task_jacobian(losses, params, batch)
    ahead = lookahead(jac, weights, optimizer, state, params)
    d = jax.grad(lambda p: losses(p, meta_batch)[0])(ahead.params)
    found = exact_meta_gradient(jac, ahead, d)
    expected = by_brute_force(weights, params, optimizer, state, [batch], meta_batch)
    close(found, expected, 1e-10)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_finite_difference_errs_by_epsilon_squared(name):
    params, weights, (batch, meta_batch, other) = problem()
    optimizer = OPTIMIZERS[name]()
    state = warm(optimizer, params, other)
    jac = task_jacobian(losses, params, batch)
    ahead = lookahead(jac, weights, optimizer, state, params)
    d = jax.grad(lambda p: losses(p, meta_batch)[0])(ahead.params)
    exact = exact_meta_gradient(jac, ahead, d)
    errors = [
        np.linalg.norm(
            finite_difference_meta_gradient(jac, ahead, d, epsilon=epsilon) - exact
        )
        for epsilon in (1e-1, 1e-2, 1e-3)
    ]
    orders = np.log10(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(orders, 2.0, atol=0.2)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("n", [1, 5])
def test_n_steps_are_exact_through_any_optimizer(name, n):
    params, weights, (batch, meta_batch, other) = problem()
    optimizer = OPTIMIZERS[name]()
    state = warm(optimizer, params, other)
    batches = [jax.tree.map(lambda x, k=k: x + 0.1 * k, batch) for k in range(n)]
    found = exact_n_step_meta_gradient(
        losses,
        lambda p: losses(p, meta_batch)[0],
        weights, params, optimizer, state,
        jax.tree.map(lambda *xs: jnp.stack(xs), *batches),
    )  # fmt: skip
    expected = by_brute_force(weights, params, optimizer, state, batches, meta_batch)
    close(found.meta_gradient, expected, 1e-10)


def test_the_first_order_approximation_sums_inner_products():
    params, weights, (batch, other, _) = problem()
    optimizer = optax.sgd(0.1)
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), batch, other)
    found = first_order_n_step_meta_gradient(
        losses, weights, params, optimizer, optimizer.init(params), stacked,
        step_size=0.1,
    )  # fmt: skip

    total, p = np.zeros(3), params
    for b in (batch, other):
        rows = [jax.grad(lambda q, i=i, b=b: losses(q, b)[i])(p) for i in range(3)]
        flat = [np.concatenate([x.ravel() for x in jax.tree.leaves(r)]) for r in rows]
        total -= 0.1 * np.array([flat[0] @ f for f in flat])
        p = jax.tree.map(
            lambda x, *g: x - 0.1 * sum(w * y for w, y in zip(weights, g, strict=True)),
            p, *rows,
        )  # fmt: skip
    np.testing.assert_allclose(found.meta_gradient, total, rtol=1e-10)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), found.params, p
    )


def test_zero_meta_gradients_and_bad_epsilons():
    params, weights, (batch, _, _) = problem()
    optimizer = optax.sgd(0.1)
    jac = task_jacobian(losses, params, batch)
    ahead = lookahead(jac, weights, optimizer, optimizer.init(params), params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    found = finite_difference_meta_gradient(jac, ahead, nothing)
    np.testing.assert_array_equal(found, np.zeros(3))
    with pytest.raises(ValueError, match="epsilon"):
        finite_difference_meta_gradient(jac, ahead, nothing, epsilon=0.0)
