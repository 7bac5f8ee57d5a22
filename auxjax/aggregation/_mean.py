"""The mean of the rows."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from auxjax.aggregation._ending import ending_in_weights, summed_with
from auxjax.jacobian import as_jacobian, check_task_mask


def mean_tasks() -> optax.GradientTransformationExtraArgs:
    r"""Averages the rows: Jacobian → gradient, g = 1/T Σᵢ ∇Lᵢ.

    The gradient of the mean loss, over all parameters: a task's head gets 1/T of its
    own gradient, too.

    Returns:
      An `optax.GradientTransformationExtraArgs` without state. Its update takes a
      `TaskJacobian` or stacked gradients `[T, *param]` and returns a pytree like the
      parameters, for one backward pass. With `task_mask=` `[T]` it averages the tasks
      that are present; where none is, the gradient is zero.

    Raises:
      ValueError: from the update, for a gradient without a task axis.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.mean_tasks()
      >>> grads = jnp.array([[1.0, 2.0], [3.0, 8.0]])
      >>> tx.update(grads, tx.init(jnp.zeros(2)))[0]
      Array([2., 5.], dtype=float32)
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
        present = check_task_mask(task_mask, jac.num_tasks)
        w = jnp.full(jac.num_tasks, 1.0 / jac.num_tasks)
        if present is not None:
            jac, here = jac.mask(present), present.astype(float)
            w = here / jnp.maximum(jnp.sum(here), 1.0)
        return summed_with(w, jac, weights_since), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
