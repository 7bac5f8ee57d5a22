"""The plain sum of the rows."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from auxjax.aggregation._ending import ending_in_weights, summed_with
from auxjax.jacobian import as_jacobian


def sum_tasks() -> optax.GradientTransformationExtraArgs:
    r"""Sums the rows: Jacobian → gradient, g = Σᵢ ∇Lᵢ.

    With a `TaskJacobian` this is one backward pass with the scaled rows' weights as
    cotangents: whatever weighting stands before it in the chain costs nothing more.
    Alone it is equal weighting.

    Returns:
      An `optax.GradientTransformationExtraArgs` without state. Its update takes a
      `TaskJacobian` or stacked gradients `[T, *param]` and returns a pytree like the
      parameters. With `task_mask=` `[T]` it sums the tasks that are present.

    Raises:
      ValueError: from the update, for a gradient without a task axis.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = optax.chain(auxjax.sum_tasks(), optax.sgd(0.1))
      >>> params = jnp.array([1.0, 2.0])
      >>> jac = auxjax.task_jacobian(lambda p: (jnp.sum(p**2), jnp.sum(p)), params)
      >>> updates, _ = tx.update(jac, tx.init(params), params)
      >>> updates  # -0.1 ([2, 4] + [1, 1])
      Array([-0.3, -0.5], dtype=float32)
    """

    def init_fn(params):
        del params
        return optax.EmptyState()

    @ending_in_weights
    def update_fn(
        updates, state, params=None, *, task_mask=None, weights_since=None, **extra_args
    ):
        del extra_args
        jac = as_jacobian(updates, params)
        jac = jac if task_mask is None else jac.mask(task_mask)
        return summed_with(jnp.ones(jac.num_tasks), jac, weights_since), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
