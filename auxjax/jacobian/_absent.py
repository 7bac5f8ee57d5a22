"""Tasks that are absent: nothing that they left behind reaches the others.

The loss of a task without a label is 0/0, and 0 · NaN is NaN: weighing its row by zero
would spoil the gradient of whatever it shares with the others. What its forward pass
left behind for itself alone is therefore replaced before anything is multiplied.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval as pe

from auxjax.jacobian import _linear


def silence(
    linear: _linear.LinearMap, present: jax.Array, losses: jax.Array
) -> _linear.LinearMap:
    """The map with ones for the residuals that absent tasks alone need.

    Their own rows become finite and mean nothing (times zero they vanish); the other
    tasks' rows stay as they are, whatever the absent tasks' residuals held.

    Args:
      linear: to T scalars, or to one `[T]` array.
      present: `[T]` (bool).
      losses: `[T]`, the losses' values.
    """
    if len(linear.program.jaxpr.out_avals) < present.shape[0]:
        return _silence_array(linear, present, losses)
    outs = range(present.shape[0])
    jaxpr, split = linear.program.jaxpr.jaxpr, linear.program.num_residuals
    used = [
        pe.dce_jaxpr(jaxpr, [i == index for i in outs])[1][:split] for index in outs
    ]
    residuals = []
    for number, residual in enumerate(linear.residuals):
        owners = [index for index in outs if used[index][number]]
        if len(owners) == len(outs) or not _is_number(residual):
            residuals.append(residual)
        else:
            needed = jnp.any(present[jnp.asarray(owners, int)])
            residuals.append(jnp.where(needed, residual, jnp.ones_like(residual)))
    return linear.at(tuple(residuals))


def _silence_array(
    linear: _linear.LinearMap, present: jax.Array, losses: jax.Array
) -> _linear.LinearMap:
    """The same where all losses are one array, and the tasks share every residual.

    While a task is absent and the losses of those present are finite, residuals that
    are not finite, and divisors that are zero, are taken to be the absent tasks'.
    """
    jaxpr = linear.program.jaxpr.jaxpr
    divisors = {e.invars[1] for e in jaxpr.eqns if e.primitive is jax.lax.div_p}
    sound = jnp.all(jnp.logical_or(~present, jnp.isfinite(losses)))
    replace = jnp.logical_and(sound, ~jnp.all(present))
    residuals = []
    for var, residual in zip(jaxpr.invars, linear.residuals, strict=False):
        if _is_number(residual):
            spoilt = ~jnp.isfinite(residual)
            if var in divisors:
                spoilt = jnp.logical_or(spoilt, residual == 0)
            spoilt = jnp.logical_and(replace, spoilt)
            residual = jnp.where(spoilt, jnp.ones_like(residual), residual)
        residuals.append(residual)
    return linear.at(tuple(residuals))


def _is_number(residual: jax.Array) -> bool:
    return jnp.issubdtype(residual.dtype, jnp.inexact)
