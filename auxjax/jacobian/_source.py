"""Where a Jacobian came from, so that it can be taken again elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from auxjax._types import Params


@jax.tree_util.register_static
class _Plan:
    """The static half of a `Source`. Compared by identity, hence hashable."""

    def __init__(self, build: Callable, treedef: Any, constants: dict[int, Any]):
        self.build = build
        self.treedef = treedef
        self.constants = constants  # leaves that are no arrays, by their place


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
        """Builds again, at other parameters, on the same arguments."""
        return self.plan.build(params, *self._all()[1])

    def _all(self) -> tuple[Params, tuple[Any, ...]]:
        arrays, constants = iter(self.arrays), self.plan.constants
        leaves = [
            constants[i] if i in constants else next(arrays)
            for i in range(self.plan.treedef.num_leaves)
        ]
        return jax.tree.unflatten(self.plan.treedef, leaves)


def make_source(build: Callable, params: Params, args: Sequence[Any]) -> Source:
    """Remembers `build(params, *args)`; numbers and functions stay as they are."""
    leaves, treedef = jax.tree.flatten((params, tuple(args)))
    is_array = [isinstance(x, jax.Array | np.ndarray) for x in leaves]
    constants = {
        i: x for i, (x, a) in enumerate(zip(leaves, is_array, strict=True)) if not a
    }
    arrays = [x for x, a in zip(leaves, is_array, strict=True) if a]
    return Source(arrays, _Plan(build, treedef, constants))
