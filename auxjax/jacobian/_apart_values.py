"""The values of a backward pass that keeps the losses apart; see `_apart`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from auxjax.jacobian._losses import wide

Window = tuple[Any, int]
"""The first loss, which may be traced, and how many."""

_CHEAP = {
    *("add", "add_any", "broadcast_in_dim", "concatenate", "conj", "copy", "div"),
    *("convert_element_type", "expand_dims", "imag", "mul", "neg", "pad", "real"),
    *("reduce_sum", "reshape", "rev", "select_n", "slice", "squeeze", "sub"),
    *("transpose",),
}
"""What may follow behind a sum over the axis without making it dear."""

_SAME_PRODUCTS = {"convert_element_type", "copy", "expand_dims", "reshape"}
_SAME_PRODUCTS |= {"squeeze", "transpose"}
"""What changes no inner product of two arrays."""


class Along(NamedTuple):
    """All losses' parts: an axis `[T · inner]`, the first `inner` entries loss 0's."""

    x: Any
    axis: int
    inner: int


class Apart:
    """Each loss's own array, made when asked for.

    Attributes:
      aval: its shape and dtype.
      dear: whether a pass of its own is behind it, and not one sum.
      outer: two arrays `[T, m]`, `[T, n]`, where each loss's is their outer product.
    """

    def __init__(self, make: Callable, aval: Any, dear: bool, outer: Any = None):
        """`make(window, known)` gives `[window, *shape]`."""
        self._make = make
        self.aval, self.dear, self.outer = aval, dear, outer

    def at(self, window: Window, known: dict[int, Any]) -> Any:
        """`[window, *shape]`; `known` is what was made for that window so far."""
        if id(self) not in known:
            known[id(self)] = self._make(window, known)
        return known[id(self)]


def cut(value: Along, window: Window, num_tasks: int) -> jax.Array:
    """The parts of a window of losses, `[window, ...]`, the axis `inner` long."""
    (start, size), axis = window, value.axis
    shape = value.x.shape
    split = value.x.reshape(*shape[:axis], num_tasks, value.inner, *shape[axis + 1 :])
    if size < num_tasks:
        split = jax.lax.dynamic_slice_in_dim(split, start, size, axis)
    return jnp.moveaxis(split, axis, 0)


def spread(value: Any, num_tasks: int) -> Any:
    """Parts along an axis as arrays of their own, 0 where the others' are."""
    if not isinstance(value, Along):
        return value

    def make(window, known):
        del known
        start, size = window
        mine = start + jnp.arange(size)
        owner = jnp.arange(num_tasks * value.inner) // value.inner
        behind = value.x.ndim - value.axis - 1
        shape = (size, *(1,) * value.axis, -1, *(1,) * behind)
        is_mine = (mine[:, None] == owner[None]).reshape(shape)
        return jnp.where(is_mine, value.x[None], jnp.zeros((), value.x.dtype))

    return Apart(make, jax.typeof(value.x), True)


def each(eqn: Any, inputs: Sequence[Any]) -> list[Apart]:
    """An equation on every loss's own arrays, and on plain ones."""
    own = [isinstance(value, Apart) for value in inputs]
    name = eqn.primitive.name
    is_dear = any(value.dear for value in inputs if isinstance(value, Apart))
    is_dear = is_dear or name not in _CHEAP
    outer = None
    if name in _SAME_PRODUCTS and isinstance(inputs[0], Apart):
        outer = inputs[0].outer

    def make_all(window, known):
        args = [
            value.at(window, known) if isinstance(value, Apart) else value
            for value in inputs
        ]
        axes = tuple(0 if o else None for o in own)
        run = jax.vmap(lambda *x: bind(eqn, x), in_axes=axes, axis_size=window[1])
        return run(*args)

    together = Apart(make_all, None, is_dear)
    return [
        Apart(lambda w, k, i=i: together.at(w, k)[i], out.aval, is_dear, outer)
        for i, out in enumerate(eqn.outvars)
    ]


def flat(x: Any, axis: int = 0) -> jax.Array:
    """`[T, everything else]`, in float32 or better."""
    moved = jnp.moveaxis(x, axis, 0)
    return moved.reshape(moved.shape[0], -1).astype(wide(x.dtype))


def bind(eqn: Any, inputs: Sequence[Any]) -> list[Any]:
    """The equation as it is, on whole arrays."""
    with eqn.ctx.manager:
        outs = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
    return list(outs) if eqn.primitive.multiple_results else [outs]
