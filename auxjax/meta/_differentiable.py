"""An optimizer's update as something that can be differentiated, always."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax


def finite_slopes(linear: Any) -> Any:
    """Infinite and undefined partial derivatives of a linearized function, as 0.

    Adam divides by √v, whose slope at v = 0 is infinite: one weight that never saw a
    gradient (a pixel that is always black) would turn every meta-gradient into NaN.
    The slope of v itself is 0 there, so 0 · ∞ should have been 0, and now is.

    Args:
      linear: what `jax.linearize` returned beside the value: a pytree of residuals.
    """

    def fix(residual):
        if not jnp.issubdtype(jnp.result_type(residual), jnp.inexact):
            return residual
        return jnp.where(jnp.isfinite(residual), residual, jnp.zeros_like(residual))

    return jax.tree.map(fix, linear)


def differentiable_update(optimizer: optax.GradientTransformation) -> Callable:
    """`update(gradient, state, params)` whose derivative is finite where it exists."""
    transform = optax.with_extra_args_support(optimizer)

    @jax.custom_jvp
    def update(gradient, state, params):
        return transform.update(gradient, state, params)

    @update.defjvp
    def _(primals, tangents):
        out, linear = jax.linearize(transform.update, *primals)
        return out, finite_slopes(linear)(*tangents)

    return update
