"""Adaptive loss balancing: the gradient of log L instead of L's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Number
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import check_not_negative, check_task_indices, need_losses
from auxjax.weighting._tasks import is_positive


class LogLossState(NamedTuple):
    """State of `scale_by_log_loss`, which knows no number of tasks."""

    nonfinite: jax.Array  # [] int32, losses that were not finite, of all tasks


def scale_by_log_loss(
    tasks: str | Sequence[int] = "all", *, offset: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by 1/Lᵢ, which makes it ∇ log Lᵢ = ∇Lᵢ / Lᵢ.

    Losses of different sizes then pull alike. **A loss at or below zero** (or NaN, or
    infinite) has no logarithm: its row is passed on unscaled, exactly as if its task
    were not in `tasks`, for that step. A policy-gradient loss is such a loss half of
    the time, so reinforcement learning wants `tasks="auxiliary"`.

    **Under an optimizer that feels a gradient's size** (SGD, with momentum or without)
    the step is α∇L/L, which grows without bound as a loss goes to zero; at a minimum of
    zero it never ends. Adam divides by it. Elsewhere bound it: `scale_to_sum` behind
    the weightings keeps the ratios of the weights and makes them sum to T;
    `optax.clip_by_global_norm` behind the aggregator cuts the step; `offset` cuts 1/L.

    Args:
      tasks: which rows: `"all"` (Algorithm 1 of OL-AUX), `"auxiliary"` (all but the
        first), or a sequence of indices.
      offset: added to the loss before the logarithm, ∇ log(Lᵢ + offset). It bounds
        the scale where a loss goes to zero.

    Returns:
      A row transform, Jacobian → Jacobian. Price: none of its own. Stacked gradients
      need `losses=` `[T]` as an extra argument of the update.

    Raises:
      ValueError: where `tasks` is another word or an index out of range, or the
        losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_log_loss()
      >>> grads = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> losses, state = jnp.array([0.5, -1.0]), tx.init(jnp.zeros(2))
      >>> tx.update(grads, state, losses=losses)[0].rows()
      Array([[2., 4.],
             [3., 4.]], dtype=float32)

      Under SGD, with the two ways to bound the step:

      >>> import optax
      >>> log, add = auxjax.scale_by_log_loss(), auxjax.sum_tasks()
      >>> sgd = optax.sgd(0.1)
      >>> plain = optax.chain(log, add, sgd)
      >>> summed = optax.chain(log, auxjax.scale_to_sum(), add, sgd)
      >>> clipped = optax.chain(log, add, optax.clip_by_global_norm(1.0), sgd)
      >>> def size_of_step(tx, p):
      ...     jac = auxjax.task_jacobian(lambda p: (p**2, (p - 2.0) ** 2), p)
      ...     return abs(round(float(tx.update(jac, tx.init(p))[0]), 2))
      >>> near = jnp.array(0.001)  # where the first loss is a millionth
      >>> [size_of_step(tx, near) for tx in (plain, summed, clipped)]
      [199.9, 0.0, 0.1]

    References:
      Lin et al., *Adaptive Auxiliary Task Weighting for Reinforcement Learning*
      (2019), section 4.2 and Algorithm 1; after Hu et al., *Learning Anytime
      Predictions in Neural Networks via Adaptive Loss Balancing*, arXiv 1708.06832.

    Paper and code:
      | | paper | released code | here |
      |---|---|---|---|
      | logarithm of | L | L + 0.02 | `offset=0.0` |
      | which losses | all | auxiliary | `tasks="all"` |
    """
    if isinstance(tasks, str) and tasks not in ("all", "auxiliary"):
        raise ValueError(
            '`tasks` should be "all", "auxiliary" or a sequence of indices. '
            f"Found {tasks!r}."
        )
    check_not_negative(offset=offset)

    def init_fn(params):
        del params
        return LogLossState(jnp.zeros((), jnp.int32))

    def rule(jac, state, *, present, counted):
        values = need_losses(jac, "scale_by_log_loss")
        values = values + jnp.asarray(offset, values.dtype)
        chosen = _chosen(tasks, jac.num_tasks)
        usable = jnp.logical_and(chosen, is_positive(values))
        scale = jnp.where(usable, 1.0 / jnp.where(usable, values, 1.0), 1.0)
        broken = jnp.sum(jnp.logical_and(present, ~counted), dtype=jnp.int32)
        return scale, LogLossState(state.nonfinite + broken)

    return row_transform(init_fn, rule)


def _chosen(tasks: str | Sequence[int], num_tasks: int) -> np.ndarray:
    """One bool per task."""
    chosen = np.zeros(num_tasks, bool)
    if isinstance(tasks, str):
        chosen[0 if tasks == "all" else 1 :] = True
    else:
        check_task_indices("tasks", tasks, num_tasks)
        chosen[[int(index) for index in tasks]] = True
    return chosen
