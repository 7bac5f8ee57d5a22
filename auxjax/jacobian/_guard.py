"""What tells a Jacobian from a gradient: arithmetic on it ends in an error of ours.

An Optax transformation that stands where a gradient was not made yet (before a rule, or
behind one without an aggregator) would take a Jacobian's residuals for gradients.
Whatever it does leaf by leaf meets the guard, and whatever compares the Jacobian's
structure with the parameters' names its class; both say what is missing.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

ADVICE = (
    "Found the Jacobian of the task losses where a gradient is needed. An Optax "
    "transformation of gradients should stand behind an aggregator, as in "
    "`optax.chain(auxjax.olaux(), optax.adam(1e-3))` or "
    "`optax.chain(auxjax.scale_by_olaux(), auxjax.sum_tasks(), optax.adam(1e-3))`; "
    "so should `optax.apply_if_finite`."
)

_SHAPES_ONLY = {"broadcast_to", "expand_dims", "ndim", "shape"}
"""What JAX asks NumPy for when the leaf crosses `vmap` or `scan`."""


class Guard(np.ndarray):
    """A leaf that passes through JAX's transformations and takes part in no sum.

    JAX sees a NumPy array of zeros where a Jacobian enters or leaves `jit`, `scan`,
    `cond` or `vmap`. Between these, every operator and function of NumPy or
    `jax.numpy` raises a ValueError.
    """

    def __new__(cls, shape: tuple[int, ...] = ()):
        """A guard; `vmap` and `scan` give it leading axes."""
        return np.zeros(shape, np.uint8).view(cls)

    def __jax_array__(self):
        """What `jax.numpy` calls first."""
        raise ValueError(ADVICE)

    def __array_ufunc__(self, *args, **kwargs):
        """What NumPy's operators call."""
        raise ValueError(ADVICE)

    def __array_function__(self, function, types, args, kwargs):
        """What NumPy's functions call."""
        if function.__name__ in _SHAPES_ONLY:
            return super().__array_function__(function, types, args, kwargs)
        raise ValueError(ADVICE)


def guarded(leaf: Any) -> Any:
    """The guard again, where a transformation made an array of it."""
    if isinstance(leaf, jax.Array | np.ndarray) and not isinstance(leaf, Guard):
        return Guard(leaf.shape)
    return leaf


class NoGradient(type):
    """The class of the classes that are no gradients: it tells so where it is named.

    JAX names a class where the structure of two pytrees differs, as that of the updates
    and the parameters does if the aggregator is missing.
    """

    def __repr__(cls) -> str:
        return f"<{cls.__module__.split('.')[0]}.{cls.__name__}: {ADVICE}>"
