"""Training steps that also find how a later loss depends on the task weights.

Each is `step(weights, params, opt_state, batches, meta_batch)` and returns what
training needs, (params, opt_state), and the meta-gradient `[T]`. The step taken is the
step looked at. `batches` has a leading axis: one batch per step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax import task_jacobian
from auxjax.meta import (
    exact_meta_gradient,
    exact_n_step_meta_gradient,
    finite_difference_meta_gradient,
    first_order_n_step_meta_gradient,
    lookahead,
)

BASELINE = "equal weighting"
TRUTH = "reverse over reverse"
EXACT = "exact"
DIFFERENCE = "finite difference"
FORWARD = "exact, forward mode"
FIRST_ORDER = "first order, Eq. 6"
META_BATCH = "first order, meta batch"
LAST, FIRST = "exact, last step only", "exact, first step only"


def weighted(losses: Callable, weights: jax.Array, params: Any, batch: Any):
    """Σ λᵢLᵢ."""
    values = losses(params, batch)
    return sum(w * value for w, value in zip(weights, values, strict=True))


def train(losses, optimizer, weights, params, state, batches):
    """As many plain steps as there are batches."""

    def step(carry, batch):
        params, state = carry
        _, grads = jax.value_and_grad(weighted, argnums=2)(
            losses, weights, params, batch
        )
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), batches)[0]


def by_hand(losses, optimizer, weights, params, state, batches, meta_batch):
    """Equal weighting: no meta-gradient."""
    del meta_batch
    return train(losses, optimizer, weights, params, state, batches), None


def by_brute_force(losses, optimizer, weights, params, state, batches, meta_batch):
    """`jax.grad` of training and then the main loss: the truth, in float64."""

    def end(weights):
        after = train(losses, optimizer, weights, params, state, batches)
        return losses(after[0], meta_batch)[0], after

    meta_gradient, after = jax.grad(end, has_aux=True)(weights)
    return after, meta_gradient


def one_step(find, losses, optimizer, weights, params, state, batches, meta_batch):
    """`find(jac, ahead, d)` at the first batch."""
    jac = task_jacobian(losses, params, jax.tree.map(lambda x: x[0], batches))
    ahead = lookahead(jac, weights, optimizer, state, params)
    d = jax.grad(lambda p: losses(p, meta_batch)[0])(ahead.params)
    return (ahead.params, ahead.opt_state), find(jac, ahead, d)


def in_forward_mode(losses, optimizer, weights, params, state, batches, meta_batch):
    """All N steps, exactly."""
    run = exact_n_step_meta_gradient(
        losses, lambda p: losses(p, meta_batch)[0],
        weights, params, optimizer, state, batches,
    )  # fmt: skip
    return (run.params, run.opt_state), run.meta_gradient


def in_first_order(
    step_size, losses, optimizer, weights, params, state, batches, meta_batch
):
    """OL-AUX's sum of inner products; its main loss is that of the training batches."""
    del meta_batch
    run = first_order_n_step_meta_gradient(
        losses, weights, params, optimizer, state, batches, step_size=step_size
    )
    return (run.params, run.opt_state), run.meta_gradient


def in_first_order_of_meta_batch(
    step_size, losses, optimizer, weights, params, state, batches, meta_batch
):
    """The same sum, of inner products with the gradient on the meta batch.

    The main loss on the meta batch takes part as one more task, of weight 0.
    """
    num_steps = jax.tree.leaves(batches)[0].shape[0]
    pairs = batches, jax.tree.map(lambda x: jnp.stack([x] * num_steps), meta_batch)

    def longer(params, pair):
        return (losses(params, pair[1])[0], *losses(params, pair[0]))

    after, meta_gradient = in_first_order(
        step_size, longer, optimizer, jnp.pad(weights, (1, 0)), params, state, pairs, ()
    )
    return after, meta_gradient[1:]


def one_step_methods(losses: Callable, optimizer: Any) -> dict[str, Callable]:
    """What is compared over one step; the baseline first."""
    methods = {
        BASELINE: by_hand,
        EXACT: functools.partial(one_step, exact_meta_gradient),
        DIFFERENCE: functools.partial(one_step, finite_difference_meta_gradient),
        TRUTH: by_brute_force,
    }
    return _bind(methods, losses, optimizer)


def n_step_methods(
    losses: Callable, optimizer: Any, step_size: float | None
) -> dict[str, Callable]:
    """What is compared over N steps; without α nothing of first order."""
    methods = {
        BASELINE: by_hand,
        FORWARD: in_forward_mode,
        TRUTH: by_brute_force,
    }
    if step_size is not None:
        methods |= {
            FIRST_ORDER: functools.partial(in_first_order, step_size),
            META_BATCH: functools.partial(in_first_order_of_meta_batch, step_size),
        }
    return _bind(methods, losses, optimizer)


def _bind(methods: dict[str, Callable], *args: Any) -> dict[str, Callable]:
    return {name: functools.partial(method, *args) for name, method in methods.items()}


def finite_differences(
    epsilons, losses, optimizer, weights, params, state, batches, meta_batch
) -> list[jax.Array]:
    """The one-step finite difference, one an ε; not to be timed."""

    def find(jac, ahead, d):
        def at(epsilon):
            return finite_difference_meta_gradient(jac, ahead, d, epsilon=epsilon)

        return [at(epsilon) for epsilon in epsilons]

    args = weights, params, state, batches, meta_batch
    return one_step(find, losses, optimizer, *args)[1]


def relative_error(estimate, truth) -> float:
    """‖estimate − truth‖ / ‖truth‖, in float64."""
    estimate, truth = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    return float(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))


def cosine(estimate, truth) -> float:
    """⟨estimate, truth⟩ / ‖estimate‖ ‖truth‖, in float64."""
    estimate, truth = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    return float(estimate @ truth / (np.linalg.norm(estimate) * np.linalg.norm(truth)))
