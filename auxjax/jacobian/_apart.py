"""Losses that are one array: each one's own gradient from one backward pass of all.

`vmap` over the examples of a batch, or over heads, makes losses `[T]` that no program
takes apart. But a backward pass from all of them carries what each loss sends back side
by side, along an axis, until something sums over that axis: a product with the layer's
inputs, say, whose sum over the examples is the gradient of a kernel. Run with that sum
left out, the same pass has every loss's own gradient, a row; and where that is a single
outer product, as in a dense layer, an inner product of two rows is one of two products,
with no row written down.

The values of the pass are of three kinds: *plain* arrays, which know nothing of the
cotangent; `Along`, all losses' parts along an axis; `Apart`, each loss's own array, for
a window of losses at a time. What has no rule is done apart, with zeros where the
others' parts are: a backward pass of its own for each loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core as jex_core

from auxjax.jacobian import _linear
from auxjax.jacobian._apart_rules import RULES
from auxjax.jacobian._apart_values import Along, Apart, bind, each, flat, spread
from auxjax.jacobian._dense import as_real, gram
from auxjax.jacobian._losses import wide


def gradients(linear: _linear.LinearMap) -> list[Any]:
    """Each leaf's gradients of all losses: `Along`, `Apart`, or plain zeros."""
    program = linear.program
    (out,) = program.jaxpr.out_avals
    shapes = [_linear.abstract(x) for x in program.jaxpr.in_avals]

    def back(residuals, cotangent):
        return _linear.transpose(linear.at(tuple(residuals)), [cotangent])

    residuals = shapes[: program.num_residuals]
    traced = jax.make_jaxpr(back)(residuals, _linear.abstract(out))
    ones = Along(jnp.ones(out.shape, out.dtype), 0, 1)
    return _run(traced.jaxpr, traced.consts, [*linear.residuals, ones], *out.shape)


def dear_leaves(program: _linear.Program) -> tuple[bool, ...]:
    """For each leaf whether its rows take a pass of their own each, and not one sum."""
    if program.dear is None:
        found: list[bool] = []

        def look(residuals):
            values = gradients(_linear.LinearMap(tuple(residuals), program))
            found.extend(isinstance(value, Apart) and value.dear for value in values)
            return ()

        shapes = [_linear.abstract(x) for x in program.jaxpr.in_avals]
        jax.eval_shape(look, shapes[: program.num_residuals])
        program.dear = tuple(found)
    return program.dear


def rows(values: Sequence[Any], num_tasks: int, chunk_size: int | None) -> list[Any]:
    """The rows `[T, *param]` of each leaf; None where they are plain zeros."""
    dear = [v for v in values if isinstance(v, Apart) and v.dear]
    made = iter(_in_windows(dear, num_tasks, chunk_size, lambda x: x))
    known: dict[int, Any] = {}
    found: list[Any] = []
    for value in values:
        own = spread(value, num_tasks)
        if not isinstance(own, Apart):
            found.append(None)
        elif isinstance(value, Apart) and value.dear:
            found.append(next(made))
        else:
            found.append(own.at((0, num_tasks), known))
    return found


def gramians(
    values: Sequence[Any], num_tasks: int, chunk_size: int | None
) -> list[Any]:
    """The Gramian `[T, T]` of each leaf's rows; None where they are plain zeros.

    Rows are written down where a pass of its own is behind each of them, all of one
    leaf at a time where there is but a sum (`chunk_size` of them if that is given), and
    not at all where they are outer products or lie apart in the leaf.
    """
    dear = [v for v in values if isinstance(v, Apart) and v.dear]
    made = iter(_in_windows(dear, num_tasks, chunk_size, lambda x: x))
    found: list[Any] = []
    for value in values:
        if isinstance(value, Along):
            found.append(jnp.diag(_square(_own_rows(value))))
        elif not isinstance(value, Apart):
            found.append(None)
        elif value.dear:
            stacked = next(made)
            found.append(gram([stacked], num_tasks, wide(stacked.dtype)))
        elif value.outer is not None:
            left, right = (gram([x], num_tasks, x.dtype) for x in value.outer)
            found.append(left * right)
        else:
            found.append(_by_pairs(value, num_tasks, chunk_size))
    return found


