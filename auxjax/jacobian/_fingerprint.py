"""When are two programs the same program on other numbers?"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.extend import core as jex_core


class _Itself:
    """Counts by identity, and keeps what it holds alive: ids are used again."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self):
        return id(self.value)


def fingerprint(jaxpr: Any) -> tuple:
    """A hashable key of a jaxpr, equal for two jaxprs only if one serves for both.

    Variables are numbered as they appear, so names do not count. Numbers count by
    dtype, shape and bytes, whatever they print as. What cannot be compared by value, a
    function or an array on a device, counts by its identity.
    """
    numbers: dict[Any, int] = {}

    def name(atom: Any) -> Any:
        if isinstance(atom, jex_core.Literal):
            return "literal", _value(atom.val), str(atom.aval)
        return numbers.setdefault(atom, len(numbers)), str(atom.aval)

    equations = tuple(
        (
            eqn.primitive.name,
            tuple(name(v) for v in eqn.invars),
            tuple((key, _value(eqn.params[key])) for key in sorted(eqn.params)),
            tuple(name(v) for v in eqn.outvars),
        )
        for eqn in jaxpr.eqns
    )
    ends = tuple(name(v) for v in (*jaxpr.constvars, *jaxpr.invars, *jaxpr.outvars))
    return equations, ends


def _value(value: Any) -> Any:
    """A literal or one parameter of an equation, hashable."""
    if isinstance(value, jex_core.ClosedJaxpr):
        return fingerprint(value.jaxpr), tuple(_value(const) for const in value.consts)
    if isinstance(value, jex_core.Jaxpr):
        return fingerprint(value)
    if isinstance(value, tuple | list):
        return type(value), tuple(_value(item) for item in value)
    if isinstance(value, dict):
        return dict, tuple((key, _value(value[key])) for key in sorted(value, key=str))
    if isinstance(value, bool | int | float | complex | np.generic | np.ndarray):
        array = np.asarray(value)
        if array.dtype != object:
            return type(value), array.shape, str(array.dtype), array.tobytes()
    if isinstance(value, jax.Array):
        return _Itself(value)
    try:
        hash(value)
    except TypeError:
        return _Itself(value)
    return type(value), value
