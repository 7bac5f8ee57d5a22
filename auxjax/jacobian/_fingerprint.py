"""When are two programs the same program on other numbers?"""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.extend import core as jex_core


def fingerprint(jaxpr: Any) -> tuple:
    """A hashable text of a jaxpr, equal for two jaxprs only if one serves for both.

    Variables are numbered as they appear, so names do not count. What cannot be read,
    a function or an array inside, counts by its identity.
    """
    numbers: dict[Any, int] = {}

    def name(atom: Any) -> Any:
        if isinstance(atom, jex_core.Literal):
            return "literal", repr(atom.val), str(atom.aval)
        return numbers.setdefault(atom, len(numbers)), str(atom.aval)

    equations = tuple(
        (
            eqn.primitive.name,
            tuple(name(v) for v in eqn.invars),
            tuple((key, _parameter(eqn.params[key])) for key in sorted(eqn.params)),
            tuple(name(v) for v in eqn.outvars),
        )
        for eqn in jaxpr.eqns
    )
    ends = tuple(name(v) for v in (*jaxpr.constvars, *jaxpr.invars, *jaxpr.outvars))
    return equations, ends


def _parameter(value: Any) -> Any:
    """One parameter of an equation, hashable."""
    if isinstance(value, jex_core.ClosedJaxpr):
        return fingerprint(value.jaxpr), tuple(id(const) for const in value.consts)
    if isinstance(value, jex_core.Jaxpr):
        return fingerprint(value)
    if isinstance(value, tuple | list):
        return tuple(_parameter(item) for item in value)
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), value.tobytes()
    if callable(value) and not isinstance(value, type):
        return id(value)
    return repr(value)
