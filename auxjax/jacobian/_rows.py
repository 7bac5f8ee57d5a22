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

from auxjax.jacobian import _linear
from auxjax.jacobian._fingerprint import fingerprint

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


def pull_rows(
    rows: Sequence[Row],
    wanted: Sequence[bool],
    scale_of: Callable[[int], Any],
    reduce: Reduce,
    chunk_size: int | None,
) -> list[Any]:
    """`reduce` of every row.

    Args:
      rows: one a task.
      wanted: one bool a leaf: the gradients that `reduce` shall see.
      scale_of: for a leaf, the weights `[T]` of its rows, or None.
      reduce: applied to a row's wanted gradients as soon as they are there, so that
        what it throws away is never stored for all tasks at once.
      chunk_size: how many alike rows are pulled back at once; None: all of them.

    Returns:
      What `reduce` returned, one a task.
    """
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        kept = tuple(wanted[leaf] for leaf in row.leaves)
        program = fingerprint(row.linear.program.jaxpr.jaxpr)
        groups.setdefault((program, kept), []).append(row)
    found: dict[int, Any] = {}
    for (_, kept), group in groups.items():
        factors = [_factors(group, k, scale_of) for k, keep in enumerate(kept) if keep]

        def finish(row, scales, kept=kept):
            grads = [g for g, keep in zip(pull_row(row), kept, strict=True) if keep]
            return reduce([_times(g, s) for g, s in zip(grads, scales, strict=True)])

        results = _pull_group(group, factors, finish, chunk_size)
        found.update((row.index, r) for row, r in zip(group, results, strict=True))
    return [found[row.index] for row in rows]


def _pull_group(rows, factors, finish, chunk_size) -> list[Any]:
    """The results of alike rows: one program, `vmap`ped over what differs."""
    first = rows[0]
    if len(rows) == 1:
        return [finish(first, [None if f is None else f[0] for f in factors])]
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

    own = [jnp.stack(c) for c, d in zip(columns, differs, strict=True) if d]
    if not own and all(f is None for f in factors):  # the same loss several times
        return [finish(first, factors)] * len(rows)
    if chunk_size is None or chunk_size >= len(rows):
        stacked = jax.vmap(pull)((own, factors))
    else:
        stacked = jax.lax.map(pull, (own, factors), batch_size=chunk_size)
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(len(rows))]


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


def _times(grad: jax.Array, scale: Any) -> jax.Array:
    """`grad` times a scalar of a wider dtype, in the gradient's dtype."""
    if scale is None:
        return grad
    return (grad.astype(scale.dtype) * scale).astype(grad.dtype)


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
