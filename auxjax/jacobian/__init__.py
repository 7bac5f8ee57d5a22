"""The linear map: the Jacobian of the task losses, built, contracted, inspected.

Stack the task losses into a vector L(θ) of length T, the main task first. Its Jacobian
J has one gradient per row. It is a linear map, and almost everything that a weighting
rule wants of it costs one pass, whatever T: Σ wᵢ∇Lᵢ is `jac.vjp(w)`, all inner
products with a direction are `jac.jvp(v)`.

`__all__` is what `auxjax` offers; the rest is for the other rooms.

`__all__` is what `auxjax` offers; the rest is for the other rooms.
"""

from auxjax.jacobian._applied import applied_weights as applied_weights
from auxjax.jacobian._applied import unscaled as unscaled
from auxjax.jacobian._build import task_jacobian
from auxjax.jacobian._checks import check_task_mask as check_task_mask
from auxjax.jacobian._checks import is_traced as is_traced
from auxjax.jacobian._dense import as_dtype as as_dtype
from auxjax.jacobian._dense import as_real as as_real
from auxjax.jacobian._dense import counterpart as counterpart
from auxjax.jacobian._dependence import shared_mask
from auxjax.jacobian._either import Jacobian as Jacobian
from auxjax.jacobian._either import as_jacobian, task_grads
from auxjax.jacobian._finite import stays_finite as stays_finite
from auxjax.jacobian._finite import unless_spoilt as unless_spoilt
from auxjax.jacobian._gramians import leaf_gramians as leaf_gramians
from auxjax.jacobian._gramians import needs_no_rows as needs_no_rows
from auxjax.jacobian._leaf_weights import LeafWeights as LeafWeights
from auxjax.jacobian._leaf_weights import Mark as Mark
from auxjax.jacobian._leaf_weights import layout_of as layout_of
from auxjax.jacobian._leaf_weights import leaf_weights as leaf_weights
from auxjax.jacobian._leaf_weights import marked as marked
from auxjax.jacobian._leaf_weights import scale_leaves as scale_leaves
from auxjax.jacobian._leaves import Layout as Layout
from auxjax.jacobian._leaves import apply_updates
from auxjax.jacobian._leaves import broadcast_mask as broadcast_mask
from auxjax.jacobian._leaves import labels_of as labels_of
from auxjax.jacobian._leaves import masked_leaves as masked_leaves
from auxjax.jacobian._losses import evaluate as evaluate
from auxjax.jacobian._losses import wide as wide
from auxjax.jacobian._stacked import StackedJacobian
from auxjax.jacobian._task_jacobian import TaskJacobian

__all__ = [
    "StackedJacobian",
    "TaskJacobian",
    "apply_updates",
    "as_jacobian",
    "shared_mask",
    "task_grads",
    "task_jacobian",
]
