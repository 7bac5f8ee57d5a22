"""Which rules end in weights: their gradient is Σ wᵢ∇Lᵢ, and they can say w.

Such an update takes `weights_since=`, a mark among the Jacobian's scalings
(`jacobian.marked`), and returns `LeafWeights` in the place of a gradient if it is given
one. `optax.chain` hands it on to its last part, and what stands before scales rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from auxjax.jacobian import Jacobian, Mark, layout_of, leaf_weights

_SIGN = "_ends_in_weights"


def ending_in_weights(update: Callable) -> Callable:
    """Marks an update that takes `weights_since=`."""
    setattr(update, _SIGN, True)
    return update


def making_rows(update: Callable) -> Callable:
    """Marks one that does not scale the rows that it is given, but makes others."""
    setattr(update, _SIGN, False)
    return update


def ends_in_weights(rule: Any) -> bool:
    """Whether a transformation, or the last one of an `optax.chain`, ends in weights.

    A chain keeps its parts' updates where its own finds them, in its closure.
    """
    update = getattr(rule, "update", None)
    return callable(update) and _of_update(update)


def _of_update(update: Callable) -> bool:
    known = getattr(update, _SIGN, None)
    if known is not None:
        return known
    for cell in getattr(update, "__closure__", None) or ():
        parts = cell.cell_contents
        if isinstance(parts, tuple) and parts and all(map(callable, parts)):
            refused = any(getattr(part, _SIGN, None) is False for part in parts)
            return not refused and _of_update(parts[-1])
    return False


def summed_with(weights: jax.Array, jac: Jacobian, since: Mark | None) -> Any:
    """Σ wᵢ∇Lᵢ with the same weights for all leaves, or the weights from a mark on."""
    if since is None:
        return jac.vjp(weights)
    labels = [0] * len(layout_of(jac).differentiable)
    return leaf_weights(jac, since, {0: weights}, labels)
