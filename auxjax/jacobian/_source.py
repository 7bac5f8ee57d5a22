"""Where a Jacobian came from, so that it can be taken again elsewhere."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from auxjax._types import LossFn, Params


@jax.tree_util.register_static
class _Plan:
    """The static half of a `Source`: equal for the same function called alike."""

    def __init__(self, call: Call, treedef: Any, constants: dict[int, Any]):
        self.call = call
        self.treedef = treedef
        self.constants = constants  # leaves that are no arrays, by their place

    def _key(self):
        """A function is known by its identity; a method, made anew, by its object's."""
        f = self.call.losses
        who = (f.__self__, f.__func__) if isinstance(f, types.MethodType) else (f,)
        return (*map(id, who), self.call.has_aux, self.call.names, self.treedef)

    def __eq__(self, other):
        return (
            isinstance(other, _Plan)
            and self._key() == other._key()
            and self.constants.keys() == other.constants.keys()
            and all(_same(x, other.constants[i]) for i, x in self.constants.items())
        )

    def __hash__(self):
        return hash(self._key())


class Call(NamedTuple):
    """How the losses were made.

    Attributes:
      build: from the losses, the parameters and the rest to a Jacobian.
      losses: the user's function.
      has_aux: whether it returns something beside the losses.
      names: the tasks', in their order.
    """

    build: Callable
    losses: LossFn
    has_aux: bool
    names: tuple[str, ...]


def _same(x: Any, y: Any) -> bool:
    """Whether two constants are one, or the same number or text."""
    is_plain = isinstance(x, bool | int | float | complex | str) and type(x) is type(y)
    return x is y or (is_plain and x == y)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """The parameters and arguments that the losses were linearized at.

    A pytree of the arrays among them. What a loss function closes over is not seen:
    a Jacobian that leaves a `jit` and is taken again outside should have got its
    batch as an argument.
    """

    arrays: list[Any]
    plan: _Plan

    @property
    def params(self) -> Params:
        """The parameters that the losses were linearized at."""
        return self._all()[0]

    def build_at(self, params: Params) -> Any:
        """The Jacobian of the same losses on the same arguments, elsewhere."""
        call = self.plan.call
        return call.build(call.losses, params, self.args, call.has_aux, call.names)

    @property
    def args(self) -> tuple[Any, ...]:
        """The other arguments, made anew: some can be used only once."""
        return self._all()[1]

    def _all(self) -> tuple[Params, tuple[Any, ...]]:
        arrays, constants = iter(self.arrays), self.plan.constants
        leaves = [
            constants[i] if i in constants else next(arrays)
            for i in range(self.plan.treedef.num_leaves)
        ]
        return jax.tree.unflatten(self.plan.treedef, leaves)


def remember(params: Params, args: Sequence[Any]) -> Callable[[Call], Source]:
    """Takes `losses(params, *args)` apart before it is called.

    Some arguments (Equinox's `State`) can be used only once; their leaves can be used
    again. What is no array, a number or a function, stays as it is.

    Returns:
      The function that makes the source, given what was called.
    """
    leaves, treedef = jax.tree.flatten((params, tuple(args)))
    is_array = [isinstance(x, jax.Array | np.ndarray) for x in leaves]
    constants = {
        i: x for i, (x, a) in enumerate(zip(leaves, is_array, strict=True)) if not a
    }
    arrays = [x for x, a in zip(leaves, is_array, strict=True) if a]
    return lambda call: Source(arrays, _Plan(call, treedef, constants))
