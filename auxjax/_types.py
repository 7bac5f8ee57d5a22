"""Names for the things that every room speaks of.

jaxtyping is no dependency of the core. Where it is absent (or nobody asked for
checks) the shaped names below stand for plain arrays; the tests install it and
switch its import hook on, so every shape written in a signature is checked there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree, Shaped
else:
    try:
        from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree, Shaped
    except ModuleNotFoundError:

        class _Unchecked:
            """Stands in for `Float[Array, "T"]` and its like: says nothing."""

            def __class_getitem__(cls, item):
                del item
                return Any

        Array, ArrayLike = jax.Array, jax.typing.ArrayLike
        Bool = Float = Int = Key = PyTree = Shaped = _Unchecked

Number: TypeAlias = float | int | np.number | jax.Array
"""A hyper-parameter: a Python number, or an array `[]` that may be traced."""

Params: TypeAlias = Any
"""A pytree of arrays: the parameters of a model."""

Gradient: TypeAlias = Any
"""A pytree like the parameters: one number per parameter."""

StackedGradients: TypeAlias = Any
"""A pytree like the parameters with a leading task axis: leaves `[T, *param]`."""

Mask: TypeAlias = Any
"""A pytree of bools (a prefix of the parameters is enough), or a function that
makes one from the parameters, as in `optax.masked`."""

LossFn: TypeAlias = Callable[..., Any]
"""`losses(params, *args)`: a dict, a tuple or a `[T]` array of scalars; the first
is the main task's."""

__all__ = [
    "Array",
    "ArrayLike",
    "Bool",
    "Float",
    "Gradient",
    "Int",
    "Key",
    "LossFn",
    "Mask",
    "Number",
    "Params",
    "PyTree",
    "Shaped",
    "StackedGradients",
]
