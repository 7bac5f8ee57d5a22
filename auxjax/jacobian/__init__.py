"""The linear map: the Jacobian of the task losses, built, contracted, inspected.

Stack the task losses into a vector L(θ) of length T, the main task first. Its Jacobian
J has one gradient per row. It is a linear map, and almost everything that a weighting
rule wants of it costs one pass, whatever T: Σ wᵢ∇Lᵢ is `jac.vjp(w)`, all inner
products with a direction are `jac.jvp(v)`.
"""

from auxjax.jacobian._build import task_jacobian
from auxjax.jacobian._checks import check_task_mask, is_traced
from auxjax.jacobian._dense import as_dtype, as_real, counterpart
from auxjax.jacobian._dependence import shared_mask
from auxjax.jacobian._either import Jacobian, as_jacobian, task_grads
from auxjax.jacobian._finite import stays_finite, unless_spoilt
from auxjax.jacobian._leaves import (
    Layout,
    apply_updates,
    broadcast_mask,
    labels_of,
    masked_leaves,
)
from auxjax.jacobian._losses import evaluate, wide
from auxjax.jacobian._stacked import StackedJacobian
from auxjax.jacobian._task_jacobian import TaskJacobian

__all__ = [
    "Jacobian",
    "Layout",
    "StackedJacobian",
    "TaskJacobian",
    "apply_updates",
    "as_dtype",
    "as_jacobian",
    "as_real",
    "broadcast_mask",
    "check_task_mask",
    "counterpart",
    "evaluate",
    "is_traced",
    "labels_of",
    "masked_leaves",
    "shared_mask",
    "stays_finite",
    "task_grads",
    "task_jacobian",
    "unless_spoilt",
    "wide",
]
