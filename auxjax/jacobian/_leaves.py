"""Parameters as a flat list: which leaves are differentiable, which are masked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Mask, Params
from auxjax.jacobian._dense import as_real

Bools = tuple[bool, ...]


@jax.tree_util.register_static
class Layout:
    """The static shape of a parameter pytree. Compared by value."""

    def __init__(self, params: Params):
        """Reads structure, shapes and dtypes off `params`."""
        leaves, self.treedef = jax.tree.flatten(params)
        self.shapes = tuple(tuple(np.shape(x)) for x in leaves)
        self.dtypes = tuple(_dtype(x) for x in leaves)
        self.is_differentiable: Bools = tuple(
            jnp.issubdtype(d, jnp.inexact) for d in self.dtypes
        )
        self.differentiable = tuple(
            i for i, d in enumerate(self.is_differentiable) if d
        )

    def _key(self):
        return self.treedef, self.shapes, self.dtypes

    def __eq__(self, other):
        return isinstance(other, Layout) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def names(self) -> list[str]:
        """A path for each leaf, for error messages: `['dense']['kernel']`."""
        paths = jax.tree_util.tree_flatten_with_path(self.abstract())[0]
        return [jax.tree_util.keystr(path) for path, _ in paths]

    def abstract(self) -> Params:
        """The parameters as `jax.ShapeDtypeStruct`s."""
        return self.unflatten(
            [
                jax.ShapeDtypeStruct(shape, dtype)
                for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
            ]
        )

    def unflatten(self, leaves: Sequence[Any]) -> Params:
        """All leaves, in order, as the pytree."""
        return jax.tree.unflatten(self.treedef, leaves)

    def pick(self, params: Params, cast: bool = True) -> list[jax.Array]:
        """The differentiable leaves as arrays, cast to the parameters' dtypes."""
        leaves = self.flatten(params, "direction")
        arrays = [jnp.asarray(leaves[i]) for i in self.differentiable]
        if not cast:
            return arrays
        dtypes = [self.dtypes[i] for i in self.differentiable]
        return [x.astype(dtype) for x, dtype in zip(arrays, dtypes, strict=True)]

    def put(self, variables: Sequence[Any], params: Params) -> Params:
        """The parameters with other differentiable leaves."""
        leaves = self.treedef.flatten_up_to(params)
        for i, value in zip(self.differentiable, variables, strict=True):
            leaves[i] = value
        return self.unflatten(leaves)

    def flatten(self, tree: Any, name: str) -> list[Any]:
        """All leaves of a tree that must be shaped like the parameters."""
        leaves, treedef = jax.tree.flatten(tree)
        if treedef != self.treedef:
            raise ValueError(
                f"`{name}` should have the structure of the parameters, "
                f"{self.treedef}. Found {treedef}."
            )
        for i in self.differentiable:
            if tuple(np.shape(leaves[i])) != self.shapes[i]:
                raise ValueError(
                    f"`{name}` should have shape {self.shapes[i]} at "
                    f"{self.names()[i]}. Found {tuple(np.shape(leaves[i]))}."
                )
        return leaves

    def fill(self, values: dict[int, Any], leading: tuple[int, ...] = ()) -> Params:
        """A gradient from `{differentiable leaf: value}`; what is absent is zero.

        Leaves that cannot be differentiated are `float0`, as `jax.grad(...,
        allow_int=True)` returns them.
        """
        leaves = []
        position = {leaf: k for k, leaf in enumerate(self.differentiable)}
        for i, shape in enumerate(self.shapes):
            if i not in position:
                leaves.append(np.zeros(leading + shape, jax.dtypes.float0))
            elif position[i] in values:
                leaves.append(values[position[i]])
            else:
                leaves.append(jnp.zeros(leading + shape, self.dtypes[i]))
        return self.unflatten(leaves)

    def full_mask(self, flags: Sequence[bool]) -> Params:
        """A pytree of bools from one a *differentiable* leaf; False elsewhere."""
        flag_of = dict(zip(self.differentiable, flags, strict=True))
        return self.unflatten([flag_of.get(i, False) for i in range(len(self.shapes))])

    def mask(self, where: Mask | None) -> Bools:
        """Resolves `where` to one bool a *differentiable* leaf; None: all of them."""
        if where is None:
            return (True,) * len(self.differentiable)
        flags = broadcast_mask(where, self.abstract())
        return tuple(flags[i] for i in self.differentiable)


