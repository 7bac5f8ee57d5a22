"""One optimizer step, and the way back through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.extend.core import Literal

from auxjax._types import ArrayLike, Gradient, Mask, Params
from auxjax.jacobian import Jacobian
from auxjax.meta._differentiable import finite_slopes


class Lookahead(NamedTuple):
    """θ′ = θ + u(Σ λᵢ∇Lᵢ), and what is needed to differentiate it.

    Attributes:
      params: θ′.
      updates: u, what the optimizer added.
      opt_state: the optimizer's state after the step.
      pull: d ↦ (∂u/∂g)ᵀ d, from a gradient at θ′ to one at g. For SGD, −α d.
      reach: from the leaves where d may differ from zero, one bool a leaf, to those
        where `pull(d)` may. The same for most; all of them if a global norm is taken.
    """

    params: Params
    updates: Gradient
    opt_state: Any
    pull: Callable[[Gradient], Gradient]
    reach: Callable[[Mask], Mask]


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
    depends = _dependence(push, gradient)
    if not any(map(any, depends)):
        raise ValueError(_NEEDS_SLOPE.format("does not change with it (a sign, say)"))
    push = finite_slopes(push, gradient)

    def pull(d):
        dtyped = jax.tree.map(lambda x, shape: x.astype(shape.dtype), d, shapes[0])
        try:
            return jax.linear_transpose(push, gradient)(dtyped)[0]
        except _NO_DERIVATIVE as error:
            raise ValueError(
                _NEEDS_SLOPE.format("cannot be differentiated backwards")
            ) from error

    def reach(where):
        wanted = jax.tree.leaves(where(params) if callable(where) else where)
        touched = [
            any(w and row[leaf] for w, row in zip(wanted, depends, strict=True))
            for leaf in range(len(wanted))
        ]
        return jax.tree.unflatten(jax.tree.structure(params), touched)

    ahead = optax.apply_updates(params, updates)
    return Lookahead(ahead, updates, new_state, pull, reach)


_NO_DERIVATIVE = (NotImplementedError, ValueError, TypeError, AssertionError)
_NEEDS_SLOPE = (
    "`optimizer` should take a step that is a differentiable function of the gradient. "
    "Found one that {}. Look ahead with another, as in "
    "`scale_by_autolambda(optax.sgd(0.1))`."
)


def _dependence(push: Callable, gradient: Gradient) -> list[list[bool]]:
    """`[output leaf][input leaf]`: which outputs of a linear function change with what.

    Args:
      push: from a gradient to an update, linear.
      gradient: its input, for the shapes.
    """
    jaxpr = jax.make_jaxpr(push)(gradient).jaxpr
    found = []
    for out in jaxpr.outvars:
        needed = {out} if not isinstance(out, Literal) else set()
        for eqn in reversed(jaxpr.eqns):
            if needed & set(eqn.outvars):
                needed |= {v for v in eqn.invars if not isinstance(v, Literal)}
        found.append([v in needed for v in jaxpr.invars])
    return found
