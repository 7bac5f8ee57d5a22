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
    Mask,
    StackedGradients,
)
from auxjax.jacobian import _losses, _scales
from auxjax.jacobian._checks import (
    check_index,
    check_sketch,
    check_task_mask,
    check_weights,
)
from auxjax.jacobian._dense import as_dtype, as_real, dot_rows, gram, times
from auxjax.jacobian._guard import Guard, NoGradient, guarded
from auxjax.jacobian._leaves import Layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class StackedJacobian(NoGradient):
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
    losses: Any  # [T], or None
    num_tasks: int = dataclasses.field(metadata={"static": True})
    _guard: Any = dataclasses.field(default_factory=Guard, repr=False)
    _scales: tuple[_scales.Scale, ...] = dataclasses.field(default=(), repr=False)

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
        """As `rows`, one entry per leaf of the parameters; None outside `where`."""
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
        mask = self._layout().mask(where)
        wanted = iter(mask)

        def scaled(rows):
            if not next(wanted):
                return rows
            column = weights.reshape((-1,) + (1,) * (rows.ndim - 1))
            return times(jnp.asarray(rows), column)

        grads = self._map(scaled, lambda rows: rows)
        return dataclasses.replace(
            self, grads=grads, _scales=self._noted(weights, mask)
        )

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
        scales = self._noted(here.astype(self._dtype()), self._layout().mask(None))
        return dataclasses.replace(self, grads=grads, losses=losses, _scales=scales)

    def materialize(self) -> StackedJacobian:
        """Itself: its rows are written down already."""
        return self

    def shared_mask(self) -> Any:
        """All floating-point leaves: stacked gradients do not tell who depends on what.

        Pass `where=` to the rule for a narrower choice.
        """
        layout = self._layout()
        return layout.unflatten(list(layout.is_differentiable))

    def as_updates(self) -> Any:
        """What a transformation hands on: itself."""
        return self

    def _layout(self) -> Layout:
        return Layout(
            jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self.grads
            )
        )

    def _noted(self, weights: jax.Array, mask: Any) -> tuple[_scales.Scale, ...]:
        """The scalings so far and this one, for those who ask what was applied."""
        return (*self._scales, _scales.Scale(weights, _scales.StaticMask(mask)))

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
