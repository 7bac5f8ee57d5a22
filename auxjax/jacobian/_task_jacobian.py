"""The Jacobian of the task losses as a linear map that is never written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Array, ArrayLike, Float, Gradient, Key, Mask, Number, Params
from auxjax.jacobian import _absent, _contract, _linear, _passes, _rows, _scales
from auxjax.jacobian._checks import (
    check_index,
    check_sketch,
    check_task_mask,
    check_weights,
)
from auxjax.jacobian._difference import central_difference
from auxjax.jacobian._guard import NoGradient, guarded
from auxjax.jacobian._leaves import Layout
from auxjax.jacobian._sketch import root_mean_square
from auxjax.jacobian._source import Source


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TaskJacobian(NoGradient):
    """J, one row per task: the gradient of each loss at the same parameters.

    Made by `task_jacobian`. It is a pytree (of the forward pass's residuals), so it
    passes through `optax.chain`, `jit`, `scan` and `vmap`. Prices below are in passes
    over the model, where equal weighting costs one forward and one backward pass.

    Attributes:
      losses: `[T]`, the losses' values, in float32 or better; the main task first.
      aux: what the loss function returned beside its losses, else None.
    """

    _guard: Any  # the first leaf: arithmetic on this pytree is an error
    losses: Any  # [T]
    aux: Any
    _linear: _linear.LinearMap
    _present: Any  # [T] bool, the mask it went through; None: all tasks are present
    _scales: tuple[_scales.Scale, ...]
    _source: Source
    _layout: Layout = dataclasses.field(metadata={"static": True})
    _names: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    def __post_init__(self):
        object.__setattr__(self, "_guard", guarded(self._guard))

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names, the main task's first."""
        return self._names

    @property
    def num_tasks(self) -> int:
        """T, how many."""
        return len(self._names)

    @property
    def params(self) -> Params:
        """The parameters that this Jacobian was taken at."""
        return self._source.params

    @property
    def structure(self) -> Any:
        """The parameters' tree structure."""
        return self._layout.treedef

    def __contains__(self, key: Any) -> bool:
        del key  # flax asks it of gradients
        return False

    def __repr__(self) -> str:
        shape = jax.tree.map(lambda x: tuple(x.shape), self._layout.abstract())
        return f"TaskJacobian(names={self._names}, params={shape})"

    def vjp(self, weights: ArrayLike) -> Gradient:
        """Σᵢ wᵢ ∇Lᵢ, from weights `[T]`: one backward pass, whatever T."""
        weights = check_weights(weights, self.num_tasks, self.losses.dtype)
        gradient: dict[int, Any] = {}
        everywhere = self._layout.mask(None)
        for scale, leaves in _scales.groups(self._scales, everywhere):
            total = weights if scale is None else weights * scale
            gradient |= _passes.pull(self._linear, total, leaves)
        return self._layout.fill(gradient)

    def row(self, index: int) -> Gradient:
        """∇Lᵢ of one task: one backward pass that runs no other task's decoder."""
        check_index(index, self.num_tasks)
        row = _rows.make_row(self._linear, index)
        everywhere = self._layout.mask(None)
        pulled = _contract.pull([row], self._scales, everywhere, _contract.keep)
        (grads,) = _rows.row_by_row(pulled)
        return self._layout.fill(dict(zip(row.leaves, grads, strict=True)))

    def jvp(self, direction: Gradient, where: Mask | None = None) -> Float[Array, " T"]:
        """⟨∇Lᵢ, v⟩ for every task: one tangent pass, whatever T.

        It is the slope of each loss along v. (For complex parameters, where JAX's
        gradient is the conjugate of the direction of ascent, that is Re Σ ∇Lᵢ v.)

        A loss that contains `jax.custom_vjp` has no forward mode. There the tangent
        pass is the transpose of the backward pass; and where the backward pass is not
        linear JAX either (a callback, say), the rows are contracted one by one.

        Args:
          direction: v, a pytree like the parameters.
          where: the leaves that count, as if v were zero elsewhere; None: all.

        Returns:
          `[T]`. The tangent pass runs in the parameters' precision; half: along v/‖v‖.
        """
        tangents = self._layout.pick(direction, cast=False)
        return self._contract(tangents, self._layout.mask(where))

    def jvp_by_difference(
        self, direction: Gradient, *, epsilon: Number = 0.01
    ) -> Float[Array, " T"]:
        """⟨∇Lᵢ, v⟩ by a central difference of the losses: two forward passes.

            [Lᵢ(θ + sv) − Lᵢ(θ − sv)] / 2s,   s = `epsilon` / ‖v‖

        There to be compared with `jvp`, which is exact and cheaper. The losses see
        the same arguments in both passes, keys for dropout included.

        Args:
          direction: v, a pytree like the parameters.
          epsilon: how far the parameters are moved; the error falls as its square
            until rounding takes over.

        Returns:
          `[T]`; zeros where v is zero.

        Raises:
          ValueError: where `epsilon` is not above 0.
        """
        here = self._layout.pick(self.params)

        def losses_at(leaves):
            return self.at(self._layout.put(leaves, self.params)).losses

        def push(part):
            full = _linear.filled(self._linear, part)
            return central_difference(losses_at, here, full, epsilon)

        direction = self._layout.pick(direction, cast=False)
        return self._contract(direction, self._layout.mask(None), push)

    def gramian_row(self, index: int, where: Mask | None = None) -> Float[Array, " T"]:
        """⟨∇Lᵢ, ∇L_index⟩ for every task: one backward and one tangent pass.

        Args:
          index: the task whose gradient the others are compared with.
          where: the leaves that count; None: all.

        Returns:
          `[T]`, row `index` of the Gramian.
        """
        tangents = [jnp.conj(g) for g in self._layout.pick(self.row(index))]
        both = zip(self._layout.mask(where), self._depends(index), strict=True)
        mask = [a and b for a, b in both]
        return self._contract(tangents, mask)

    def rows(self, *, where: Mask | None = None, chunk_size: int | None = None) -> Any:
        """All gradients, stacked: T backward passes and T times the memory.

        Args:
          where: the leaves that are wanted; None: all.
          chunk_size: pull so many alike rows back at once; None: all on an
            accelerator, one on a CPU, where that is faster.

        Returns:
          A pytree like the parameters, leaves `[T, *param]`; None outside `where`.
        """
        if where is None:
            return self._layout.fill(self._stacked(None, chunk_size), (self.num_tasks,))
        return self._layout.unflatten(self.leaf_rows(where, chunk_size=chunk_size))

    def leaf_rows(
        self, where: Mask | None, *, chunk_size: int | None = None
    ) -> list[jax.Array | None]:
        """As `rows`, one entry per leaf of the parameters; None outside `where`."""
        stacked = self._stacked(where, chunk_size)
        by_leaf = {i: stacked.get(k) for k, i in enumerate(self._layout.differentiable)}
        return [by_leaf.get(leaf) for leaf in range(len(self._layout.shapes))]

    def gramian(
        self, where: Mask | None = None, *, chunk_size: int | None = None
    ) -> Float[Array, "T T"]:
        """J Jᵀ: T backward passes.

        Args:
          where: the leaves that count (the shared ones, say); None: all.
          chunk_size: as in `rows`.

        Returns:
          `[T, T]`, accumulated in float32 or better.
        """
        own = self._leaf_gramians(where, chunk_size).values()
        total = jnp.zeros((self.num_tasks,) * 2, self.losses.dtype)
        return sum((g.astype(total.dtype) for g in own), start=total)

    def norms(
        self,
        where: Mask | None = None,
        *,
        chunk_size: int | None = None,
        sketch: int | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, " T"]:
        """‖∇Lᵢ‖₂ for every task: T backward passes, or a few tangent passes.

        With `sketch`, ‖∇Lᵢ‖² ≈ 1/m Σ_{k≤m} ⟨∇Lᵢ, v_k⟩² for random v_k ~ N(0, I): the
        *square* is unbiased, with a relative standard deviation of √(2/m), 141 % for
        m = 1 and 35 % for m = 16. It is for rules that average it over time.

        Args:
          where: the leaves that count; None: all.
          chunk_size: as in `rows`.
          sketch: m, the number of tangent passes; None: exact, T backward passes.
          key: of the random directions; needed with `sketch`.

        Returns:
          `[T]`, accumulated in float32 or better.

        Raises:
          ValueError: for a `sketch` below 1, or one without `key`.
        """
        if sketch is not None:
            check_sketch(sketch, key)
            wanted = self._layout.mask(where)
            shapes = self._linear.program.tangents
            return root_mean_square(
                lambda v: self._contract(v, wanted), shapes, sketch, key
            )
        wanted = self._layout.mask(where)
        return _contract.norms(
            self._linear, self._scales, wanted, self.losses, chunk_size
        )

    def scale(self, weights: ArrayLike, where: Mask | None = None) -> TaskJacobian:
        """diag(w) J, lazily: costs nothing. The losses stay as they are.

        Args:
          weights: `[T]`.
          where: the leaves whose rows are scaled; elsewhere they stay. None: all.
        """
        weights = check_weights(weights, self.num_tasks, self.losses.dtype)
        mask = _scales.StaticMask(self._layout.mask(where))
        return dataclasses.replace(
            self, _scales=(*self._scales, _scales.Scale(weights, mask))
        )

    def mask(self, present: ArrayLike) -> TaskJacobian:
        """The rows and losses of absent tasks become 0, wherever it is taken again.

        Even an absent loss of 0/0, a mean over no labels, leaves the others' gradients
        alone. (What is not finite in arrays that tasks share, as where `vmap` made the
        losses, is taken to be an absent one's while the present ones' are finite.)

        Args:
          present: `[T]` (bool).
        """
        present = jnp.asarray(check_task_mask(present, self.num_tasks))
        if self._present is present:
            return self
        here = present
        if self._present is not None:
            here = jnp.logical_and(self._present, present)
        masked = dataclasses.replace(
            self,
            losses=jnp.where(present, self.losses, jnp.zeros_like(self.losses)),
            _linear=_absent.silence(self._linear, present, self.losses),
            _present=here,
        )
        return masked.scale(present)

    def at(self, params: Params) -> TaskJacobian:
        """The same losses' Jacobian on the same data, elsewhere: one forward pass.

        Args:
          params: like those that this one was taken at. Mask and row scales stay.
        """
        moved = self._source.build_at(params)
        if self._present is not None:
            moved = moved.mask(self._present)
        return dataclasses.replace(moved, _scales=self._scales)

    def materialize(self) -> TaskJacobian:
        """The same with its rows written down: T backward passes now, T× the memory.

        What is asked afterwards is a product with rows. Pays for two tasks, say.
        """
        # Without their scales, which stay remembered.
        leaves, grads = _contract.written(self._linear, self.num_tasks)
        linear = _linear.from_rows(self._linear.program, leaves, grads, self.losses)
        return dataclasses.replace(self, _linear=linear)

    def shared_mask(self) -> Any:
        """Which leaves at least two losses depend on; see `auxjax.shared_mask`."""
        each = _contract.depends(self._linear, self.num_tasks)
        shared = [sum(column) >= 2 for column in zip(*each, strict=True)]
        return self._layout.full_mask(shared)

    def depends(self, index: int) -> Any:
        """The leaves that one loss depends on: a pytree of bools, fit for `where=`."""
        check_index(index, self.num_tasks)
        return self._layout.full_mask(self._depends(index))

    def as_updates(self) -> Any:
        """What a transformation hands on: itself."""
        return self

    def _depends(self, index: int) -> list[bool]:
        """One bool a differentiable leaf."""
        row = _rows.make_row(self._linear, index)
        return [leaf in row.leaves for leaf in range(len(self._layout.differentiable))]

    def _leaf_gramians(self, where: Mask | None, chunk_size) -> dict[int, jax.Array]:
        """`{leaf: [T, T]}` for the leaves in `where`."""
        wanted, num_tasks = self._layout.mask(where), self.num_tasks
        return _contract.gramians(
            self._linear, self._scales, wanted, num_tasks, chunk_size
        )

    def _stacked(self, where: Mask | None, chunk_size) -> dict[int, jax.Array]:
        """`{leaf: [T, *param]}` for the leaves in `where`."""
        wanted, num_tasks = self._layout.mask(where), self.num_tasks
        return _contract.stacked(
            self._linear, self._scales, wanted, num_tasks, chunk_size
        )

    def _contract(self, direction, wanted: Sequence[bool], push=None) -> jax.Array:
        """⟨∇Lᵢ, v⟩ `[T]` on the wanted leaves; 0 for absent tasks."""
        total = _contract.contract(
            self._linear, self._scales, direction, wanted, self.losses, push
        )
        here = self._present
        return total if here is None else jnp.where(here, total, jnp.zeros_like(total))
