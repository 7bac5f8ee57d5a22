"""Meta-gradients against differentiating the whole of the learning step twice."""

import functools

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

MAX_NORM = 0.5
OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.1),
    "momentum_and_decay": lambda: optax.chain(
        optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9)
    ),
    "adam": lambda: optax.adam(1e-2),
    "clipping": lambda: optax.chain(
        optax.clip_by_global_norm(MAX_NORM), optax.sgd(0.1)
    ),
    "clipped_adam_and_decay": lambda: optax.chain(
        optax.clip_by_global_norm(MAX_NORM),
        optax.scale_by_adam(),
        optax.add_decayed_weights(1e-2),
        optax.scale_by_learning_rate(optax.exponential_decay(1e-2, 1, 0.9)),
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


def weighted_gradient(params, weights, batch):
    """∇ Σ λᵢLᵢ, by JAX alone."""
    total = lambda p: jnp.sum(weights * jnp.stack(losses(p, batch)))  # noqa: E731
    return jax.grad(total)(params)


@functools.cache
def by_brute_force(name):
    """Reverse over reverse: grad of (train, then the main loss), by JAX alone.

    Compiled once an optimizer: of the batches it is given, the first `n` count.
    """
    optimizer = OPTIMIZERS[name]()

    def step(weights, n, carry, batch):
        params, state, k = carry
        gradient = weighted_gradient(params, weights, batch)
        updates, new_state = optimizer.update(gradient, state, params)
        new = optax.apply_updates(params, updates), new_state
        keep = lambda a, b: jnp.where(k < n, a, b)  # noqa: E731
        return (*jax.tree.map(keep, new, (params, state)), k + 1), None

    def train(weights, params, state, batches, n, meta_batch):
        body = functools.partial(step, weights, n)
        (*end, _), _ = jax.lax.scan(body, (params, state, 0), batches)
        return losses(end[0], meta_batch)[0], tuple(end)

    return jax.jit(jax.grad(train, has_aux=True))


@functools.cache
def setting(name):
    """An optimizer that has seen three gradients, and twenty batches."""
    params, weights, (batch, meta_batch, other) = problem()
    optimizer = OPTIMIZERS[name]()

    @jax.jit
    def warm():
        state = optimizer.init(params)
        for scale in (1.0, -0.5, 2.0):
            gradient = weighted_gradient(params, jnp.full(3, scale), other)
            _, state = optimizer.update(gradient, state, params)
        return state

    shift = 0.1 * jnp.arange(20.0)[:, None, None]
    batches = jax.tree.map(lambda x: x[None] + shift, batch)
    return optimizer, warm(), params, weights, batches, meta_batch


@functools.cache
def one_step(name, epsilons=()):
    """One step ahead by the library, and its meta-gradients: exact, then by ε."""
    optimizer, state, params, weights, batches, meta_batch = setting(name)

    @jax.jit
    def run():
        jac = task_jacobian(losses, params, jax.tree.map(lambda x: x[0], batches))
        ahead = lookahead(jac, weights, optimizer, state, params)
        d = jax.grad(lambda p: losses(p, meta_batch)[0])(ahead.params)
        options = [{} if e is None else {"epsilon": e} for e in epsilons]
        return (
            ahead[:3],
            exact_meta_gradient(jac, ahead, d),
            [finite_difference_meta_gradient(jac, ahead, d, **o) for o in options],
            optax.tree.norm(jac.vjp(weights)),
        )

    return run()


def close(found, expected, tolerance):
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    for a, b in zip(found, expected, strict=True):
        error = np.linalg.norm(np.ravel(a - b)) / max(np.linalg.norm(np.ravel(b)), 1e-3)
        assert error < tolerance, error


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_step_is_exact_through_any_optimizer(name):
    _, state, params, weights, batches, meta_batch = setting(name)
    (ahead, updates, new_state), found, _, norm = one_step(name)
    assert norm > 2 * MAX_NORM  # what clips, clips
    expected, (end, end_state) = by_brute_force(name)(
        weights, params, state, batches, 1, meta_batch
    )
    close(found, expected, 1e-10)
    close(ahead, end, 1e-12)
    close(optax.apply_updates(params, updates), end, 1e-12)
    close(new_state, end_state, 1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("n", [5, 20])
def test_n_steps_are_exact_through_any_optimizer(name, n):
    optimizer, state, params, weights, batches, meta_batch = setting(name)

    @jax.jit
    def run(batches):
        return exact_n_step_meta_gradient(
            losses, lambda p: losses(p, meta_batch)[0],
            weights, params, optimizer, state, batches,
        )  # fmt: skip

    found = run(jax.tree.map(lambda x: x[:n], batches))
    expected, (end, end_state) = by_brute_force(name)(
        weights, params, state, batches, n, meta_batch
    )
    assert jnp.all(jnp.abs(expected) > 1e-6)
    close(found.meta_gradient, expected, 1e-10)
    close(found.params, end, 1e-10)
    close(found.opt_state, end_state, 1e-10)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_finite_difference_errs_by_epsilon_squared(name):
    _, exact, approximate, _ = one_step(name, (0.1, None, 0.001))
    errors = [
        np.linalg.norm(found - exact) / np.linalg.norm(exact) for found in approximate
    ]
    orders = np.log10(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(orders, 2.0, atol=0.2)
    assert 0 < errors[1] < 3e-4  # by default, on this problem


def test_the_first_order_approximation_sums_inner_products():
    params, weights, (batch, other, _) = problem()
    optimizer = optax.sgd(0.1)
    found = first_order_n_step_meta_gradient(
        losses, weights, params, optimizer, optimizer.init(params),
        jax.tree.map(lambda *xs: jnp.stack(xs), batch, other), step_size=0.1,
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
    close(found.params, p, 1e-10)


def test_zero_meta_gradients_and_bad_epsilons():
    params, weights, (batch, _, _) = problem()
    optimizer = optax.sgd(0.1)
    jac = task_jacobian(losses, params, batch)
    ahead = lookahead(jac, weights, optimizer, optimizer.init(params), params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    found = finite_difference_meta_gradient(jac, ahead, nothing)
    np.testing.assert_array_equal(found, np.zeros(3))
    for epsilon in (0.0, -0.1):
        with pytest.raises(ValueError, match=r"`epsilon` should be above 0. Found"):
            finite_difference_meta_gradient(jac, ahead, nothing, epsilon=epsilon)


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    ("name", "spreads"), [("sgd", False), ("adam", False), ("clipping", True)]
)
def test_how_far_a_direction_reaches_back(name, spreads, jitted):
    """A leaf's update follows from its own gradient, unless a global norm is taken."""
    params, weights, (batch, *_) = problem()
    optimizer = OPTIMIZERS[name]()
    if jitted:  # inside its jaxpr there is another
        optimizer = optimizer._replace(update=jax.jit(optimizer.update))
    jac = task_jacobian(losses, params, batch)
    ahead = lookahead(jac, weights, optimizer, optimizer.init(params), params)
    where = {"trunk": False, "heads": [True, False, False]}
    everywhere = {"trunk": True, "heads": [True, True, True]}
    assert ahead.reach(where) == (everywhere if spreads else where)
    direction = jax.tree.map(lambda w, p: jnp.full_like(p, w), where, params)
    touched = jax.tree.map(lambda x: bool(jnp.any(x != 0)), ahead.pull(direction))
    assert touched == ahead.reach(where)
