"""Losses that were stacked into one array, taken apart again.

A `[T]` array hides that the tasks are separate: each row would pay for every task's
decoder, and every head would count as shared. Where the program says how the array was
put together (`jnp.stack`, an inner `jit`, indices into the stack), it is written anew
with one output per task. Losses that `vmap` computed as one array stay one array.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core as jex_core

_TOGETHER = ("concatenate", "stack", "split", "unstack")

Outs = list[Any] | None
"""An equation's outputs; None where it has to run as it is, on whole arrays."""


class Pieces(NamedTuple):
    """A vector that is not put together yet: its elements, each `[]`."""

    parts: list[jax.Array]


def split_outputs(closed: Any) -> Any:
    """The closed jaxpr with its outputs taken apart, or as it is if that is all."""
    avals = closed.out_avals
    is_array = len(avals) == 1 and avals[0].ndim == 1 and avals[0].size > 1
    if not is_array and not any(map(_may_hide, _makers(closed.jaxpr))):
        return closed

    def run(*args):
        outs = _run(closed.jaxpr, closed.consts, args)
        if len(outs) == 1 and isinstance(outs[0], Pieces):
            return outs[0].parts
        return [_whole(out) for out in outs]

    shapes = [
        jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
        for a in closed.in_avals
    ]
    split = jax.make_jaxpr(run)(*shapes)
    return split if len(split.out_avals) > 1 else closed


def _makers(jaxpr: Any) -> list[Any]:
    """The equation behind each output; what follows it takes a single input."""
    made_by = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}

    def maker(var):
        eqn = None
        while not isinstance(var, jex_core.Literal) and var in made_by:
            eqn = made_by[var]
            inputs = [v for v in eqn.invars if not isinstance(v, jex_core.Literal)]
            if _may_hide(eqn) or len(inputs) != 1:
                return eqn
            (var,) = inputs
        return eqn

    return [maker(var) for var in jaxpr.outvars]


def _may_hide(eqn: Any) -> bool:
    """Whether tasks may be put together in an equation."""
    if eqn is None:
        return False
    is_call = eqn.primitive.name == "jit"
    if is_call and len(eqn.outvars) == 1 and eqn.outvars[0].aval.shape == ():
        return False
    return is_call or eqn.primitive.name in _TOGETHER


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Runs a jaxpr; stacks of scalars stay apart as long as nobody needs the whole."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom):
        return atom.val if isinstance(atom, jex_core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        if eqn.primitive.name == "jit" and _is_plain(eqn):
            inner = eqn.params["jaxpr"]
            outs = _run(inner.jaxpr, inner.consts, inputs)
        else:
            rule = _RULES.get(eqn.primitive.name)
            outs = None if rule is None else rule(eqn, inputs)
            outs = _bind(eqn, inputs) if outs is None else outs
        values.update(zip(eqn.outvars, outs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _is_plain(eqn: Any) -> bool:
    """Whether an inner `jit` says nothing of where its arrays lie."""
    places = (*eqn.params["in_shardings"], *eqn.params["out_shardings"])
    return all(type(place).__name__ == "UnspecifiedValue" for place in places)


def _bind(eqn: Any, inputs: Sequence[Any]) -> list[Any]:
    """The equation as it is, on whole arrays."""
    with eqn.ctx.manager:
        outs = eqn.primitive.bind(
            *map(_whole, inputs), **eqn.primitive.get_bind_params(eqn.params)
        )
    return list(outs) if eqn.primitive.multiple_results else [outs]


def _whole(value: Any) -> Any:
    """An array, put together if it is in pieces."""
    if not isinstance(value, Pieces):
        return value
    rows = [jax.lax.reshape(part, (1,)) for part in value.parts]
    return jax.lax.concatenate(rows, 0)


def _stacked(eqn: Any, inputs: Sequence[Any]) -> Outs:
    """Single numbers that become a vector."""
    if eqn.outvars[0].aval.ndim != 1:
        return None
    parts: list[jax.Array] = []
    for value in inputs:
        if isinstance(value, Pieces):
            parts += value.parts
        elif value.size == 1:
            parts.append(jax.lax.reshape(value, ()))
        else:
            return None
    return [Pieces(parts)]


def _sliced(eqn: Any, inputs: Sequence[Any]) -> Outs:
    """Some of the pieces."""
    (value,) = inputs
    if not isinstance(value, Pieces):
        return None
    (start,), (stop,) = eqn.params["start_indices"], eqn.params["limit_indices"]
    (step,) = eqn.params["strides"] or (1,)
    return [Pieces(value.parts[start:stop:step])]


def _split(eqn: Any, inputs: Sequence[Any]) -> Outs:
    """The pieces, shared out."""
    (value,) = inputs
    if not isinstance(value, Pieces):
        return None
    ends = itertools.accumulate(eqn.params["sizes"], initial=0)
    return [Pieces(value.parts[a:b]) for a, b in itertools.pairwise(ends)]


def _unstacked(eqn: Any, inputs: Sequence[Any]) -> Outs:
    """The pieces, each on its own."""
    del eqn
    (value,) = inputs
    return value.parts if isinstance(value, Pieces) else None


def _reshaped(eqn: Any, inputs: Sequence[Any]) -> Outs:
    """A single piece as a number; pieces in the shape that they have."""
    value, shape = inputs[0], eqn.outvars[0].aval.shape
    if not isinstance(value, Pieces):
        return None
    if shape == () and len(value.parts) == 1:
        return [value.parts[0]]
    return [value] if shape == (len(value.parts),) else None


def _mapped(eqn: Any, inputs: Sequence[Any]) -> Outs:
    """Arithmetic element by element, on each piece."""
    sizes = [len(v.parts) for v in inputs if isinstance(v, Pieces)]
    if not sizes:
        return None

    def part(value, i):
        if isinstance(value, Pieces):
            return value.parts[i]
        return value if jax.numpy.ndim(value) == 0 else value[i]

    parts = [
        eqn.primitive.bind(*(part(v, i) for v in inputs), **eqn.params)
        for i in range(sizes[0])
    ]
    return [Pieces(parts)]


_RULES: dict[str, Callable[[Any, Sequence[Any]], Outs]] = {
    "concatenate": _stacked,
    "stack": _stacked,
    "slice": _sliced,
    "reshape": _reshaped,
    "squeeze": _reshaped,
    "split": _split,
    "unstack": _unstacked,
    **dict.fromkeys(("mul", "div", "neg", "add", "add_any", "sub"), _mapped),
}
