"""Row by row: every task's own gradient, each paying only for its own path.

Rows that are *alike* (the same program on other numbers: forty equal heads, say) are
pulled back together by one `vmap`; rows that differ are pulled back one after
another. Either way a task's row never runs another task's decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from auxjax.jacobian import _linear
from auxjax.jacobian._dense import times

FEW = 3
"""So many alike rows are written out rather than looped over."""

Reduce = Callable[[list[Any]], Any]
"""What to keep of one row: from its gradients, leaf by leaf, to a pytree."""


class Row(NamedTuple):
    """One task's part of the linear map: the tangents it depends on -> its loss."""

    linear: _linear.LinearMap
    leaves: tuple[int, ...]  # which leaves those tangents belong to
    index: int  # which task


def make_row(linear: _linear.LinearMap, index: int) -> Row:
    """Cuts task `index` out of a map to T scalars or to one `[T]` array."""
    outs = linear.program.jaxpr.out_avals
    if outs[0].ndim and len(outs) == 1 and outs[0].shape[0] > 1:
        linear, index_of_output = _pick_element(linear, index), 0
    else:
        index_of_output = index
    part, needed = _linear.component(linear, index_of_output)
    return Row(part, tuple(i for i, used in enumerate(needed) if used), index)


def pull_row(row: Row) -> list[Any]:
    """The gradients of one task at `row.leaves`: one backward pass."""
    if not row.leaves:
        return []
    out = row.linear.program.jaxpr.out_avals[0]
    return _linear.transpose(row.linear, [jnp.ones(out.shape, out.dtype)])


class Pulled(NamedTuple):
    """What was kept of some alike rows."""

    indices: tuple[int, ...]  # the rows' tasks
    leaves: tuple[tuple[int, ...], ...]  # which leaves `reduce` saw, row by row
    kept: Any  # what it returned, leaves `[rows, ...]`


def pull_rows(
    rows: Sequence[Row],
    wanted: Sequence[bool],
    scale_of: Callable[[int], Any],
    reduce: Reduce,
    chunk_size: int | None,
) -> list[Pulled]:
    """`reduce` of every row, alike rows together.

    Args:
      rows: one per task.
      wanted: one bool per leaf: the gradients that `reduce` shall see.
      scale_of: for a leaf, the weights `[T]` of its rows, or None.
      reduce: applied to a row's wanted gradients as soon as they are there, so that
        what it throws away is never stored for all tasks at once.
      chunk_size: how many alike rows are pulled back at once; None: all of them on an
        accelerator; on a CPU one, which is faster there (convolutions by four times).
    """
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        kept = tuple(wanted[leaf] for leaf in row.leaves)
        groups.setdefault((row.linear.program, kept), []).append(row)
    pulled = []
    for (_, kept), group in groups.items():
        factors = [_factors(group, k, scale_of) for k, keep in enumerate(kept) if keep]

        def finish(row, scales, kept=kept):
            grads = [g for g, keep in zip(pull_row(row), kept, strict=True) if keep]
            scaled = zip(grads, scales, strict=True)
            return reduce([g if s is None else times(g, s) for g, s in scaled])

        leaves = tuple(
            tuple(leaf for leaf, keep in zip(row.leaves, kept, strict=True) if keep)
            for row in group
        )
        indices = tuple(row.index for row in group)
        kept_of = _pull_group(group, factors, finish, chunk_size)
        pulled.append(Pulled(indices, leaves, kept_of))
    return pulled


def row_by_row(pulled: Sequence[Pulled]) -> list[Any]:
    """What was kept, one entry per task."""
    kept_of = {
        index: jax.tree.map(lambda x, i=i: x[i], group.kept)
        for group in pulled
        for i, index in enumerate(group.indices)
    }
    return [kept_of[index] for index in sorted(kept_of)]


