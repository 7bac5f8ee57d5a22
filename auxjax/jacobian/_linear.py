"""A linear map as data: a jaxpr that is linear in its last inputs.

`jax.linearize` runs the forward pass once and leaves a jaxpr that maps a tangent
of the parameters to the tangents of the losses. Held as *(residual arrays, static
jaxpr)* that map is a pytree, so it passes through `jit`, `scan` and `vmap`; and
because its outputs stay apart, one task's row can be cut out of it without the
other tasks' decoders.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core as jex_core
from jax.interpreters import partial_eval as pe

from auxjax.jacobian._dense import inner
from auxjax.jacobian._fingerprint import fingerprint
from auxjax.jacobian._split import split_outputs

Arrays = Sequence[Any]


@jax.tree_util.register_static
class Program:
    """The static half of a `LinearMap`. Two are equal if they do the same.

    So what was compiled for a step's Jacobian serves the next step's, too.
    """

    def __init__(self, jaxpr: Any, tangents: Sequence[jax.ShapeDtypeStruct]):
        """Wraps a closed jaxpr without consts and its tangents' shapes."""
        self.jaxpr = jaxpr
        self.tangents = tuple(tangents)
        self.call: Callable = jex_core.jaxpr_as_fun(jaxpr)
        self.element: Program | None = None  # see `_rows`; made when first needed
        self.dear: tuple[bool, ...] | None = None  # see `_apart`; likewise
        self.written: tuple[tuple[int, ...], ...] | None = None  # see `from_rows`

    @functools.cached_property
    def is_half(self) -> bool:
        """Whether any number in it is held in 16 bits."""
        return _is_half(self.jaxpr.jaxpr)

    @functools.cached_property
    def key(self) -> tuple:
        """Equal for two programs only if one serves for both."""
        return fingerprint(self.jaxpr.jaxpr), self.tangents

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self.key)

    def __eq__(self, other):
        if self is other:
            return True
        if not isinstance(other, Program) or self._hash != other._hash:
            return False
        return self.key == other.key

    def __hash__(self):
        return self._hash

    @property
    def num_residuals(self) -> int:
        """How many of the jaxpr's inputs are residuals."""
        return len(self.jaxpr.jaxpr.invars) - len(self.tangents)


def _is_half(jaxpr: Any) -> bool:
    variables = [*jaxpr.invars, *(var for eqn in jaxpr.eqns for var in eqn.outvars)]
    dtypes = {getattr(var.aval, "dtype", None) for var in variables}
    return any(dtype in (jnp.float16, jnp.bfloat16) for dtype in dtypes) or any(
        map(_is_half, jex_core.subjaxprs(jaxpr))
    )


class LinearMap(NamedTuple):
    """`tangents -> outputs`, linear, with its residuals as the pytree's leaves.

    Attributes:
      residuals: what the forward pass left behind, in the order of the jaxpr's
        first inputs.
      program: the jaxpr `(*residuals, *tangents) -> outputs` and the tangents'
        shapes; static.
    """

    residuals: tuple[Any, ...]
    program: Program

    def at(self, residuals: tuple[Any, ...]) -> LinearMap:
        """The same program on other residuals."""
        return LinearMap(residuals, self.program)


def close(jaxpr: Any) -> tuple[Any, list[Any]]:
    """Turns a closed jaxpr's consts into leading inputs; returns both."""
    inner = jaxpr.jaxpr
    opened = _rewire(inner, invars=[*inner.constvars, *inner.invars], constvars=[])
    return jex_core.ClosedJaxpr(opened, ()), list(jaxpr.consts)


def linearize(f: Callable, leaves: Arrays) -> tuple[Any, LinearMap, Any]:
    """Runs `f(*leaves) -> (outputs, aux)` once; returns outputs, map and aux."""
    outputs, lin, aux = jax.linearize(f, *leaves, has_aux=True)
    residuals, treedef = jax.tree.flatten(lin)
    shapes = [abstract(jax.typeof(x)) for x in leaves]
    traced = jax.make_jaxpr(lambda res, ts: jax.tree.unflatten(treedef, res)(*ts))
    jaxpr, consts = close(split_outputs(traced(residuals, shapes)))
    return (
        outputs,
        LinearMap(
            residuals=(*consts, *residuals),
            program=Program(jaxpr, shapes),
        ),
        aux,
    )


