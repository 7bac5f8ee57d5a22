"""Weights that never change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Array, Float
from auxjax.jacobian import is_traced
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import weight_dtype


class FixedState(NamedTuple):
    """State of `scale_by_fixed`."""

    weights: jax.Array  # [T] float
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_fixed(
    weights: Sequence[float | int] | Float[Array, " T"] | np.ndarray,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by a constant wᵢ.

    Equal weights are `[1] * T`, training on the main task alone is `[1, 0, …]`. (A
    weight of 0 does not hide a gradient that is NaN: leave such a loss out.)

    Args:
      weights: `[T]`, the main task's first; T follows from it.

    Returns:
      A row transform, Jacobian → Jacobian. Price: none of its own.

    Raises:
      ValueError: where `weights` is no vector, is empty or is not finite.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.fixed([1.0, 0.5])
      >>> grads = jnp.array([[1.0, 0.0], [0.0, 1.0]])  # stacked, T = 2
      >>> tx.update(grads, tx.init(jnp.zeros(2)))[0]
      Array([1. , 0.5], dtype=float32)
    """
    values: Any = weights  # an array may be traced, and another one in every step
    if not isinstance(weights, jax.Array):
        values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"`weights` should have shape (T,). Found {values.shape}.")
    if not is_traced(values) and not np.all(np.isfinite(values)):
        raise ValueError(f"`weights` should be finite. Found {values.tolist()}.")

    def init_fn(params):
        return FixedState(jnp.asarray(values, weight_dtype(params)))

    def rule(jac, state):
        if jac.num_tasks != values.size:
            raise ValueError(
                f"`weights` should have {jac.num_tasks} entries, one per task "
                f"({', '.join(jac.names)}). Found {values.size}."
            )
        if isinstance(values, jax.Array):
            state = FixedState(values.astype(state.weights.dtype))
        return state.weights, state._replace(nonfinite=None)

    return row_transform(init_fn, rule)


@summed(scale_by_fixed)
def fixed():
    """Σᵢ wᵢ ∇Lᵢ, wᵢ constant: `chain(scale_by_fixed(weights), sum_tasks())`."""
