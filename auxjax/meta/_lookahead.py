"""One optimizer step, and the way back through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from auxjax._types import ArrayLike, Gradient, Params
from auxjax.jacobian import TaskJacobian


class Lookahead(NamedTuple):
    """θ′ = θ + u(Σ λᵢ∇Lᵢ), and what is needed to differentiate it.

    Attributes:
      params: θ′.
      updates: u, what the optimizer added.
      opt_state: the optimizer's state after the step.
      pull: d ↦ (∂u/∂g)ᵀ d, from a gradient at θ′ to one at g. For SGD, −α d.
    """

    params: Params
    updates: Gradient
    opt_state: Any
    pull: Callable[[Gradient], Gradient]


def lookahead(
    jac: TaskJacobian,
    weights: ArrayLike,
    optimizer: optax.GradientTransformation,
    opt_state: Any,
    params: Params,
) -> Lookahead:
    """Takes one step of the weighted losses; nothing is kept by it.

    Args:
      jac: the Jacobian of the training losses at `params`.
      weights: λ, `[T]`.
      optimizer: any Optax transformation, gradient → update.
      opt_state: its state; left as it is.
      params: θ.

    Returns:
      The step. Price: one backward pass and one VJP of the optimizer's arithmetic.
    """
    transform = optax.with_extra_args_support(optimizer)

    def update(gradient):
        return transform.update(gradient, opt_state, params)

    updates, pull, new_state = jax.vjp(update, jac.vjp(weights), has_aux=True)
    return Lookahead(
        params=optax.apply_updates(params, updates),
        updates=updates,
        opt_state=new_state,
        pull=lambda d: pull(d)[0],
    )
