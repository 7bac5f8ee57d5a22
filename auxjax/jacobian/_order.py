"""Which task is the main one, where a dict may have lost its order.

Whatever leaves a transformation of JAX was rebuilt from its leaves, and the keys of a
plain dict are sorted then. Nothing tells so afterwards, but the program does: all the
losses are outputs of one equation, the transformation's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from jax.extend import core as jex_core

Order = str | tuple[str, ...] | None
"""The main task's name, all names in their order, or what the losses say themselves."""


def arrange(names: Sequence[str], order: Order) -> list[int]:
    """Where in `names` the tasks stand, the main one first.

    Raises:
      ValueError: where the main task's name is none of them; where none was given and
        a task called `main` is not the first.
    """
    places = list(range(len(names)))
    if isinstance(order, tuple):
        return [names.index(name) for name in order]
    if order is None:
        if "main" in names[1:]:
            raise ValueError(
                f"The main task's loss should be the first. Found `main` after "
                f"`{names[0]}`: JAX sorts the keys of a dict that leaves a "
                'transformation. Pass `main="main"`.'
            )
        return places
    if order not in names:
        raise ValueError(
            f"`main` should be one of the tasks, {tuple(names)}. Found {order!r}."
        )
    first = names.index(order)
    return [first, *(i for i in places if i != first)]


def needs_trust(names: Sequence[str], values: Any) -> bool:
    """Whether the order of these losses may be JAX's instead of the user's."""
    is_plain = isinstance(values, dict) and not isinstance(values, OrderedDict)
    is_sorted = list(names) == sorted(names)
    return is_plain and is_sorted and len(names) > 1 and names[0] != "main"


def check_trust(names: Sequence[str], trace: Callable[[], Any]) -> None:
    """A ValueError where sorted losses come out of a transformation.

    Args:
      names: sorted.
      trace: the losses' closed jaxpr; its outputs are the losses.
    """
    transformation = _maker_of_all(trace().jaxpr)
    if transformation is not None:
        raise ValueError(
            "The order of the losses should be known, the main task's first. Found "
            f"{tuple(names)} in the order of the alphabet out of a "
            f"`{transformation}`: JAX sorts the keys of a dict that leaves a "
            'transformation. Pass the main task\'s name, `main="..."`.'
        )


def _maker_of_all(jaxpr: Any) -> str | None:
    """The equation with a program inside that all outputs come from, if there is one.

    What follows it may change each loss on its own, as a division by two does.
    """
    made_by = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}

    def origin(var):
        while not isinstance(var, jex_core.Literal) and var in made_by:
            eqn = made_by[var]
            inputs = [v for v in eqn.invars if not isinstance(v, jex_core.Literal)]
            if len(eqn.outvars) > 1 or len(inputs) != 1:
                return eqn
            var = inputs[0]
        return None

    makers = [origin(var) for var in jaxpr.outvars]
    first = makers[0]
    if first is None or any(eqn is not first for eqn in makers):
        return None
    inside = any(True for _ in jex_core.jaxprs_in_params(first.params))
    return first.primitive.name if inside and len(first.outvars) > 1 else None