def squares(values: Sequence[Any], num_tasks: int, chunk_size: int | None) -> list[Any]:
    """‖row‖² `[T]` for each leaf; None where the rows are plain zeros."""
    others = [v for v in values if isinstance(v, Apart) and v.outer is None]
    made = iter(_in_windows(others, num_tasks, chunk_size, _square))
    found: list[Any] = []
    for value in values:
        if isinstance(value, Along):
            found.append(_square(_own_rows(value)))
        elif not isinstance(value, Apart):
            found.append(None)
        elif value.outer is not None:
            left, right = map(_square, value.outer)
            found.append(left * right)
        else:
            found.append(next(made))
    return found


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], num_tasks: int) -> Any:
    """The outputs' values from the inputs'."""
    names = (*jaxpr.constvars, *jaxpr.invars)
    values = dict(zip(names, (*consts, *args), strict=True))

    def read(atom):
        return atom.val if isinstance(atom, jex_core.Literal) else values[atom]

    def step(eqn, inputs):
        if not any(isinstance(value, Along | Apart) for value in inputs):
            return bind(eqn, inputs)
        if eqn.primitive.name in ("checkpoint", "jit", "remat2"):
            inner = eqn.params["jaxpr"]
            jaxpr, consts = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
            return _run(jaxpr, consts, inputs, num_tasks)
        rule = RULES.get(eqn.primitive.name)
        if rule is not None and not any(isinstance(v, Apart) for v in inputs):
            value = rule(eqn, inputs, num_tasks)
            if value is not None:
                return value if isinstance(value, list) else [value]
        return each(eqn, [spread(value, num_tasks) for value in inputs])

    for eqn in jaxpr.eqns:
        outs = step(eqn, [read(v) for v in eqn.invars])
        values.update(zip(eqn.outvars, outs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _in_windows(
    values: Sequence[Apart],
    num_tasks: int,
    chunk_size: int | None,
    reduce: Callable[[jax.Array], jax.Array],
) -> list[jax.Array]:
    """`reduce` of each value's rows, `[T, ...]`, a window of them at a time.

    One at a time if the backend is a CPU and there is a pass behind each of them, as
    for the rows of losses that came apart; else all.
    """
    if not values:
        return []
    if chunk_size is None:
        is_dear = any(value.dear for value in values)
        one_by_one = is_dear and jax.default_backend() == "cpu"
        chunk_size = 1 if one_by_one else num_tasks

    def window(start):
        known: dict[int, Any] = {}
        size = min(chunk_size, num_tasks)
        return [reduce(value.at((start, size), known)) for value in values]

    if chunk_size >= num_tasks:
        return window(0)
    starts = _starts(num_tasks, chunk_size)
    places = (starts[:, None] + jnp.arange(chunk_size)[None]).reshape(-1)

    def together(pieces):
        whole = pieces.reshape(-1, *pieces.shape[2:])
        if num_tasks % chunk_size == 0:
            return whole
        empty = jnp.zeros((num_tasks, *whole.shape[1:]), whole.dtype)
        return empty.at[places].set(whole)

    return [together(pieces) for pieces in jax.lax.map(window, starts)]


def _by_pairs(value: Apart, num_tasks: int, chunk_size: int | None) -> jax.Array:
    """The Gramian of one leaf's rows, of which two windows are there at a time."""
    size = min(chunk_size or num_tasks, num_tasks)
    dtype = wide(value.aval.dtype)

    def at(start):
        return flat(as_real(value.at((start, size), {})))

    def product(a, b):
        return jnp.matmul(a, b.T, precision="highest").astype(dtype)

    if size == num_tasks:
        whole = at(0)
        return product(whole, whole)
    starts = _starts(num_tasks, size)

    def row(i, total):
        own = at(starts[i])

        def block(j, total):
            piece = product(own, at(starts[j]))
            return jax.lax.dynamic_update_slice(total, piece, (starts[i], starts[j]))

        return jax.lax.fori_loop(0, len(starts), block, total)

    return jax.lax.fori_loop(0, len(starts), row, jnp.zeros((num_tasks,) * 2, dtype))


def _starts(num_tasks: int, size: int) -> jax.Array:
    """Where windows begin that cover all losses; the last may overlap."""
    starts = [min(start, num_tasks - size) for start in range(0, num_tasks, size)]
    return jnp.array(starts)


def _own_rows(value: Along) -> jax.Array:
    """`[T, inner · others]`: what each loss has of a leaf that they share out."""
    moved = flat(as_real(value.x), value.axis)
    return moved.reshape(moved.shape[0] // value.inner, -1)


def _square(rows: jax.Array) -> jax.Array:
    """‖·‖² `[T]`."""
    whole = flat(as_real(rows))
    return jnp.sum(whole * whole, axis=1)
