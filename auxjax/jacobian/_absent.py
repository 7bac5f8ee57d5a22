"""Tasks that are absent: nothing that they left behind reaches the others.

The loss of a task without a label is 0/0, and 0 · NaN is NaN: weighing its row by zero
would spoil the gradient of whatever it shares with the others. What its forward pass
left behind is therefore replaced before anything is multiplied.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core as jex_core
from jax.interpreters import partial_eval as pe

from auxjax.jacobian import _linear

_MOVES = {
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "dynamic_slice",
    "expand_dims",
    "gather",
    "reshape",
    "rev",
    "slice",
    "squeeze",
    "transpose",
}
"""What hands numbers on as they are."""


def silence(
    linear: _linear.LinearMap, present: jax.Array, losses: jax.Array
) -> _linear.LinearMap:
    """The map with ones in the place of what absent tasks left behind.

    Residuals that absent tasks alone need become ones: their rows are finite then and
    mean nothing (times zero they vanish). Of residuals that others need too, as all are
    where the tasks' losses were computed as one array, the entries that would spoil
    them are replaced: numbers that are not finite and divisors that are zero, while a
    task is absent and the losses of those present are finite. Nobody who is present
    left those behind, or his own loss would not be finite.

    Args:
      linear: to T scalars, or to one `[T]` array.
      present: `[T]` (bool).
      losses: `[T]`, the losses' values.
    """
    jaxpr, split = linear.program.jaxpr.jaxpr, linear.program.num_residuals
    outs = range(len(jaxpr.outvars))
    used = [
        pe.dce_jaxpr(jaxpr, [i == index for i in outs])[1][:split] for index in outs
    ]
    divisors = _divisors(jaxpr)
    sound = jnp.all(jnp.logical_or(~present, jnp.isfinite(losses)))
    replace = jnp.logical_and(sound, ~jnp.all(present))
    residuals = []
    for number, residual in enumerate(linear.residuals):
        owners = [index for index in outs if used[index][number]]
        if not jnp.issubdtype(residual.dtype, jnp.inexact):
            residuals.append(residual)
            continue
        spoilt = ~jnp.isfinite(residual)
        if number in divisors:
            spoilt = jnp.logical_or(spoilt, residual == 0)
        spoilt = jnp.logical_and(replace, spoilt)
        if len(owners) < len(outs):
            alone = ~jnp.any(present[jnp.asarray(owners, int)])
            spoilt = jnp.logical_or(spoilt, alone)
        residuals.append(jnp.where(spoilt, jnp.ones_like(residual), residual))
    return linear.at(tuple(residuals))


def _divisors(jaxpr: Any) -> set[int]:
    """Which inputs of a program something is divided by, in programs inside it too."""
    place = {var: number for number, var in enumerate(jaxpr.invars)}
    divisors: set[Any] = set()
    for eqn in jaxpr.eqns:
        inputs = [
            None if isinstance(v, jex_core.Literal) else place.get(v)
            for v in eqn.invars
        ]
        if eqn.primitive.name in _MOVES and inputs[0] is not None:
            place[eqn.outvars[0]] = inputs[0]
        elif eqn.primitive is jax.lax.div_p:
            divisors |= {inputs[1]}
        for inner in jex_core.jaxprs_in_params(eqn.params):
            # Of `jit`, `scan` and `checkpoint` all, of `cond` the last ones.
            last = inputs[len(inputs) - len(inner.invars) :]
            if len(last) == len(inner.invars):
                divisors |= {last[number] for number in _divisors(inner)}
    return divisors - {None}
