"""J Jᵀ leaf by leaf."""

from __future__ import annotations

from typing import Any

import jax

from auxjax._types import Mask
from auxjax.jacobian._dense import gram
from auxjax.jacobian._either import Jacobian
from auxjax.jacobian._losses import wide


def leaf_gramians(jac: Jacobian, where: Mask | None) -> list[jax.Array | None]:
    """The Gramian `[T, T]` of each leaf's rows, in float32 or better.

    Args:
      jac: whose.
      where: the leaves that are wanted; None: all.

    Returns:
      One entry per leaf of the parameters; None outside `where`.
    """
    rows: list[Any] = jac.leaf_rows(where)
    return [
        None if x is None else gram([x], jac.num_tasks, wide(x.dtype)) for x in rows
    ]
