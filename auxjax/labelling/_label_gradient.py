"""How a label network's parameters change the main loss after one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._optax import with_mixed_dtypes
from auxjax._types import Array, Float, Params
from auxjax.jacobian import task_jacobian
from auxjax.meta import lookahead


class LabelGradient(NamedTuple):
    """What `label_gradient` found."""

    gradient: Any  # like φ: ∂[M(θ⁺(φ)) + penalty(labels(φ))]/∂φ
    meta_loss: jax.Array  # [], M(θ⁺)
    penalty: jax.Array  # []
    aux: Any  # what `generate` returned beside the labels


def label_gradient(
    generate: Callable[[Any], tuple[Any, Any]],
    train_loss: Callable[[Params, Any], Array],
    meta_loss: Callable[[Params], Array],
    phi: Any,
    params: Params,
    optimizer: optax.GradientTransformation,
    opt_state: Any,
    *,
    penalty: Callable[[Any], Array] | None = None,
    method: str = "exact",
    epsilon: float = 0.01,
) -> LabelGradient:
    r"""The gradient of a loss after one step with respect to what made the labels.

        y = labels(φ),   θ⁺ = θ + u(g),   g = ∇_θ L(θ, y),   d = ∇M(θ⁺)
        v = (∂u/∂g)ᵀ d                                    (for SGD −αd)
        ∂M(θ⁺)/∂y = ∂/∂y ⟨∇_θ L(θ, y), v⟩ = d/ds ∇_y L(θ + sv, y) at s = 0

    then one backward pass through the label network. The middle line is a single
    tangent pass of y's gradient along v: forward over reverse, no Hessian written down
    or multiplied. The penalty depends on the labels directly, not through the step:
    its gradient is added to ∂M/∂y before the backward pass.

    | `method` | ∂M/∂y | price beside the two steps |
    |---|---|---|
    | `"exact"` | as above | a tangent pass |
    | `"difference"` | [∇_y L(θ + sv) − ∇_y L(θ − sv)] / 2s, s = ε/‖v‖ | 2 passes |

    Args:
      generate: `phi -> (labels, aux)`; the labels are any pytree of floats.
      train_loss: L, `(params, labels) -> scalar`.
      meta_loss: M, `params -> scalar`.
      phi: φ.
      params: θ.
      optimizer: that the step looks ahead with; any, e.g. SGD, momentum or Adam.
      opt_state: its state, which is left as it is.
      penalty: `labels -> scalar`, added to M; None: none.
      method: `"exact"` or `"difference"`.
      epsilon: ε of the difference.

    Returns:
      The gradient, the two losses, and `generate`'s second output.

    Raises:
      ValueError: another method, an `epsilon` not above 0, or an optimizer that cannot
        be differentiated.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> slope = label_gradient(
      ...     lambda phi: (2 * phi, None), lambda p, y: 0.5 * (p - y) ** 2,
      ...     lambda p: 0.5 * p**2, jnp.array(1.0), jnp.array(4.0), optax.sgd(0.5),
      ...     optax.sgd(0.5).init(jnp.array(4.0)))
      >>> float(slope.gradient)  # θ⁺ = ½θ + φ = 3, so ∂½θ⁺²/∂φ = 3
      3.0

    References:
      Liu et al., *Self-Supervised Generalisation with Meta Auxiliary Learning*, arXiv
      1901.08933, Eq. 3, 5.

    Paper and code:
      MAXL's released first-order version takes the difference and loses the penalty's
      gradient on the way; both methods here keep it.
    """
    if method not in ("exact", "difference"):
        raise ValueError(
            f'`method` should be "exact" or "difference". Found {method!r}.'
        )
    if not epsilon > 0:
        raise ValueError(f"`epsilon` should be above 0. Found {epsilon}.")
    labels, pull_back, aux = jax.vjp(generate, phi, has_aux=True)
    jac = task_jacobian(lambda p, y: (train_loss(p, y),), params, labels)
    ones = jnp.ones(1, jac.losses.dtype)
    ahead = lookahead(jac, ones, with_mixed_dtypes(optimizer), opt_state, params)
    meta, d = jax.value_and_grad(meta_loss)(ahead.params)
    v = ahead.pull(d)

    def label_slope(p):
        return jax.grad(train_loss, argnums=1)(p, labels)

    if method == "exact":
        _, slope = jax.jvp(label_slope, (params,), (v,))
    else:
        slope = _difference(label_slope, params, v, epsilon)
    paid = jnp.zeros_like(meta)
    if penalty is not None:
        paid, direct = jax.value_and_grad(penalty)(labels)
        slope = jax.tree.map(jnp.add, slope, direct)
    (gradient,) = pull_back(slope)
    return LabelGradient(gradient, meta, paid, aux)


def _difference(f: Callable, params: Params, v: Any, epsilon: float) -> Any:
    """The central difference of f along v, from points ε away on either side."""
    norm = optax.tree.norm(v)
    s = epsilon / jnp.where(norm > 0, norm, 1)

    def at(step: Float[Array, ""]):
        return f(jax.tree.map(lambda p, x: p + step.astype(p.dtype) * x, params, v))

    # ⟨∇_θ L, v⟩ = ‖v‖ × the slope along the unit vector: exactly 0 where v is.
    return jax.tree.map(
        lambda up, down: (up - down) / (2 * s).astype(up.dtype), at(s), at(-s)
    )
