"""Row scales that are remembered instead of applied.

`jac.scale(w, where=mask)` multiplies row i by `w[i]` on the masked leaves. Nothing is
computed then: the scales are folded into the weights of the next contraction. Leaves
that went through the same scalings form one *group*, and a contraction costs one pass
per group (one for a plain `scale`; two where heads keep their own gradient, and there
the compiler drops what a group does not use).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from auxjax.jacobian._leaves import Bools


@jax.tree_util.register_static
class StaticMask(tuple):
    """A tuple of bools that is no pytree of leaves."""


class Scale(NamedTuple):
    """One remembered scaling: weights `[T]` on the leaves in `mask`."""

    weights: jax.Array
    mask: StaticMask


def groups(scales: tuple[Scale, ...], wanted: Bools) -> list[tuple[Any, list[int]]]:
    """Groups the wanted leaves by the product of their scales.

    Args:
      scales: the remembered scalings.
      wanted: one bool per leaf.

    Returns:
      Pairs of weights `[T]` (None where the rows are as they were) and leaf indices.
    """
    leaves_by_scales: dict[Bools, list[int]] = {}
    for leaf, want in enumerate(wanted):
        if want:
            key = tuple(scale.mask[leaf] for scale in scales)
            leaves_by_scales.setdefault(key, []).append(leaf)
    return [(_product(scales, key), leaves) for key, leaves in leaves_by_scales.items()]


def leaf_weights(scales: tuple[Scale, ...], leaf: int) -> Any:
    """The weights `[T]` on one leaf, None where its rows are as they were."""
    return _product(scales, tuple(scale.mask[leaf] for scale in scales))


def _product(scales: tuple[Scale, ...], used: Bools) -> Any:
    weights = None
    for scale, use in zip(scales, used, strict=True):
        if use:
            weights = scale.weights if weights is None else weights * scale.weights
    return weights
