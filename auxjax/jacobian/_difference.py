"""A directional derivative by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Number
from auxjax.jacobian._checks import is_traced
from auxjax.jacobian._dense import inner, times


def central_difference(
    f: Callable[[list[Any]], jax.Array],
    point: list[jax.Array],
    direction: list[jax.Array],
    epsilon: Number,
) -> jax.Array:
    """[f(x + sv) − f(x − sv)] / 2s with s = `epsilon` / ‖v‖; zeros where v is zero.

    Args:
      f: from leaves like `point` to a vector.
      point: x.
      direction: v.
      epsilon: the distance ‖sv‖ of either point from x.

    Raises:
      ValueError: where `epsilon` is not above 0.
    """
    if not is_traced(epsilon) and not epsilon > 0:
        raise ValueError(f"`epsilon` should be above 0. Found {epsilon}.")
    dtype = jax.eval_shape(f, point).dtype
    norm = jnp.sqrt(sum((inner(v, v, dtype) for v in direction), jnp.zeros((), dtype)))
    moves = norm > 0
    step = jnp.asarray(epsilon).astype(dtype) / jnp.where(moves, norm, 1)

    def at(sign: float) -> jax.Array:
        return f(
            [
                x + times(v, sign * step).astype(x.dtype)
                for x, v in zip(point, direction, strict=True)
            ]
        )

    slope = (at(1.0) - at(-1.0)) / (2 * step)
    return jnp.where(moves, slope, jnp.zeros_like(slope))