def _dtype(leaf: Any) -> Any:
    """A leaf's dtype; `object` for what is no array (an activation function, say)."""
    if hasattr(leaf, "dtype"):
        return leaf.dtype
    try:
        return np.dtype(jax.dtypes.result_type(leaf))
    except TypeError:
        return np.dtype(object)


def labels_of(tree: Any, params: Params) -> Any:
    """A pytree of labels for the parameters, or what a function makes of them.

    Modules are pytrees that can be called: what has the parameters' structure, or holds
    bools alone, is labels and not a function.
    """
    structure = jax.tree.structure(tree)
    is_node = not jax.tree_util.treedef_is_leaf(structure)
    if not callable(tree) or (is_node and structure == jax.tree.structure(params)):
        return tree
    leaves = jax.tree.leaves(tree)
    if leaves and all(isinstance(leaf, bool | np.bool_) for leaf in leaves):
        return tree
    return tree(params)


def broadcast_mask(where: Mask | Callable, params: Params) -> list[bool]:
    """One bool per leaf, from a prefix pytree of bools or a function of the params."""
    tree = labels_of(where, params)
    try:
        full = jax.tree.map(
            lambda flag, part: jax.tree.map(lambda _: flag, part), tree, params
        )
    except ValueError as error:
        raise ValueError(
            "`where` should be a pytree of bools that is a prefix of the parameters, "
            f"or a function that returns one. Found {jax.tree.structure(tree)} for "
            f"parameters {jax.tree.structure(params)}."
        ) from error
    flags = jax.tree.leaves(full)
    for flag in flags:
        if not isinstance(flag, bool | np.bool_):
            raise ValueError(
                f"`where` should hold Python bools. Found {type(flag).__name__}."
            )
    return [bool(flag) for flag in flags]


def masked_leaves(tree: Any, params: Params, where: Mask | None) -> list[Any]:
    """The differentiable leaves of `tree` that `where` picks out of `params`.

    Args:
      tree: a pytree of the parameters' structure; its leaves may have leading axes.
      params: the parameters, or arrays of their shapes.
      where: a mask for them; None: all.

    Returns:
      The leaves; complex ones as real arrays with a last axis of two.
    """
    layout = Layout(params)
    leaves = jax.tree.leaves(tree)
    picked = zip(layout.differentiable, layout.mask(where), strict=True)
    return [as_real(jnp.asarray(leaves[i])) for i, want in picked if want]


def apply_updates(params: Params, updates: Any) -> Params:
    """θ + u, as `optax.apply_updates`, with parameters that cannot move left alone.

    Args:
      params: a pytree; integers, bools, typed keys and what is no array stay.
      updates: of the same structure; what stands at those leaves (`float0`, as
        gradients have it) is not looked at.

    Returns:
      A pytree like `params`, in the parameters' dtypes.

    Raises:
      ValueError: where the structures or shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> params = {"w": jnp.ones(2), "steps": jnp.array(3)}
      >>> jac = auxjax.task_jacobian(lambda p: (p["w"].sum(), p["w"][0]), params)
      >>> updates, _ = auxjax.sum_tasks().update(jac, optax.EmptyState())
      >>> moved = auxjax.apply_updates(params, updates)
      >>> moved["w"].tolist(), int(moved["steps"])
      ([3.0, 2.0], 3)
    """
    layout = Layout(params)
    added = layout.flatten(updates, "updates")
    leaves = jax.tree.leaves(params)
    moved = [
        jnp.asarray(leaves[i] + added[i]).astype(layout.dtypes[i])
        for i in layout.differentiable
    ]
    return layout.put(moved, params)
