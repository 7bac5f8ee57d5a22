"""One optimizer step, and the way back through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.extend.core import Literal

from auxjax._types import ArrayLike, Gradient, Params
from auxjax.jacobian import Jacobian
from auxjax.meta._differentiable import finite_slopes


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
    jac: Jacobian,
    weights: ArrayLike,
    optimizer: optax.GradientTransformation,
    opt_state: Any,
    params: Params,
    **extra_args: Any,
) -> Lookahead:
    """Takes one step of the weighted losses; nothing is kept by it.

    Where the optimizer's arithmetic has an infinite slope that the chain rule
    multiplies by zero (Adam's square root at a weight without gradient so far), the
    product is taken to be zero.

    Args:
      jac: the Jacobian of the training losses at `params`.
      weights: λ, `[T]`.
      optimizer: any Optax transformation, gradient → update.
      opt_state: its state; left as it is.
      params: θ.
      **extra_args: handed to the optimizer.

    Returns:
      The step. Price: one backward pass and one VJP of the optimizer's arithmetic.

    Raises:
      ValueError: where the update has no useful derivative: it cannot be
        differentiated, or it does not change with the gradient (`optax.lion`, which
        takes signs).
    """
    transform = optax.with_extra_args_support(optimizer)

    def update(gradient):
        updates, state = transform.update(gradient, opt_state, params, **extra_args)
        return updates, state

    gradient = jac.vjp(weights)
    shapes = jax.eval_shape(update, gradient)  # the optimizer's own errors come first
    try:
        updates, push, new_state = jax.linearize(update, gradient, has_aux=True)
    except _NO_DERIVATIVE as error:
        raise ValueError(_NEEDS_SLOPE.format("cannot be differentiated")) from error
    _check_it_moves(push, gradient)
    push = finite_slopes(push)

    def pull(d):
        dtyped = jax.tree.map(lambda x, shape: x.astype(shape.dtype), d, shapes[0])
        try:
            return jax.linear_transpose(push, gradient)(dtyped)[0]
        except _NO_DERIVATIVE as error:
            raise ValueError(
                _NEEDS_SLOPE.format("cannot be differentiated backwards")
            ) from error

    ahead = optax.apply_updates(params, updates)
    return Lookahead(ahead, updates, new_state, pull)


_NO_DERIVATIVE = (NotImplementedError, ValueError, TypeError, AssertionError)
_NEEDS_SLOPE = (
    "`optimizer` should take a step that is a differentiable function of the gradient. "
    "Found one that {}. Look ahead with another, as in "
    "`scale_by_autolambda(optax.sgd(0.1))`."
)


def _check_it_moves(push: Callable, gradient: Gradient) -> None:
    """A ValueError where no output of a linear function depends on its input."""
    jaxpr = jax.make_jaxpr(push)(gradient).jaxpr
    needed = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    for eqn in reversed(jaxpr.eqns):
        if needed & set(eqn.outvars):
            needed |= {v for v in eqn.invars if not isinstance(v, Literal)}
    if not needed & set(jaxpr.invars):
        raise ValueError(_NEEDS_SLOPE.format("does not change with it (a sign, say)"))
