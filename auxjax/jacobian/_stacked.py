"""Gradients that are already written down, behind the same methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import (
    Array,
    ArrayLike,
    Float,
    Gradient,
    Key,
    LossFn,
    Mask,
    Params,
    StackedGradients,
)
from auxjax.jacobian import _losses
from auxjax.jacobian._build import task_jacobian
from auxjax.jacobian._checks import (
    check_index,
    check_sketch,
    check_task_mask,
    check_weights,
)
from auxjax.jacobian._dense import as_dtype, as_real, dot_rows, gram, times
from auxjax.jacobian._guard import Guard, NoGradient, guarded
from auxjax.jacobian._leaves import Layout
from auxjax.jacobian._task_jacobian import TaskJacobian


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class StackedJacobian(metaclass=NoGradient):
    """A pytree of stacked gradients `[T, *param]` that answers like a `TaskJacobian`.

    Made by `as_jacobian`; a row transform that got stacked gradients hands it on, so
    that a missing aggregator is an error and not a step of T times the parameters.
    Every contraction is a product with the stored rows. It reads like the gradients
    that it holds: `stacked["w"]`, `stacked.shape`, `numpy.asarray(stacked)`.

    Attributes:
      grads: the stacked gradients.
      losses: `[T]`, or None if nobody passed them.
      num_tasks: T.
    """

    grads: StackedGradients
    losses: jax.Array | None
    num_tasks: int = dataclasses.field(metadata={"static": True})
    _guard: Any = dataclasses.field(default_factory=Guard, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_guard", guarded(self._guard))

    def __getitem__(self, item: Any) -> Any:
        return self.grads[item]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "grads":
            raise AttributeError(name)
        return getattr(self.grads, name)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.asarray(self.grads, *args, **kwargs)

    @property
    def names(self) -> tuple[str, ...]:
        """`main`, `aux_1`, …: stacked gradients have no names."""
        return tuple(_losses.default_names(self.num_tasks))

    @property
    def structure(self) -> Any:
        """The parameters' tree structure."""
        return jax.tree.structure(self.grads)

    def vjp(self, weights: ArrayLike) -> Gradient:
        """Σᵢ wᵢ ∇Lᵢ, from weights `[T]`."""
        weights = check_weights(weights, self.num_tasks, self._dtype())

        def contract(rows):
            wide = _losses.wide(rows.dtype)
            real = as_real(jnp.asarray(rows))
            flat = real.reshape(self.num_tasks, -1).astype(wide)
            total = jnp.matmul(weights.astype(wide), flat, precision="highest")
            return as_dtype(total.reshape(real.shape[1:]), rows.dtype)

        # The dots keep NumPy from making a scalar of `float0`.
        return self._map(contract, lambda rows: rows[0, ...])

    def row(self, index: int) -> Gradient:
        """∇Lᵢ of one task."""
        check_index(index, self.num_tasks)
        return jax.tree.map(lambda rows: rows[index, ...], self.grads)

    def jvp(self, direction: Gradient, where: Mask | None = None) -> Float[Array, " T"]:
        """⟨∇Lᵢ, v⟩ for every task, `[T]`, on the leaves in `where` (None: all)."""
        layout = self._layout()
        wanted = layout.mask(where)
        total = jnp.zeros(self.num_tasks, self._dtype())
        leaves = zip(layout.pick(direction, cast=False), wanted, strict=True)
        vectors = [v for v, want in leaves if want]
        for rows, vector in zip(self._leaves(where), vectors, strict=True):
            total += dot_rows(jnp.conj(rows), vector, self._dtype())
        return total

    def gramian_row(self, index: int, where: Mask | None = None) -> Float[Array, " T"]:
        """⟨∇Lᵢ, ∇L_index⟩ `[T]` on the leaves in `where` (None: all)."""
        check_index(index, self.num_tasks)
        total = jnp.zeros(self.num_tasks, self._dtype())
        for rows in self._leaves(where):
            total += dot_rows(rows, rows[index], self._dtype())
        return total

    def rows(
        self, *, where: Mask | None = None, chunk_size: int | None = None
    ) -> StackedGradients:
        """The gradients as they are, None outside `where` (None: all)."""
        del chunk_size  # it has nothing to bound
        if where is None:
            return self.grads
        return self._layout().unflatten(self.leaf_rows(where))

    def leaf_rows(
        self, where: Mask | None, *, chunk_size: int | None = None
    ) -> list[Any]:
        """As `rows`, one entry a leaf of the parameters; None outside `where`."""
        del chunk_size
        layout = self._layout()
        wanted = dict(zip(layout.differentiable, layout.mask(where), strict=True))
        leaves = enumerate(jax.tree.leaves(self.grads))
        return [jnp.asarray(x) if wanted.get(i) else None for i, x in leaves]

    def gramian(
        self, where: Mask | None = None, *, chunk_size: int | None = None
    ) -> Float[Array, "T T"]:
        """J Jᵀ `[T, T]` on the leaves in `where` (None: all)."""
        del chunk_size
        return gram(self._leaves(where), self.num_tasks, self._dtype())

    def norms(
        self,
        where: Mask | None = None,
        *,
        chunk_size: int | None = None,
        sketch: int | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, " T"]:
        """‖∇Lᵢ‖₂ `[T]` on the leaves in `where` (None: all); always exact."""
        del chunk_size
        if sketch is not None:
            check_sketch(sketch, key)  # exact is cheaper than random here
        total = jnp.zeros(self.num_tasks, self._dtype())
        for rows in self._leaves(where):
            wide = as_real(rows).astype(self._dtype())
            total += jnp.sum(wide * wide, axis=tuple(range(1, wide.ndim)))
        return jnp.sqrt(total)

    def scale(self, weights: ArrayLike, where: Mask | None = None) -> StackedJacobian:
        """diag(w) J: row i times `weights[i]`, on the leaves in `where` (None: all)."""
        weights = check_weights(weights, self.num_tasks, self._dtype())
        wanted = iter(self._layout().mask(where))

        def scaled(rows):
            if not next(wanted):
                return rows
            column = weights.reshape((-1,) + (1,) * (rows.ndim - 1))
            return times(jnp.asarray(rows), column)

        return dataclasses.replace(self, grads=self._map(scaled, lambda rows: rows))

    def mask(self, present: ArrayLike) -> StackedJacobian:
        """The rows and losses of absent tasks become 0, whatever they hold.

        Args:
          present: `[T]` (bool).
        """
        here = jnp.asarray(check_task_mask(present, self.num_tasks))

        def kept(rows):
            column = here.reshape((-1,) + (1,) * (rows.ndim - 1))
            return jnp.where(column, rows, jnp.zeros_like(rows))

        grads = self._map(kept, lambda rows: rows)
        losses = None if self.losses is None else kept(self.losses)
        return dataclasses.replace(self, grads=grads, losses=losses)

    def materialize(self) -> StackedJacobian:
        """Itself: its rows are written down already."""
        return self

    def shared_mask(self) -> Any:
        """All floating-point leaves: stacked gradients do not tell who depends on what.

        Pass `where=` to the rule for a narrower choice.
        """
        layout = self._layout()
        return layout.unflatten(list(layout.is_differentiable))

    def as_updates(self) -> StackedJacobian:
        """What a transformation hands on: itself."""
        return self

    def _layout(self) -> Layout:
        return Layout(
            jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self.grads
            )
        )

    def _leaves(self, where: Mask | None) -> list[jax.Array]:
        layout = self._layout()
        leaves = jax.tree.leaves(self.grads)
        picked = zip(layout.differentiable, layout.mask(where), strict=True)
        return [jnp.asarray(leaves[i]) for i, want in picked if want]

    def _dtype(self) -> Any:
        return _losses.wide(*(x.dtype for x in jax.tree.leaves(self.grads)))

    def _map(self, f: Callable, otherwise: Callable) -> Any:
        """Maps the floating-point leaves by `f`, constants' leaves by `otherwise`."""

        def one(rows):
            is_number = jnp.issubdtype(rows.dtype, jnp.inexact)
            return f(rows) if is_number else otherwise(rows)

        return jax.tree.map(one, self.grads)


