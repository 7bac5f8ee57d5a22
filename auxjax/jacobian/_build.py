"""One forward pass, and the Jacobian of the task losses is there."""

from __future__ import annotations

import functools
from typing import Any

import jax

from auxjax._types import LossFn, Params
from auxjax.jacobian import _linear, _losses
from auxjax.jacobian._guard import Guard
from auxjax.jacobian._leaves import Layout
from auxjax.jacobian._source import make_source
from auxjax.jacobian._task_jacobian import TaskJacobian


def task_jacobian(
    losses: LossFn, params: Params, *args: Any, has_aux: bool = False
) -> TaskJacobian:
    """The Jacobian of the task losses, as a linear map: one forward pass.

    Nothing is stacked and no gradient is computed until the Jacobian is contracted,
    so a rule pays only for what it asks:

    | asked | gives | price |
    |---|---|---|
    | `jac.vjp(w)` | Σᵢ wᵢ ∇Lᵢ | 1 backward pass |
    | `jac.jvp(v)` | ⟨∇Lᵢ, v⟩ for every task | 1 tangent pass |
    | `jac.gramian(where)` | J Jᵀ | T backward passes |
    | `jac.rows()` | the stacked gradients | T backward passes, T× memory |
    | `jac.at(p)` | the same losses' Jacobian at p | 1 forward pass |

    Args:
      losses: `losses(params, *args)`; returns a dict (its insertion order counts), a
        tuple or a `[T]` array of scalar losses, the main task's first. With
        `has_aux`, a pair of that and anything. If it is wrapped in a transformation
        that rebuilds its output (`jax.checkpoint`, `jax.vmap`), return a tuple or a
        `collections.OrderedDict`: JAX sorts the keys of a plain dict there. (`jax.jit`
        is looked through.)
      params: a pytree. Leaves that are not floating point are constants; their
        gradient is `float0`, as with `jax.grad(..., allow_int=True)`.
      *args: handed to `losses`; not differentiated.
      has_aux: whether `losses` returns `(losses, aux)`.

    Returns:
      A `TaskJacobian`.

    Raises:
      ValueError: where a loss is not a floating-point scalar, or there is none.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> def losses(params):
      ...     return {"main": jnp.sum(params**2), "helper": jnp.sum(params)}
      >>> jac = auxjax.task_jacobian(losses, jnp.array([1.0, 2.0]))
      >>> jac.names, jac.losses
      (('main', 'helper'), Array([5., 3.], dtype=float32))
      >>> jac.vjp(jnp.array([1.0, 10.0]))  # ∇L_main + 10 ∇L_helper
      Array([12., 14.], dtype=float32)
      >>> jac.jvp(jnp.array([0.0, 1.0]))  # both losses' slope along the second axis
      Array([4., 1.], dtype=float32)
    """
    layout = Layout(params)
    leaves = jax.tree.leaves(params)
    constants = {i: x for i, x in enumerate(leaves) if not layout.is_differentiable[i]}
    if not layout.differentiable:
        raise ValueError(
            "`params` should have at least one floating-point leaf. Found "
            f"{[str(d) for d in layout.dtypes]}."
        )

    def rebuild(variables):
        full = dict(zip(layout.differentiable, variables, strict=True)) | constants
        return layout.unflatten([full[i] for i in range(len(leaves))])

    f, names = _losses.regular(losses, rebuild, args, has_aux)
    values, linear, aux = _linear.linearize(f, layout.pick(params))
    again = functools.partial(task_jacobian, losses, has_aux=has_aux)
    return TaskJacobian(
        _guard=Guard(),
        losses=_losses.loss_vector(values),
        aux=aux,
        _linear=linear,
        _present=None,
        _scales=(),
        _source=make_source(again, params, args),
        _layout=layout,
        _names=tuple(names),
    )
