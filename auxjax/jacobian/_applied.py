"""What the rows of a Jacobian were scaled by so far, and how to take that back."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from auxjax._types import Array, Float, Mask
from auxjax.jacobian import _scales
from auxjax.jacobian._either import Jacobian
from auxjax.jacobian._stacked import StackedJacobian
from auxjax.jacobian._task_jacobian import TaskJacobian


def applied_weights(jac: Jacobian) -> Float[Array, " T"]:
    """The absolute product of all scalings that each row went through, `[T]`.

    Absent tasks have 0. Where leaves were scaled differently (`where=`), it is the mean
    over the numbers in the leaves that at least two losses depend on, or in all leaves
    if there is none. Gradients that were stacked, and whatever a rule did to rows other
    than scale them, begin at 1. Nothing is computed but products of `[T]`.

    Args:
      jac: what the scalings before have made.
    """
    is_stacked = isinstance(jac, StackedJacobian)
    layout = jac._layout() if is_stacked else jac._layout
    dtype = jac._dtype() if is_stacked else jac.losses.dtype
    wanted = layout.mask(jac.shared_mask())
    if not any(wanted):
        wanted = layout.mask(None)
    sizes = [math.prod(layout.shapes[leaf]) for leaf in layout.differentiable]
    ones = jnp.ones(jac.num_tasks, dtype)
    groups = _scales.groups(jac._scales, wanted)
    products = [ones if scale is None else jnp.abs(scale) for scale, _ in groups]
    if len(products) == 1:
        return products[0]
    counts = [sum(sizes[leaf] for leaf in leaves) for _, leaves in groups]
    whole = max(sum(counts), 1)
    shares = [count / whole for count in counts]
    pairs = zip(shares, products, strict=True)
    return sum((share * product for share, product in pairs), jnp.zeros_like(ones))


def unscaled(jac: TaskJacobian, where: Mask) -> TaskJacobian:
    """The same with its rows as they were before any scaling, on some leaves.

    Those of absent tasks stay 0.

    Args:
      jac: whose scalings are remembered.
      where: the leaves.
    """
    mask = _scales.StaticMask(jac._layout.mask(where))

    def without(scale):
        kept = zip(scale.mask, mask, strict=True)
        return scale._replace(mask=_scales.StaticMask(a and not b for a, b in kept))

    scales = tuple(without(scale) for scale in jac._scales)
    if jac._present is not None:
        present: jax.Array = jac._present
        scales += (_scales.Scale(present.astype(jac.losses.dtype), mask),)
    return dataclasses.replace(jac, _scales=scales)