Jacobian = TaskJacobian | StackedJacobian


def as_jacobian(
    updates: Any,
    params: Params | None = None,
    *,
    num_tasks: int | None = None,
    losses: ArrayLike | None = None,
) -> Jacobian:
    """What a rule calls first: anything with a task axis, as a Jacobian.

    Args:
      updates: a `TaskJacobian`, or stacked gradients with leaves `[T, *param]` (or
        what a row transform made of them).
      params: the parameters, where the rule was given them; they make the check of
        the task axis exact.
      num_tasks: the T that the rule was built for; None: any.
      losses: `[T]`, for stacked gradients; a `TaskJacobian` has its own.

    Returns:
      A `TaskJacobian` or a `StackedJacobian`: the same methods either way.

    Raises:
      ValueError: where there is no task axis (a gradient that is already summed), or
        T is not `num_tasks`.
    """
    if isinstance(updates, TaskJacobian):
        _check_num_tasks(updates.num_tasks, num_tasks, updates.names)
        return updates
    if isinstance(updates, StackedJacobian):
        known, updates = updates.losses, updates.grads
        losses = losses if known is None else known
    leading = _leading_axis(updates, params)
    _check_num_tasks(leading, num_tasks, None)
    if losses is not None:
        losses = jnp.asarray(losses)
        if losses.shape != (leading,):
            raise ValueError(
                f"`losses` should have shape ({leading},), one a task. "
                f"Found {losses.shape}."
            )
    return StackedJacobian(updates, losses, leading)


