"""The Jacobian of the task losses as a linear map that is never written down."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Array, ArrayLike, Float, Gradient, Key, Mask, Params
from auxjax.jacobian import _absent, _linear, _passes, _rows, _scales
from auxjax.jacobian._checks import (
    check_index,
    check_sketch,
    check_task_mask,
    check_weights,
)
from auxjax.jacobian._dense import dot_rows, gram, inner
from auxjax.jacobian._difference import central_difference
from auxjax.jacobian._guard import NoGradient, guarded
from auxjax.jacobian._leaves import Layout
from auxjax.jacobian._sketch import root_mean_square
from auxjax.jacobian._source import Source


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TaskJacobian(metaclass=NoGradient):
    """J, one row a task: the gradient of each loss at the same parameters.

    Made by `task_jacobian`. It is a pytree (of the forward pass's residuals), so it
    passes through `optax.chain`, `jit`, `scan` and `vmap`. Prices below are in passes
    over the model, where equal weighting costs one forward and one backward pass.

    Attributes:
      losses: `[T]`, the losses' values, in float32 or better; the main task first.
      aux: what the loss function returned beside its losses, else None.
    """

    _guard: Any  # the first leaf: arithmetic on this pytree is an error
    losses: jax.Array
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
        """T, the number of tasks."""
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
        """False: flax asks whether gradients hold a key, and this is no mapping."""
        del key
        return False

    def __repr__(self) -> str:
        shape = jax.tree.map(lambda x: tuple(x.shape), self._layout.abstract())
        return f"TaskJacobian(names={self._names}, params={shape})"

    def vjp(self, weights: ArrayLike) -> Gradient:
        """Σᵢ wᵢ ∇Lᵢ: one backward pass, whatever T.

        Args:
          weights: `[T]`.

        Returns:
          A pytree like the parameters.
        """
        weights = check_weights(weights, self.num_tasks, self.losses.dtype)
        found: dict[int, Any] = {}
        everywhere = self._layout.mask(None)
        for scale, leaves in _scales.groups(self._scales, everywhere):
            total = weights if scale is None else weights * scale
            pulled = _passes.pull(self._linear, total)
            found.update((leaf, pulled[leaf]) for leaf in leaves)
        return self._layout.fill(found)

    def row(self, index: int) -> Gradient:
        """∇Lᵢ of one task: one backward pass that runs no other task's decoder."""
        check_index(index, self.num_tasks)
        row = _rows.make_row(self._linear, index)
        (grads,) = _rows.row_by_row(self._pull([row], None, lambda grads: grads, None))
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
          `[T]`. The tangent pass runs in the parameters' precision, in half precision
          along v/‖v‖.
        """
        tangents = self._layout.pick(direction, cast=False)
        return self._contract(tangents, self._layout.mask(where), self._push)

    def jvp_by_difference(
        self, direction: Gradient, *, epsilon: float = 0.01
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

        def push(part):
            full = _linear.filled(self._linear, part)
            return central_difference(self._losses_at, here, full, epsilon)

        return self._contract(
            self._layout.pick(direction, cast=False), self._layout.mask(None), push
        )

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
        return self._contract(tangents, mask, self._push)

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
        """As `rows`, one entry a leaf of the parameters; None outside `where`."""
        found = self._stacked(where, chunk_size)
        place = {leaf: k for k, leaf in enumerate(self._layout.differentiable)}
        everywhere = range(len(self._layout.shapes))
        return [found.get(place.get(i, -1)) for i in everywhere]

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
        leaves = self._stacked(where, chunk_size)
        return gram(list(leaves.values()), self.num_tasks, self.losses.dtype)

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
                lambda v: self._contract(v, wanted, self._push), shapes, sketch, key
            )
        dtype = self.losses.dtype

        def square(grads):
            total = jnp.zeros((), dtype)
            for grad in grads:
                total += inner(grad, grad, dtype)
            return total

        pulled = self._pull(self._all_rows(), where, square, chunk_size)
        return jnp.sqrt(jnp.stack(_rows.row_by_row(pulled)))

    def scale(self, weights: ArrayLike, where: Mask | None = None) -> TaskJacobian:
        """diag(w) J, lazily: row i times `weights[i]`; costs nothing.

        Args:
          weights: `[T]`.
          where: the leaves whose rows are scaled; elsewhere they stay. None: all.

        Returns:
          The scaled Jacobian. `losses` stay as they are.
        """
        weights = check_weights(weights, self.num_tasks, self.losses.dtype)
        mask = _scales.StaticMask(self._layout.mask(where))
        return dataclasses.replace(
            self, _scales=(*self._scales, _scales.Scale(weights, mask))
        )

    def mask(self, present: ArrayLike) -> TaskJacobian:
        """The Jacobian without the tasks that are absent: their rows and losses are 0.

        Exactly so even where an absent task's loss is 0/0, as the mean over no labels:
        nothing of it reaches the gradients of the others. (Where the losses are one
        `[T]` array made by `vmap`, what is not finite in its derivative is taken to be
        the absent tasks' as long as the losses of those present are finite.)

        Args:
          present: `[T]` (bool).

        Returns:
          Another `TaskJacobian`, masked wherever it is taken again by `at`.

        Raises:
          ValueError: where `present` is not one bool a task.
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
        """The Jacobian of the same losses, on the same data, elsewhere.

        The mask and the row scales stay as they are. Costs one forward pass.

        Args:
          params: like the parameters that this one was taken at.

        Returns:
          Another `TaskJacobian`.
        """
        moved = self._source.build_at(params)
        if self._present is not None:
            moved = moved.mask(self._present)
        return dataclasses.replace(moved, _scales=self._scales)

    def materialize(self) -> TaskJacobian:
        """The same Jacobian with its rows written down: T backward passes, now.

        What is asked of it afterwards is a product with the rows. Pays where that is
        less than the passes to come, as for two tasks; costs T× the memory.
        """
        rows = self._all_rows()
        plain = dataclasses.replace(self, _scales=())  # they stay remembered
        grads = _rows.row_by_row(plain._pull(rows, None, lambda grads: grads, None))
        leaves = [row.leaves for row in rows]
        linear = _linear.from_rows(self._linear.program, leaves, grads, self.losses)
        return dataclasses.replace(self, _linear=linear)

    def shared_mask(self) -> Any:
        """Which leaves at least two losses depend on; see `auxjax.shared_mask`."""
        each = [self._depends(index) for index in range(self.num_tasks)]
        shared = [sum(column) >= 2 for column in zip(*each, strict=True)]
        return self._layout.full_mask(shared)

    def depends(self, index: int) -> Any:
        """The leaves that one loss depends on: a pytree of bools, fit for `where=`."""
        check_index(index, self.num_tasks)
        return self._layout.full_mask(self._depends(index))

    def as_updates(self) -> Any:
        """What a transformation hands on: the Jacobian itself."""
        return self

    def _depends(self, index: int) -> list[bool]:
        """One bool a differentiable leaf."""
        row = _rows.make_row(self._linear, index)
        return [leaf in row.leaves for leaf in range(len(self._layout.differentiable))]

    def _all_rows(self) -> list[_rows.Row]:
        return [_rows.make_row(self._linear, i) for i in range(self.num_tasks)]

    def _pull(self, rows, where: Mask | None, reduce: _rows.Reduce, chunk_size):
        """`reduce` of the given rows, scaled, on the leaves in `where`."""
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"`chunk_size` should be at least 1. Found {chunk_size}.")
        scale_of = functools.partial(_scales.leaf_weights, self._scales)
        wanted = self._layout.mask(where)
        return _rows.pull_rows(rows, wanted, scale_of, reduce, chunk_size)

    def _stacked(self, where: Mask | None, chunk_size) -> dict[int, jax.Array]:
        """`{leaf: [T, *param]}` for the leaves in `where`; absent rows are zero."""
        pulled = self._pull(self._all_rows(), where, lambda grads: grads, chunk_size)
        wanted = self._layout.mask(where)
        return {
            leaf: _rows.stack_leaf(pulled, leaf, self.num_tasks, like)
            for leaf, like in enumerate(self._linear.program.tangents)
            if wanted[leaf]
        }

    def _contract(self, tangents, wanted: Sequence[bool], push) -> jax.Array:
        """`push` of a direction, row scales applied, group of leaves by group."""
        total = jnp.zeros_like(self.losses)
        like = self._linear.program.tangents
        tangents, factor = _passes.unit(tangents, like, total.dtype)
        for scale, leaves in _scales.groups(self._scales, tuple(wanted)):
            part = [t if leaf in leaves else None for leaf, t in enumerate(tangents)]
            pushed = push(part).astype(total.dtype)
            total += pushed if scale is None else scale * pushed
        total = total if factor is None else total * factor
        if self._present is None:
            return total
        return jnp.where(self._present, total, jnp.zeros_like(total))

    def _losses_at(self, variables: list[jax.Array]) -> jax.Array:
        """The losses with other differentiable leaves: one forward pass."""
        return self.at(self._layout.put(variables, self.params)).losses

    def _push(self, tangents: list[Any]) -> jax.Array:
        """One tangent pass, `[T]`, by whichever way the losses allow."""
        dtype = self.losses.dtype
        try:
            return _passes.push(self._linear, tangents, self.num_tasks, dtype)
        except _passes.NoTangentPass:
            leaves = dataclasses.replace(self, _scales=())._stacked(None, None)
            full = _linear.filled(self._linear, tangents)
            return sum(
                (dot_rows(jnp.conj(x), full[k], dtype) for k, x in leaves.items()),
                start=jnp.zeros_like(self.losses),
            )
