"""An optimizer's update as something that can be differentiated, always."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.extend.core import Literal


def finite_slopes(linear: Any, *example: Any) -> Callable:
    """A linearized function whose infinite and undefined slopes are 0.

    Adam divides by √v, whose slope at v = 0 is infinite: one weight that never saw a
    gradient (a pixel that is always black) would turn every meta-gradient into NaN.
    The slope of v itself is 0 there, so 0 · ∞ should have been 0, and now is. So is
    x / 0: clipping by a global norm of 0 computes it and does not select it.

    Args:
      linear: what `jax.linearize` returned beside the value: a pytree of residuals.
      *example: its arguments, for their shapes.
    """

    def fix(residual):
        if not jnp.issubdtype(jnp.result_type(residual), jnp.inexact):
            return residual
        return jnp.where(jnp.isfinite(residual), residual, jnp.zeros_like(residual))

    trace = jax.make_jaxpr(jax.tree.map(fix, linear), return_shape=True)
    closed, shapes = trace(*example)

    def call(*args):
        outs = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), outs)

    return call


def _evaluate(jaxpr: Any, consts: Any, args: Any) -> list[Any]:
    """Runs a jaxpr in which x / 0 is 0."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        if eqn.primitive.name == "jit":
            inner = eqn.params["jaxpr"]
            outs = _evaluate(inner.jaxpr, inner.consts, inputs)
        elif eqn.primitive is jax.lax.div_p:
            x, y = inputs
            ratio = eqn.primitive.bind(x, jnp.where(y == 0, jnp.ones_like(y), y))
            outs = [jnp.where(y == 0, jnp.zeros_like(ratio), ratio)]
        else:
            options = eqn.primitive.get_bind_params(eqn.params)
            with eqn.ctx.manager:
                outs = eqn.primitive.bind(*inputs, **options)
            outs = outs if eqn.primitive.multiple_results else [outs]
        values.update(zip(eqn.outvars, outs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def differentiable_update(optimizer: optax.GradientTransformation) -> Callable:
    """`update(gradient, state, params)` whose derivative is finite where it exists."""
    transform = optax.with_extra_args_support(optimizer)

    @jax.custom_jvp
    def update(gradient, state, params):
        return transform.update(gradient, state, params)

    @update.defjvp
    def _(primals, tangents):
        out, linear = jax.linearize(transform.update, *primals)
        return out, finite_slopes(linear, *tangents)(*tangents)

    return update