def _check_num_tasks(found: int, expected: int | None, names: Any) -> None:
    if expected is not None and found != expected:
        who = f" ({', '.join(names)})" if names else ""
        raise ValueError(
            f"`num_tasks` should be {found}, the number of losses{who}, main task "
            f"included. Found {expected}. Pass `num_tasks={found}` to the rule."
        )


def _leading_axis(updates: Any, params: Params | None) -> int:
    """T, if every leaf is `[T, *param]`."""
    paths, treedef = jax.tree_util.tree_flatten_with_path(updates)
    if not paths:
        raise ValueError("`updates` should hold at least one gradient. Found none.")
    shapes = [tuple(np.shape(leaf)) for _, leaf in paths]
    tails: list[tuple[int, ...] | None] = [None] * len(shapes)
    if params is not None:
        if jax.tree.structure(params) != treedef:
            raise ValueError(
                "`updates` should be a TaskJacobian, or have the structure of the "
                f"parameters, {jax.tree.structure(params)}. Found {treedef}."
            )
        tails = [tuple(np.shape(p)) for p in jax.tree.leaves(params)]
    lead = shapes[0][0] if shapes[0] else 0
    for (path, _), shape, tail in zip(paths, shapes, tails, strict=True):
        right = bool(shape) and shape[0] == lead and tail in (None, shape[1:])
        if not right:
            expected = "[T, *param]" if tail is None else f"(T, {str(tail)[1:-1]})"
            raise ValueError(
                f"`updates` should have a leading task axis, {expected}, at "
                f"`{jax.tree_util.keystr(path)}`. Found shape {shape}: this looks like "
                "a gradient that is already summed over the tasks. Pass "
                "`auxjax.task_jacobian(losses, params, ...)`, or stacked gradients "
                "from `auxjax.task_grads(losses)(params, ...)`."
            )
    return lead


def task_grads(
    losses: LossFn, has_aux: bool = False, *, chunk_size: int | None = None
) -> Callable[..., tuple[Any, StackedGradients]]:
    """Makes `f(params, *args) -> (losses, grads)` with one gradient a task, stacked.

    T backward passes and T times the parameters' memory: prefer
    `auxjax.task_jacobian`, which every rule accepts as well and most need no more
    of. A task's row never runs another task's decoder; tasks whose programs are alike
    are pulled back together by one `vmap`.

    Args:
      losses: as in `auxjax.task_jacobian`.
      has_aux: whether `losses` returns `(losses, aux)`.
      chunk_size: pull at most so many alike rows back at once; bounds the memory of
        the backward pass.

    Returns:
      A function like `jax.value_and_grad`'s: it returns the losses `[T]` (with
      `has_aux`, a pair of them and aux) and a pytree with leaves `[T, *param]`.

    Raises:
      ValueError: where `chunk_size` is less than 1, or a loss is no scalar.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> grads = auxjax.task_grads(lambda p: (jnp.sum(p**2), jnp.sum(p)))
      >>> grads(jnp.array([1.0, 2.0]))
      (Array([5., 3.], dtype=float32), Array([[2., 4.],
           [1., 1.]], dtype=float32))
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"`chunk_size` should be at least 1. Found {chunk_size}.")

    def f(params: Params, *args: Any):
        jac = task_jacobian(losses, params, *args, has_aux=has_aux)
        values = (jac.losses, jac.aux) if has_aux else jac.losses
        return values, jac.rows(chunk_size=chunk_size)

    return f
