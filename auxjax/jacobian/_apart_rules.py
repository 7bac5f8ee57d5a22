"""What equations do to an axis along which the losses' parts lie; see `_apart`.

A rule gets the equation, its inputs (arrays, or `Along`) and T. It returns the output's
value (a list of several), or None where it cannot tell; then the equation is run on
each loss's own arrays.
The pass is linear, so a plain array that is added to the losses' parts is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from auxjax.jacobian._apart_values import Along, Apart, bind, cut, flat

Value = Along | Apart | list[Along] | None


def _kept(eqn: Any, inputs: Sequence[Any], axis: int, inner: int) -> Along:
    """Run on whole arrays; the axis is where it is said to be."""
    arrays = [value.x if isinstance(value, Along) else value for value in inputs]
    return Along(bind(eqn, arrays)[0], axis, inner)


def _summed(
    eqn: Any, inputs: Sequence[Any], num_tasks: int, outer: Any = None
) -> Apart:
    """A sum over the axis: each loss's own summand, from what each input has of it."""

    def make(window, known):
        del known
        parts = [cut(value, window, num_tasks) for value in inputs]
        return jax.vmap(lambda *x: bind(eqn, x)[0])(*parts)

    return Apart(make, eqn.outvars[0].aval, False, outer)


def _where(inputs: Sequence[Any]) -> tuple[int, int] | None:
    """Axis and inner length, where they are the same for all that have one."""
    places = {(v.axis, v.inner) for v in inputs if isinstance(v, Along)}
    return places.pop() if len(places) == 1 else None


