"""Epochs: a scan of steps over two streams of batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex

import jax
import optax

from auxjax._numbers import integer
from auxjax._types import LossFn
from auxjax.supervised._step import StepMetrics, TrainState, epoch_keys, make_step
from auxjax.supervised._streams import (
    count_samples,
    epoch_indices,
    take,
)

Epoch = Callable[[TrainState, Any], tuple[TrainState, StepMetrics]]


def make_epoch(
    losses: LossFn,
    tx: optax.GradientTransformation,
    *,
    batch_size: SupportsIndex,
    second_stream: str = "reshuffled",
    has_state: bool = False,
    has_key: bool = False,
) -> Epoch:
    """One pass over data that lies on the device, as one scan.

    Each step takes a batch from either of two streams: the training batch, and the one
    on which a rule looks ahead. Both pass over all samples, each in an order of its
    own, drawn anew from the state's key and the number of the epoch
    (`state.step // steps`). So the state is all there is to save: training that stops
    after an epoch and goes on ends with the same bits.

    Args:
      losses: as in `make_step`.
      tx: as in `make_step`.
      batch_size: samples in a batch; what is left over at the end of a pass is dropped.
      second_stream: `"reshuffled"`, or `"same"`: the second batch is the training
        batch (the paper's ablation "No Swapping").
      has_state: as in `make_step`.
      has_key: as in `make_step`.

    Returns:
      `epoch(state, data) -> (TrainState, StepMetrics)`, pure: jit it, and vmap it over
      seeds. `data` is a pytree of arrays `[samples, ...]`; a batch is like it, with
      `[batch_size, ...]`. It may be sharded over a mesh of automatic axes. The metrics
      are stacked, `[steps, ...]`. A rule that takes no second batch does not pay for
      it: it is dead code to the compiler.

    Raises:
      ValueError: `batch_size` is below 1, or `second_stream` is neither; from the
        epoch, where `data` has no leaves or leaves of unequal length, or fewer samples
        than a batch.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> import auxjax
      >>> from auxjax.supervised import init_state, make_epoch
      >>> def losses(params, batch):
      ...     return {"main": jnp.mean((batch - params) ** 2), "small": params**2}
      >>> tx = auxjax.autolambda(optax.sgd(0.1, momentum=0.9))
      >>> epoch = jax.jit(make_epoch(losses, tx, batch_size=2))
      >>> state = init_state(jnp.zeros(()), tx, jax.random.key(0))
      >>> state, metrics = epoch(state, jnp.arange(10.0))
      >>> int(state.step), metrics.losses.shape, metrics.weights.shape
      (5, (5, 2), (5, 2))

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, "Swapping Training Data" and Table 4.
    """
    batch_size = integer("batch_size", batch_size, 1)
    if second_stream not in ("reshuffled", "same"):
        raise ValueError(
            '`second_stream` should be "reshuffled" or "same". '
            f"Found {second_stream!r}."
        )
    step = make_step(losses, tx, has_state=has_state, has_key=has_key)

    def epoch(state, data):
        samples = count_samples(data)
        # At least one, so that too large a batch is the next line's error.
        keys = epoch_keys(state, max(samples // batch_size, 1))
        first, second = (epoch_indices(key, samples, batch_size) for key in keys)
        if second_stream == "same":
            second = first

        def one(state, indices):
            return step(state, *(take(data, at) for at in indices))

        return jax.lax.scan(one, state, (first, second))

    return epoch


def make_train(
    losses: LossFn,
    tx: optax.GradientTransformation,
    *,
    batch_size: SupportsIndex,
    num_epochs: SupportsIndex,
    second_stream: str = "reshuffled",
    has_state: bool = False,
    has_key: bool = False,
) -> Epoch:
    """Several epochs, as a scan of scans.

    Args:
      losses: as in `make_step`.
      tx: as in `make_step`.
      batch_size: as in `make_epoch`.
      num_epochs: how many passes. Ten at once, or five and then five: it is the same.
      second_stream: as in `make_epoch`.
      has_state: as in `make_step`.
      has_key: as in `make_step`.

    Returns:
      `train(state, data) -> (TrainState, StepMetrics)`, the metrics stacked,
      `[num_epochs, steps, ...]`.

    Raises:
      ValueError: `num_epochs` is below 1; as `make_epoch`.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> import auxjax
      >>> from auxjax.supervised import init_state, make_train
      >>> def losses(params, batch):
      ...     return jnp.mean((batch - params) ** 2), jnp.mean(jnp.abs(batch - params))
      >>> tx = optax.chain(auxjax.sum_tasks(), optax.sgd(0.1))
      >>> train = jax.jit(make_train(losses, tx, batch_size=2, num_epochs=3))
      >>> state = init_state(jnp.zeros(()), tx, jax.random.key(0))
      >>> state, metrics = train(state, jnp.ones(10))
      >>> metrics.losses.shape, metrics.weights
      ((3, 5, 2), None)
    """
    num_epochs = integer("num_epochs", num_epochs, 1)
    epoch = make_epoch(
        losses,
        tx,
        batch_size=batch_size,
        second_stream=second_stream,
        has_state=has_state,
        has_key=has_key,
    )

    def train(state, data):
        return jax.lax.scan(
            lambda state, _: epoch(state, data), state, length=num_epochs
        )

    return train
