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
    """The equation with a program inside whose outputs the losses are, one each.

    What follows it may change each loss on its own, or add to it what has nothing to
    do with the others: a division, a penalty.
    """
    made_by = {
        var: (number, place)
        for number, eqn in enumerate(jaxpr.eqns)
        for place, var in enumerate(eqn.outvars)
    }

    def origins(var):
        """Numbers, or batches of them, from programs inside that it is made of."""
        numbers, seen, stack = set(), set(), [var]
        while stack:
            var = stack.pop()
            if isinstance(var, jex_core.Literal) or var in seen or var not in made_by:
                continue
            seen.add(var)
            eqn = jaxpr.eqns[made_by[var][0]]
            inside = any(True for _ in jex_core.jaxprs_in_params(eqn.params))
            if inside and len(eqn.outvars) > 1:
                numbers |= {made_by[var]} if var.aval.ndim <= 1 else set()
            else:
                stack += eqn.invars
        return numbers

    each = [origins(var) for var in jaxpr.outvars]
    for number in {number for number, _ in each[0]}:
        places = [{p for n, p in own if n == number} for own in each]
        if all(len(own) == 1 for own in places) and len(set.union(*places)) == len(
            each
        ):
            return jaxpr.eqns[number].primitive.name
    return None