def elementwise(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """Arrays of one shape, or of length 1 where others are longer; single numbers."""
    del num_tasks
    place = _where(inputs)
    ndim = len(eqn.outvars[0].aval.shape)
    ranks = {jnp.ndim(v.x if isinstance(v, Along) else v) for v in inputs}
    return None if place is None or ranks - {0, ndim} else _kept(eqn, inputs, *place)


def transpose(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """Axes in another order."""
    del num_tasks
    (value,) = inputs
    axis = tuple(eqn.params["permutation"]).index(value.axis)
    return _kept(eqn, inputs, axis, value.inner)


def broadcast(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """Axes between."""
    del num_tasks
    value = inputs[0]
    axis = int(eqn.params["broadcast_dimensions"][value.axis])
    return _kept(eqn, inputs, axis, value.inner)


def reshape(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """Axes behind it may become part of it, or leave it; those before may not."""
    value, shape = inputs[0], eqn.outvars[0].aval.shape
    if eqn.params["dimensions"] is not None:
        return None
    before = math.prod(value.x.shape[: value.axis])
    for axis, length in enumerate(shape):
        is_there = math.prod(shape[:axis]) == before
        if is_there and length % num_tasks == 0 and length:
            return _kept(eqn, inputs, axis, length // num_tasks)
    return None


def squeeze(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """Axes of length 1 away."""
    del num_tasks
    (value,) = inputs
    away = sum(axis < value.axis for axis in eqn.params["dimensions"])
    return _kept(eqn, inputs, value.axis - away, value.inner)


def reduce_sum(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """Over other axes, or over this one."""
    (value,) = inputs
    axes = eqn.params["axes"]
    if value.axis in axes:
        return _summed(eqn, inputs, num_tasks)
    away = sum(axis < value.axis for axis in axes)
    return _kept(eqn, inputs, value.axis - away, value.inner)


def _untouched(touches: Callable) -> Callable:
    """A rule for what leaves the axis alone unless `touches(params, axis, length)`."""

    def rule(eqn, inputs, num_tasks):
        del num_tasks
        place = _where(inputs)
        if place is None or not isinstance(inputs[0], Along):
            return None
        length = inputs[0].x.shape[place[0]]
        if any(isinstance(value, Along) for value in inputs[1:]):
            return None
        if touches(eqn.params, place[0], length):
            return None
        return _kept(eqn, inputs, *place)

    return rule


def concatenate(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """Along another axis; plain pieces are zeros."""
    del num_tasks
    place = _where(inputs)
    if place is None or eqn.params["dimension"] == place[0]:
        return None
    return _kept(eqn, inputs, *place)


def _slices(params: Any, axis: int, length: int) -> bool:
    strides = params["strides"]
    whole = (params["start_indices"][axis], params["limit_indices"][axis])
    is_whole = whole == (0, length) and (strides is None or strides[axis] == 1)
    return not is_whole


def _windows(params: Any, axis: int, length: int) -> bool:
    del length
    sizes, strides = params["window_dimensions"], params["window_strides"]
    pads = params["padding"]
    dilations = [params.get(name) for name in ("base_dilation", "window_dilation")]
    is_plain = sizes[axis] == strides[axis] == 1 and tuple(pads[axis]) == (0, 0)
    return not (is_plain and all(d is None or d[axis] == 1 for d in dilations))


def split(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """Of another axis."""
    del num_tasks
    (value,) = inputs
    if eqn.params["axis"] == value.axis:
        return None
    return [value._replace(x=piece) for piece in bind(eqn, [value.x])]


def dot_general(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """The axis stays where it is not summed over, else there are products apart."""
    contracting, batch = eqn.params["dimension_numbers"]
    sides = [side for side, v in enumerate(inputs) if isinstance(v, Along)]
    if len(sides) != 1:
        return None
    (side,) = sides
    value, other = inputs[side], inputs[1 - side]
    axis = value.axis
    if axis in contracting[side]:
        place = list(contracting[side]).index(axis)
        with_it = Along(other, contracting[1 - side][place], value.inner)
        pair = [value, with_it] if side == 0 else [with_it, value]
        return _product(eqn, pair, num_tasks, len(contracting[0]), batch)
    if axis in batch[side]:
        return _kept(eqn, inputs, list(batch[side]).index(axis), value.inner)
    taken = {*contracting[side], *batch[side]}
    free = [i for i in range(value.x.ndim) if i not in taken]
    before = len(batch[0]) + free.index(axis)
    if side == 1:
        before += inputs[0].ndim - len(batch[0]) - len(contracting[0])
    return _kept(eqn, inputs, before, value.inner)


def _product(eqn, pair, num_tasks, num_contracted, batch) -> Apart:
    """Each loss's own product; an outer one if nothing else is summed over."""
    aval = eqn.outvars[0].aval
    is_sum = num_contracted > 1 or batch[0] or pair[0].inner > 1
    if is_sum or jnp.issubdtype(aval.dtype, jnp.complexfloating):
        return _summed(eqn, pair, num_tasks)
    left, right = (flat(value.x, value.axis) for value in pair)

    def make(window, known):
        del known
        a, b = (cut(Along(x, 0, 1), window, num_tasks) for x in (left, right))
        product = a[:, 0, :, None] * b[:, 0, None, :]
        return product.reshape(window[1], *aval.shape).astype(aval.dtype)

    return Apart(make, aval, False, (left, right))


def convolution(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """Of a batch of images, or over it: the kernel's gradient, image by image."""
    numbers = eqn.params["dimension_numbers"]
    specs = (numbers.lhs_spec, numbers.rhs_spec)
    is_plain = eqn.params["feature_group_count"] == 1
    is_plain = is_plain and eqn.params["batch_group_count"] == 1
    sides = [side for side, v in enumerate(inputs) if isinstance(v, Along)]
    if len(sides) != 1 or not is_plain:
        return None
    (side,) = sides
    value, spec = inputs[side], specs[side]
    if value.axis == spec[0] and side == 0:  # the batch
        return _kept(eqn, inputs, numbers.out_spec[0], value.inner)
    if value.axis != spec[1]:
        return None
    with_it = Along(inputs[1 - side], specs[1 - side][1], value.inner)
    pair = [value, with_it] if side == 0 else [with_it, value]
    return _summed(eqn, pair, num_tasks)


def scatter_add(eqn: Any, inputs: Sequence[Any], num_tasks: int) -> Value:
    """What was looked up goes back to its places, in tables of each loss's own or not.

    A table that all losses looked something up in gets each one's own rows.
    """
    table, indices, updates = inputs
    numbers = eqn.params["dimension_numbers"]
    if not isinstance(updates, Along) or isinstance(table, Along):
        return None
    windows = list(numbers.update_window_dims)
    places = [i for i in range(updates.x.ndim) if i not in windows]
    if isinstance(indices, Along):
        return None
    if updates.axis in windows:  # an axis of the table, if it is not moved along it
        away = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
        kept = [i for i in range(table.ndim) if i not in away]
        axis = kept[windows.index(updates.axis)]
        is_moved = axis in numbers.scatter_dims_to_operand_dims
        is_whole = table.shape[axis] == updates.x.shape[updates.axis]
        whole = is_whole and not is_moved
        return _kept(eqn, inputs, axis, updates.inner) if whole else None
    place = places.index(updates.axis)  # an axis of the indices
    if place in numbers.scatter_indices_batching_dims:
        own = list(numbers.scatter_indices_batching_dims).index(place)
        return _kept(eqn, inputs, numbers.operand_batching_dims[own], updates.inner)
    where_to = Along(indices, place, updates.inner)

    def make(window, known):
        del known
        where, what = (cut(value, window, num_tasks) for value in (where_to, updates))
        return jax.vmap(lambda i, u: bind(eqn, [table, i, u])[0])(where, what)

    return Apart(make, eqn.outvars[0].aval, False)


RULES: dict[str, Callable[[Any, Sequence[Any], int], Value]] = {
    **dict.fromkeys(
        (
            *("add", "add_any", "complex", "conj", "convert_element_type", "copy"),
            *("div", "imag", "mul", "neg", "real", "reduce_precision", "select_n"),
            "sub",
        ),
        elementwise,
    ),
    "broadcast_in_dim": broadcast,
    "concatenate": concatenate,
    "conv_general_dilated": convolution,
    "cumsum": _untouched(lambda params, axis, length: params["axis"] == axis),
    "dot_general": dot_general,
    "pad": _untouched(
        lambda params, axis, length: tuple(params["padding_config"][axis]) != (0, 0, 0)
    ),
    "reduce_sum": reduce_sum,
    "reduce_window_sum": _untouched(_windows),
    "reshape": reshape,
    "rev": _untouched(lambda params, axis, length: axis in params["dimensions"]),
    "scatter-add": scatter_add,
    "select_and_scatter_add": _untouched(_windows),
    "slice": _untouched(_slices),
    "split": split,
    "squeeze": squeeze,
    "transpose": transpose,
}
"""By the primitive's name."""