def stack_leaf(
    pulled: Sequence[Pulled], leaf: int, num_tasks: int, like: jax.ShapeDtypeStruct
) -> jax.Array:
    """The rows of one leaf, `[T, *param]`; zeros for tasks that do not depend on it.

    Rows that were pulled back together are stacked already and are not taken apart.

    Args:
      pulled: gradients, from a `reduce` that keeps its list as it is.
      leaf: which.
      num_tasks: T.
      like: the leaf's shape and dtype.
    """
    order: list[int] = []
    pieces: list[jax.Array] = []
    for group in pulled:
        for position, column in enumerate(zip(*group.leaves, strict=True)):
            own = [i for i, owned in enumerate(column) if owned == leaf]
            if not own:
                continue
            order += [group.indices[i] for i in own]
            values = group.kept[position]
            is_whole = len(own) == len(column)
            pieces.append(values if is_whole else values[np.array(own)])
    absent = [index for index in range(num_tasks) if index not in order]
    if absent:
        pieces.append(jnp.zeros((len(absent), *like.shape), like.dtype))
    stacked = pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)
    order += absent
    return stacked if order == sorted(order) else stacked[np.argsort(order)]


def _pull_group(rows, factors, finish, chunk_size) -> Any:
    """The results of alike rows, stacked: one program on what differs between them."""
    first = rows[0]
    columns = list(zip(*(row.linear.residuals for row in rows), strict=True))
    differs = [any(x is not column[0] for x in column) for column in columns]

    # The residuals that all rows share stay unbatched: a common trunk is run once.
    def pull(mapped):
        own, scales = iter(mapped[0]), mapped[1]
        residuals = tuple(
            next(own) if d else column[0]
            for d, column in zip(differs, columns, strict=True)
        )
        return finish(first._replace(linear=first.linear.at(residuals)), scales)

    def alone(i):
        return finish(rows[i], [None if f is None else f[i] for f in factors])

    if chunk_size is None:
        chunk_size = 1 if jax.default_backend() == "cpu" else len(rows)
    own = [jnp.stack(c) for c, d in zip(columns, differs, strict=True) if d]
    if not own and all(f is None for f in factors):  # the same loss several times
        return jax.tree.map(lambda x: jnp.stack([x] * len(rows)), alone(0))
    if chunk_size == 1 and len(rows) <= FEW:
        each = [alone(i) for i in range(len(rows))]
        return jax.tree.map(lambda *x: jnp.stack(x), *each)
    if chunk_size == 1:
        return jax.lax.map(pull, (own, factors))
    if chunk_size < len(rows):
        return jax.lax.map(pull, (own, factors), batch_size=chunk_size)
    return jax.vmap(pull)((own, factors))


def _factors(rows: Sequence[Row], position: int, scale_of: Callable) -> Any:
    """The scales `[len(rows)]` of the leaves at one position of alike rows."""
    scales = [scale_of(row.leaves[position]) for row in rows]
    if all(scale is None for scale in scales):
        return None
    dtype = next(scale.dtype for scale in scales if scale is not None)
    return jnp.stack(
        [
            jnp.ones((), dtype) if scale is None else scale[row.index]
            for row, scale in zip(rows, scales, strict=True)
        ]
    )


def _pick_element(linear: _linear.LinearMap, index: int) -> _linear.LinearMap:
    """The map to one element of a `[T]` output; alike for every element."""
    program = linear.program
    if program.element is None:
        out = program.jaxpr.out_avals[0]
        residuals = [
            _linear.abstract(aval)
            for aval in program.jaxpr.in_avals[: program.num_residuals]
        ]
        one_hot = jax.ShapeDtypeStruct(out.shape, out.dtype)

        def element(one_hot, residuals, tangents):
            return jnp.sum(one_hot * program.call(*residuals, *tangents)[0])

        traced = jax.make_jaxpr(element)(one_hot, residuals, list(program.tangents))
        program.element = _linear.Program(traced, program.tangents)
    out = program.jaxpr.out_avals[0]
    one_hot = jnp.zeros(out.shape, out.dtype).at[index].set(1)
    return _linear.LinearMap((one_hot, *linear.residuals), program.element)
