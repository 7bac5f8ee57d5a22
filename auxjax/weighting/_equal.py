"""Equal weights: the yardstick that every other rule is held against."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import check_num_tasks, weight_dtype


class EqualState(NamedTuple):
    """State of `scale_by_equal`."""

    weights: jax.Array  # [T] float, ones
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_equal(num_tasks: int = 2) -> optax.GradientTransformationExtraArgs:
    """Leaves every row as it is, and says so in its state.

    Args:
      num_tasks: T, main task included.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are ones `[T]`, so
      that equal weighting is logged like every other rule. Price: none.

    Raises:
      ValueError: for num_tasks < 2; from the update, for another number of tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.equal(num_tasks=2)
      >>> grads = jnp.array([[1.0, 0.0], [0.0, 1.0]])  # stacked, T = 2
      >>> tx.update(grads, tx.init(jnp.zeros(2)))[0]
      Array([1., 1.], dtype=float32)
    """
    check_num_tasks(num_tasks)

    def init_fn(params):
        return EqualState(jnp.ones(num_tasks, weight_dtype(params)))

    def rule(jac, state):
        return jac, state._replace(nonfinite=None)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_equal)
def equal():
    """Σᵢ ∇Lᵢ: `chain(scale_by_equal(num_tasks), sum_tasks())`."""
