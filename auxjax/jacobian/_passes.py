"""One backward or tangent pass of a linear map to T losses, however they come out.

The map has T scalar outputs or, where the losses were computed as one array, a single
`[T]` output.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from auxjax.jacobian import _linear
from auxjax.jacobian._dense import counterpart, inner, times


class NoTangentPass(Exception):
    """Neither forward mode nor the transpose of the backward pass exists."""


def pull(
    linear: _linear.LinearMap, weights: jax.Array, wanted: Sequence[int]
) -> dict[int, Any]:
    """Σᵢ wᵢ ∇Lᵢ on the wanted leaves: one backward pass."""
    if linear.program.written is not None:
        return _add_rows(linear, weights, wanted)
    outs = linear.program.jaxpr.out_avals
    if is_array(linear, weights.shape[0]):
        cotangents = [weights.astype(outs[0].dtype)]
    else:
        cotangents = [
            weights[i].astype(out.dtype).reshape(out.shape)
            for i, out in enumerate(outs)
        ]
    pulled = _linear.transpose(linear, cotangents)
    return {leaf: pulled[leaf] for leaf in wanted}


def _add_rows(
    linear: _linear.LinearMap, weights: jax.Array, wanted: Sequence[int]
) -> dict[int, Any]:
    """The same of rows that are written down: those of other leaves are not touched.

    So that a scaling of its own for each of many leaves is not a program for each.
    """
    written = linear.program.written or ()
    count = sum(map(len, written))
    rows = iter(linear.residuals[len(linear.residuals) - count :])
    by_leaf: dict[int, list[tuple[int, Any]]] = {leaf: [] for leaf in wanted}
    for task, leaves in enumerate(written):
        for leaf in leaves:
            row = next(rows)
            if leaf in by_leaf:
                by_leaf[leaf].append((task, row))

    def add(terms):
        dtype = terms[0][1].dtype
        wide = counterpart(terms[0][1], weights.dtype)
        scaled = [x.astype(wide) * weights[i].astype(wide) for i, x in terms]
        return functools.reduce(jnp.add, scaled).astype(dtype)

    return {leaf: add(terms) for leaf, terms in by_leaf.items() if terms}


def push(
    linear: _linear.LinearMap, tangents: list[Any], num_tasks: int, dtype: Any
) -> jax.Array:
    """⟨∇Lᵢ, v⟩ for every task `[T]`: one tangent pass; None stands for zeros.

    Raises:
      NoTangentPass: where a `jax.custom_vjp` leaves neither way open.
    """
    if _linear.has_forward_mode(linear):
        outputs = _linear.apply(linear, tangents)
    else:
        try:
            outputs = _linear.double_transpose(linear, tangents)
        except _linear.NOT_TRANSPOSABLE as error:
            raise NoTangentPass from error
    if is_array(linear, num_tasks):
        return outputs[0]
    # A loss that depends on no parameter leaves a literal here, not an array.
    return jnp.stack([jnp.asarray(out, dtype).reshape(()) for out in outputs])


def unit(
    direction: list[Any], program: _linear.Program, dtype: Any
) -> tuple[list[Any], Any]:
    """A direction as tangents, for half precision divided to a length of about 1.

    A tangent pass in float16 loses what is below 6e-8 and above 65,504, products of
    gradients above all, be it that of the parameters or that of the model alone. The
    divisor is a power of two: nothing is rounded by it.

    Args:
      direction: one array per leaf.
      program: where the tangents shall go through.
      dtype: float32 or better, of the length.

    Returns:
      The tangents, and the divisor `[]`: None where all is single precision or better.
    """
    divisor = None
    if program.is_half:
        squares = (inner(v, v, dtype) for v in direction)
        square = sum(squares, jnp.zeros((), dtype))
        _, exponent = jnp.frexp(jnp.sqrt(square))
        # What is not finite shall stay so.
        exponent = jnp.where(jnp.isfinite(square), exponent, 0)
        divisor = jnp.ldexp(jnp.ones((), dtype), exponent)
        direction = [
            times(v.astype(counterpart(v, dtype)), 1 / divisor) for v in direction
        ]
    like = zip(direction, program.tangents, strict=True)
    cast = [v.astype(leaf.dtype) for v, leaf in like]
    return cast, divisor


def is_array(linear: _linear.LinearMap, num_tasks: int) -> bool:
    """Whether the map has one `[T]` output; else T scalars."""
    return len(linear.program.jaxpr.out_avals) < num_tasks
