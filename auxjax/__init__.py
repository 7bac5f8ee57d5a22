"""auxjax: auxiliary-task weights that look after themselves, in JAX."""

from auxjax.jacobian import (
    StackedJacobian,
    TaskJacobian,
    as_jacobian,
    shared_mask,
    task_grads,
    task_jacobian,
)

__all__ = [
    "StackedJacobian",
    "TaskJacobian",
    "as_jacobian",
    "shared_mask",
    "task_grads",
    "task_jacobian",
]