def abstract(aval: Any) -> jax.ShapeDtypeStruct:
    """An array's shape, dtype and, on a mesh with explicit axes, its sharding."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=aval.sharding)


def from_rows(
    program: Program, leaves: Arrays, rows: Arrays, outputs: jax.Array
) -> LinearMap:
    """The map to T scalars whose rows are given.

    Args:
      program: of a map with the same tangents.
      leaves: for each row, the indices of the tangents that it is not zero on.
      rows: for each row, its gradients there.
      outputs: `[T]`, of the dtype that products are summed in.
    """

    def product(ids, row, tangents):
        dots = [
            inner(jnp.conj(g), tangents[leaf], outputs.dtype)
            for leaf, g in zip(ids, row, strict=True)
        ]
        return functools.reduce(jnp.add, dots) if dots else jnp.zeros_like(outputs[0])

    def products(rows, tangents):
        return [
            product(ids, row, tangents) for ids, row in zip(leaves, rows, strict=True)
        ]

    traced = jax.make_jaxpr(products)(rows, list(program.tangents))
    jaxpr, consts = close(traced)
    made = Program(jaxpr, program.tangents)
    made.written = tuple(map(tuple, leaves))
    return LinearMap((*consts, *jax.tree.leaves(rows)), made)


def apply(linear: LinearMap, tangents: Arrays) -> list[Any]:
    """Pushes tangents forward: one tangent pass.

    A tangent that is None is zero, and what follows from it alone is not computed. To
    that end the map is differentiated along the others, at zero: JAX's own forward
    mode leaves out what does not change, and the compiler drops the value, which is 0.
    """
    if all(t is not None for t in tangents):
        return linear.program.call(*linear.residuals, *tangents)
    zeros = [jnp.zeros(t.shape, t.dtype) for t in linear.program.tangents]
    moving = [i for i, t in enumerate(tangents) if t is not None]

    def along(*parts):
        full = list(zeros)
        for i, part in zip(moving, parts, strict=True):
            full[i] = part
        return linear.program.call(*linear.residuals, *full)

    at_zero = tuple(zeros[i] for i in moving)
    return jax.jvp(along, at_zero, tuple(tangents[i] for i in moving))[1]


def filled(linear: LinearMap, tangents: Arrays) -> list[Any]:
    """The tangents with zeros for None."""
    return [
        jnp.zeros(shape.shape, shape.dtype) if t is None else t
        for t, shape in zip(tangents, linear.program.tangents, strict=True)
    ]


def transpose(linear: LinearMap, cotangents: Arrays) -> list[Any]:
    """Pulls cotangents back: one backward pass.

    Raises:
      ValueError: where there is none.
    """

    def forward(*tangents):
        return linear.program.call(*linear.residuals, *tangents)

    try:
        back = jax.linear_transpose(forward, *linear.program.tangents)
        return list(back(list(cotangents)))
    except NOT_TRANSPOSABLE as error:
        raise ValueError(
            "`losses` should have a backward pass. Found derivatives that exist "
            "forwards alone, as through `jax.lax.while_loop` or "
            f"`diffrax.ForwardMode`. JAX says: {error}"
        ) from error


NOT_TRANSPOSABLE = (NotImplementedError, ValueError, TypeError, AssertionError)
"""What JAX raises, primitive by primitive, for a map it cannot transpose."""


def double_transpose(linear: LinearMap, tangents: Arrays) -> list[Any]:
    """Pushes tangents forward by the transpose of the backward pass.

    For maps without forward mode: the backward pass is a linear function of the
    cotangents, and where it is made of JAX's own linear primitives it transposes.

    Raises:
      One of `NOT_TRANSPOSABLE` where it does not.
    """
    outs = [abstract(out) for out in linear.program.jaxpr.out_avals]
    back = functools.partial(transpose, linear)
    return jax.linear_transpose(back, outs)(filled(linear, tangents))[0]


def component(linear: LinearMap, index: int) -> tuple[LinearMap, tuple[bool, ...]]:
    """Cuts one output out of the map, with only what that output needs.

    Args:
      linear: the map.
      index: which output to keep.

    Returns:
      The map to that one output (its residuals are the ones still needed), and for
      each tangent whether the output depends on it. The tangents that it does not
      depend on are no inputs any more.
    """
    program = linear.program
    jaxpr = program.jaxpr.jaxpr
    keep = [i == index for i in range(len(jaxpr.outvars))]
    small, used = pe.dce_jaxpr(jaxpr, keep)
    split = program.num_residuals
    residuals = [r for r, u in zip(linear.residuals, used[:split], strict=True) if u]
    needed = tuple(used[split:])
    shapes = [s for s, u in zip(program.tangents, needed, strict=True) if u]
    small, order = _by_first_use(small, len(residuals))
    closed = jex_core.ClosedJaxpr(small, ())
    return LinearMap(
        residuals=tuple(residuals[i] for i in order),
        program=Program(closed, shapes),
    ), needed


def _by_first_use(jaxpr: Any, num_residuals: int) -> tuple[Any, list[int]]:
    """The jaxpr with its residuals in the order in which its equations use them.

    What the trunk leaves behind comes before or after what a head leaves, by whose
    turn it was in the forward pass; alike heads shall be alike programs all the same.
    """
    residuals = list(jaxpr.invars[:num_residuals])
    place = {var: i for i, var in enumerate(residuals)}
    used = [v for eqn in jaxpr.eqns for v in eqn.invars]
    first = [v for v in used if not isinstance(v, jex_core.Literal) and v in place]
    order = [place[v] for v in dict.fromkeys([*first, *residuals])]
    invars = [*(residuals[i] for i in order), *jaxpr.invars[num_residuals:]]
    return _rewire(jaxpr, invars=invars), order


def has_forward_mode(linear: LinearMap) -> bool:
    """Whether tangents can be pushed: False where a `jax.custom_vjp` is in the way."""

    def clean(jaxpr) -> bool:
        return all(eqn.primitive.name != "custom_lin" for eqn in jaxpr.eqns) and all(
            clean(inner) for inner in jex_core.subjaxprs(jaxpr)
        )

    return clean(linear.program.jaxpr.jaxpr)


def _rewire(jaxpr: Any, **changes: Any) -> Any:
    """A jaxpr with other inputs or outputs; its names for them no longer hold."""
    return jaxpr.replace(debug_info=jaxpr.debug_info.with_unknown_names(), **changes)
