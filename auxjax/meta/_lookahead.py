"""One optimizer step, and the way back through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.interpreters import partial_eval as pe

from auxjax._types import ArrayLike, Gradient, Mask, Params
from auxjax.jacobian import Jacobian, Layout, apply_updates
from auxjax.meta._differentiable import finite_slopes


class Lookahead(NamedTuple):
    """θ′ = θ + u(Σ λᵢ∇Lᵢ), and what is needed to differentiate it.

    Attributes:
      params: θ′.
      updates: u, what the optimizer added.
      opt_state: the optimizer's state after the step.
      pull: d ↦ (∂u/∂g)ᵀ d, from a gradient at θ′ to one at g. For SGD, −α d.
      reach: from the leaves where d may differ from zero, one bool per leaf, to those
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
    transform = of_variables(optimizer)
    layout = Layout(params)

    def update(variables):
        gradient = layout.fill(dict(enumerate(variables)))
        updates, state = transform.update(gradient, opt_state, params, **extra_args)
        return layout.pick(updates, cast=False), state

    gradient = layout.pick(jac.vjp(weights))
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
        variables = zip(layout.pick(d, cast=False), shapes[0], strict=True)
        dtyped = [x.astype(shape.dtype) for x, shape in variables]
        try:
            (pulled,) = jax.linear_transpose(push, gradient)(dtyped)
        except _NO_DERIVATIVE as error:
            raise ValueError(
                _NEEDS_SLOPE.format("cannot be differentiated backwards")
            ) from error
        return layout.fill(dict(enumerate(pulled)))

    def reach(where):
        wanted = layout.mask(where)
        touched = [
            any(w and row[leaf] for w, row in zip(wanted, depends, strict=True))
            for leaf in range(len(wanted))
        ]
        return layout.full_mask(touched)

    step = layout.fill(dict(enumerate(updates)))
    ahead = apply_updates(params, step)
    return Lookahead(ahead, step, new_state, pull, reach)


def of_variables(
    optimizer: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer on the parameters that can be differentiated; others stay.

    Where all of them can it is the optimizer as it is, with its own state.
    """
    whole = optax.with_extra_args_support(optimizer)

    def mask(params):
        layout = Layout(params)
        return layout.unflatten(list(layout.is_differentiable))

    part = optax.masked(whole, lambda tree: mask(tree), mask_compatible_extra_args=True)

    def choose(params):
        return whole if all(Layout(params).is_differentiable) else part

    def init_fn(params):
        return choose(params).init(params)

    def update_fn(updates, state, params=None, **extra_args):
        return choose(updates).update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


_NO_DERIVATIVE = (NotImplementedError, ValueError, TypeError, AssertionError)
_NEEDS_SLOPE = (
    "`optimizer` should take a step that is a differentiable function of the gradient. "
    "Found one that {}. Look ahead with another, as in "
    "`scale_by_autolambda(optax.sgd(0.1))`."
)


def _dependence(push: Callable, gradient: list[jax.Array]) -> list[list[bool]]:
    """`[output leaf][input leaf]`: which outputs of a linear function change with what.

    Args:
      push: from a gradient's leaves to an update's, linear.
      gradient: its input, for the shapes.
    """
    jaxpr = jax.make_jaxpr(push)(gradient).jaxpr
    # What is left of the program for one output: JAX looks into inner programs too.
    outputs = range(len(jaxpr.outvars))
    return [
        list(pe.dce_jaxpr(jaxpr, [i == out for i in outputs])[1]) for out in outputs
    ]
