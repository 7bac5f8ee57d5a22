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
    `cond` or `vmap`. Between these, operators and functions of NumPy raise a
    ValueError, and so do those of `jax.numpy`, but for compiled ones that keep an
    integer an integer (`jnp.sign`, `jnp.abs`): these are not told from a `jit`.
    """

    def __new__(cls, shape: tuple[int, ...] = (1, 1)):
        """A guard: a matrix, for what looks at matrices alone.

        `vmap` and `scan` give it leading axes.
        """
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
    """The guard again, where a transformation of JAX made an array of it.

    Raises:
      ValueError: where it has another dtype now: something was computed of it by one
        of those functions of `jax.numpy` that are compiled and do not ask.
    """
    if isinstance(leaf, Guard) or not isinstance(leaf, jax.Array | np.ndarray):
        return leaf
    if leaf.dtype not in (np.uint8, jax.dtypes.float0):
        raise ValueError(ADVICE)
    return Guard(leaf.shape)


class _Named(type):
    """The class of classes that say what is missing where JAX names them.

    That is where the structures of two pytrees differ, as those of the updates and the
    parameters do if the aggregator is missing.
    """

    def __repr__(cls) -> str:
        return f"<{cls.__module__.split('.')[0]}.{cls.__name__}: {ADVICE}>"


def _refuse(*args, **kwargs):
    raise ValueError(ADVICE)


class NoGradient(metaclass=_Named):
    """What is no gradient and cannot be reckoned with as if it were one."""

    __jax_array__ = __add__ = __radd__ = __sub__ = __rsub__ = _refuse
    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _refuse
