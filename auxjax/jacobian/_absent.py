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

    Where all losses are one array the tasks share every residual. There, while a task
    is absent and the losses of those present are finite, what is not finite is replaced.

    Args:
      linear: to T scalars, or to one `[T]` array.
      present: `[T]` (bool).
      losses: `[T]`, the losses' values.
    """
    num_residuals = linear.program.num_residuals
    outs = linear.program.jaxpr.out_avals
    if len(outs) < present.shape[0]:
        sound = jnp.all(jnp.logical_or(~present, jnp.isfinite(losses)))
        some_absent = jnp.logical_and(sound, ~jnp.all(present))

        def replace(residual, owners):
            del owners
            spoilt = jnp.logical_and(some_absent, ~jnp.isfinite(residual))
            return jnp.where(spoilt, jnp.ones_like(residual), residual)

    else:

        def replace(residual, owners):
            if len(owners) == len(outs):
                return residual
            needed = jnp.any(present[jnp.asarray(owners, int)])
            return jnp.where(needed, residual, jnp.ones_like(residual))

    jaxpr = linear.program.jaxpr.jaxpr
    used = [
        pe.dce_jaxpr(jaxpr, [i == index for i in range(len(outs))])[1][:num_residuals]
        for index in range(len(outs))
    ]
    residuals = []
    for number, residual in enumerate(linear.residuals):
        owners = [index for index, uses in enumerate(used) if uses[number]]
        is_number = jnp.issubdtype(residual.dtype, jnp.inexact)
        residuals.append(replace(residual, owners) if is_number else residual)
    return linear.at(tuple(residuals))
