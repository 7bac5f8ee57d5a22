"""J Jᵀ leaf by leaf, and whether it comes cheaper than the rows."""

from __future__ import annotations

import jax

from auxjax._types import Mask
from auxjax.jacobian import _apart, _passes
from auxjax.jacobian._dense import gram
from auxjax.jacobian._either import Jacobian
from auxjax.jacobian._losses import wide
from auxjax.jacobian._task_jacobian import TaskJacobian


def leaf_gramians(jac: Jacobian, where: Mask | None) -> list[jax.Array | None]:
    """The Gramian `[T, T]` of each leaf's rows, in float32 or better.

    Args:
      jac: whose.
      where: the leaves that are wanted; None: all.

    Returns:
      One entry per leaf of the parameters; None outside `where`.
    """
    if isinstance(jac, TaskJacobian):
        layout = jac._layout
        own = jac._leaf_gramians(where, None)
        by_leaf = {i: own.get(k) for k, i in enumerate(layout.differentiable)}
        return [by_leaf.get(leaf) for leaf in range(len(layout.shapes))]
    return [
        None if rows is None else gram([rows], jac.num_tasks, wide(rows.dtype))
        for rows in jac.leaf_rows(where)
    ]


def needs_no_rows(jac: Jacobian, where: Mask | None) -> bool:
    """Whether J Jᵀ is had for about a backward pass, with no row written down.

    So it is for the losses of a batch's examples, one array: see `_apart`.

    Args:
      jac: whose.
      where: the leaves that count; None: all.
    """
    if not isinstance(jac, TaskJacobian):
        return False
    linear = jac._linear
    if not _passes.is_array(linear, jac.num_tasks):
        return False
    wanted = jac._layout.mask(where)
    dear = _apart.dear_leaves(linear.program)
    return not any(a and b for a, b in zip(wanted, dear, strict=True))
