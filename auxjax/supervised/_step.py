"""One step of supervised learning with any rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._optax import with_mixed_dtypes
from auxjax._types import Array, Key, LossFn, Params
from auxjax.jacobian import TaskJacobian, task_jacobian
from auxjax.weighting import task_metrics


class TrainState(NamedTuple):
    """All that training needs to go on: save it after an epoch, and resume."""

    params: Params
    opt_state: Any
    model_state: Any  # what the model carries beside them: batch statistics; or None
    step: jax.Array  # [] int32, steps made
    key: jax.Array  # [] typed PRNG key; stays: step and epoch are folded into it


class StepMetrics(NamedTuple):
    """What one step reports."""

    losses: jax.Array  # [T], on the training batch, before the step; the main's first
    weights: jax.Array | None  # [T], after the step; None where the rule has none


Step = Callable[..., tuple[TrainState, StepMetrics]]


def init_state(
    params: Params,
    tx: optax.GradientTransformation,
    key: Key[Array, ""],
    model_state: Any = None,
) -> TrainState:
    """The state before the first step.

    Args:
      params: the parameters to start from.
      tx: the optimizer, rule included.
      key: decides the order of the samples and what the losses draw.
      model_state: what `losses` takes and returns with `has_state`.

    Returns:
      The state.

    Example:
      >>> import jax
      >>> state = init_state(jnp.zeros(3), optax.sgd(0.1), jax.random.key(0))
      >>> int(state.step), state.params.tolist()
      (0, [0.0, 0.0, 0.0])
    """
    step = jnp.zeros((), jnp.int32)
    return TrainState(params, tx.init(params), model_state, step, key)


def make_step(
    losses: LossFn,
    tx: optax.GradientTransformation,
    *,
    has_state: bool = False,
    has_key: bool = False,
) -> Step:
    """One step: the task Jacobian on a batch, the rule, the update.

    The rule is given `meta_losses`, the losses on a second batch as a function of the
    parameters. What that pass does to the model's state is thrown away, so batch
    statistics see each training batch once; its key is another one.

    Args:
      losses: `losses(params, batch)`, the main task's loss first. With `has_state`
        it is `losses(params, model_state, batch)` and returns `(losses, model_state)`.
        With `has_key` it takes a key as a further, last argument.
      tx: any chain of rules that ends in an aggregator, then an Optax optimizer.
      has_state: whether the model has a state that is not learned by gradients.
      has_key: whether the losses draw random numbers: dropout, augmentation.

    Returns:
      `step(state, batch, second_batch=None) -> (TrainState, StepMetrics)`, pure: jit
      it. Without a second batch there is no `meta_losses`, and a rule that needs it
      says so. Batches may be sharded over devices.

    Raises:
      ValueError: from the step, where `tx` returns a Jacobian that nothing summed.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> import auxjax
      >>> from auxjax.supervised import init_state, make_step
      >>> def losses(params, batch):
      ...     return {"main": jnp.mean((batch - params) ** 2), "small": params**2}
      >>> tx = auxjax.autolambda(optax.sgd(0.5), lambda_optimizer=optax.sgd(1.0))
      >>> step = jax.jit(make_step(losses, tx))
      >>> state = init_state(jnp.zeros(()), tx, jax.random.key(0))
      >>> state, metrics = step(state, jnp.ones(4), 2 * jnp.ones(4))
      >>> metrics.losses.tolist(), [round(float(w), 1) for w in metrics.weights]
      ([1.0, 0.0], [3.9, 0.1])

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, "Swapping Training Data".
    """
    tx = with_mixed_dtypes(tx)

    def arguments(state, batch, key):
        """What `losses` takes after the parameters."""
        before = (state.model_state,) if has_state else ()
        return (*before, batch, *((key,) if has_key else ()))

    def step(state, batch, second_batch=None):
        train_key, second_key = step_keys(state)
        # As arguments and not in a closure: rules take the same Jacobian elsewhere.
        args = arguments(state, batch, train_key)
        jac: Any = task_jacobian(losses, state.params, *args, has_aux=has_state)
        second_args = arguments(state, second_batch, second_key)

        def meta_losses(params):
            second = losses(params, *second_args)
            return _in_order(second[0] if has_state else second, jac.names)

        extra = {} if second_batch is None else {"meta_losses": meta_losses}
        updates, opt_state = tx.update(jac, state.opt_state, state.params, **extra)
        if isinstance(updates, TaskJacobian):
            raise ValueError(
                "`tx` should sum up the tasks' gradients, as by `auxjax.sum_tasks()`. "
                f"Found one that returns {updates}."
            )
        new_state = TrainState(
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            model_state=jac.aux if has_state else state.model_state,
            step=state.step + 1,
            key=state.key,
        )
        weights = task_metrics(opt_state).get("weights")
        return new_state, StepMetrics(jac.losses, weights)

    return step


def step_keys(state: TrainState) -> tuple[jax.Array, jax.Array]:
    """What the losses draw with in this step, on the training and on the second batch.

    `epoch_keys` uses the other half of the key.
    """
    train, second = jax.random.split(
        jax.random.fold_in(jax.random.split(state.key)[1], state.step)
    )
    return train, second


def epoch_keys(state: TrainState, steps: int) -> tuple[jax.Array, jax.Array]:
    """The keys of both streams' order in the epoch that the state stands in."""
    epoch = state.step // steps
    first, second = jax.random.split(
        jax.random.fold_in(jax.random.split(state.key)[0], epoch)
    )
    return first, second


def _in_order(values: Any, names: tuple[str, ...]) -> Any:
    """A dict in the training pass's order, whatever a transformation made of it."""
    if not isinstance(values, dict):
        return values
    named = {str(name): value for name, value in values.items()}
    return {name: named[name] for name in names}
