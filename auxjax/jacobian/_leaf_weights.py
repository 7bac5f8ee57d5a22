"""Σ wᵢ∇Lᵢ before it is summed: the weights that the rows of every leaf would get.

A rule is asked for them by a *mark*: the place among a Jacobian's scalings from which
on they count. What stands before the mark is not the rule's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from auxjax.jacobian import _scales
from auxjax.jacobian._either import Jacobian
from auxjax.jacobian._leaves import Layout
from auxjax.jacobian._stacked import StackedJacobian

Labels = Sequence[Hashable]
"""One for each leaf that can be differentiated; None: it keeps the sum of its rows."""


class Mark(NamedTuple):
    """A scaling of nothing, and those before it."""

    scale: _scales.Scale
    before: tuple[_scales.Scale, ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class LeafWeights:
    """What a rule made of a Jacobian, as weights of the rows that it was given.

    Attributes:
      by_group: `[T]` for each group of leaves that have the same ones.
      group_of: the group of each leaf that can be differentiated.
      main: the group of the leaves that the rule was about.
    """

    by_group: tuple[Any, ...]
    group_of: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    main: int = dataclasses.field(metadata={"static": True})

    @property
    def by_leaf(self) -> jax.Array:
        """`[leaves, T]`."""
        return jnp.stack([self.by_group[group] for group in self.group_of])


def marked(jac: Jacobian) -> tuple[Jacobian, Mark]:
    """The same Jacobian, whose scalings count from here on."""
    layout = layout_of(jac)
    nothing = _scales.StaticMask([False] * len(layout.differentiable))
    scale = _scales.Scale(jnp.ones(jac.num_tasks), nothing)
    mark = Mark(scale, jac._scales)
    return dataclasses.replace(jac, _scales=(*jac._scales, scale)), mark


def leaf_weights(
    jac: Jacobian, mark: Mark, weights: Mapping[Hashable, Any], labels: Labels
) -> LeafWeights:
    """The weights of the rows at the mark, of those that they have now.

    Args:
      jac: made of the marked one by scalings.
      mark: where they begin to count.
      weights: by label, `[T]`.
      labels: of the leaves.

    Raises:
      ValueError: where the rows are no more those that were marked.
    """
    since = _since(jac, mark)
    keys = [
        (label, tuple(scale.mask[leaf] for scale in since))
        for leaf, label in enumerate(labels)
    ]
    groups = list(dict.fromkeys(keys))
    ones = jnp.ones(jac.num_tasks, _dtype_of(jac))

    def product(key):
        label, used = key
        total = ones if label is None else weights[label].astype(ones.dtype)
        for scale, use in zip(since, used, strict=True):
            total = total * scale.weights if use else total
        return total

    def concerns(group):  # first what the rule weighs, then what was scaled most
        label, used = keys[group_of.index(group)]
        return label is not None, sum(used)

    group_of = tuple(groups.index(key) for key in keys)
    main = max(range(len(groups)), key=concerns)
    return LeafWeights(tuple(map(product, groups)), group_of, main)


def scale_leaves(jac: Jacobian, by_leaf: jax.Array, group_of: Sequence[int]) -> Any:
    """The rows times `by_leaf` `[leaves, T]`, a scaling for each group of leaves."""
    layout = layout_of(jac)
    for group in dict.fromkeys(group_of):
        mask = layout.full_mask([own == group for own in group_of])
        jac = jac.scale(by_leaf[group_of.index(group)], mask)
    return jac


def layout_of(jac: Jacobian) -> Layout:
    """Of the parameters, whichever kind of Jacobian it is."""
    return jac._layout() if isinstance(jac, StackedJacobian) else jac._layout


def _dtype_of(jac: Jacobian) -> Any:
    """That of its scalings."""
    return jac._dtype() if isinstance(jac, StackedJacobian) else jac.losses.dtype


def _since(jac: Jacobian, mark: Mark) -> tuple[_scales.Scale, ...]:
    """The scalings behind the mark."""
    place = len(mark.before)
    found = jac._scales[: place + 1]
    expected = (*mark.before, mark.scale)
    same = len(found) == len(expected) and all(
        a.weights is b.weights and a.mask == b.mask
        for a, b in zip(found, expected, strict=True)
    )
    if not same:
        raise ValueError(
            "The rule should scale the rows that it is given, so that its gradient is "
            "Σ wᵢ∇Lᵢ. Found one that makes rows of its own (as `scale_by_slgrad` does, "
            "which weighs samples), or takes earlier scalings back (`scale_to_sum` "
            "with `own_heads=True`: put it before)."
        )
    return jac._scales[place + 1 :]
