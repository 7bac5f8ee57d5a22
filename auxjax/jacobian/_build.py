"""One forward pass, and the Jacobian of the task losses is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from auxjax._types import LossFn, Params
from auxjax.jacobian import _linear, _losses
from auxjax.jacobian._guard import Guard
from auxjax.jacobian._leaves import Layout
from auxjax.jacobian._order import Order, check_trust
from auxjax.jacobian._source import Call, remember
from auxjax.jacobian._task_jacobian import TaskJacobian


def task_jacobian(
    losses: LossFn,
    params: Params,
    *args: Any,
    has_aux: bool = False,
    main: str | None = None,
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
        tuple, a NamedTuple or a `[T]` array of scalar losses, the main task's first.
        With `has_aux`, a pair of that and anything.
      params: a pytree. Leaves that are neither floating point nor complex are
        constants; their gradient is `float0`, as with `jax.grad(..., allow_int=True)`.
      *args: handed to `losses`; not differentiated.
      has_aux: whether `losses` returns `(losses, aux)`.
      main: the main task's name, which comes first then. JAX sorts the keys of a plain
        dict that leaves a transformation (`jax.checkpoint`, `nn.remat`, `jax.vmap`,
        `jax.tree.map`, …; a `jax.jit` around the whole of `losses` is looked through):
        name it there, or return a tuple or an `OrderedDict`. None: the first.

    Returns:
      A `TaskJacobian`.

    Raises:
      ValueError: where a loss is not a floating-point scalar, or there is none; where
        `main` is no task; where it was not given, and the losses come in the order of
        the alphabet out of a transformation with a program inside.

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
    return build(losses, params, args, has_aux, main)


def build(
    losses: LossFn,
    params: Params,
    args: Sequence[Any],
    has_aux: bool,
    order: Order = None,
    *,
    any_order: bool = False,
) -> TaskJacobian:
    """As `task_jacobian`.

    Args:
      losses: the loss function.
      params: where.
      args: its other arguments.
      has_aux: whether it returns something beside the losses.
      order: the main task's name, or all names in their order.
      any_order: whether the order does not matter.
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

    source_of = remember(params, args)
    here = layout.pick(params)
    f, facts = _losses.regular(losses, rebuild, args, has_aux, order)
    values, linear, aux = _linear.linearize(f, here)
    source = source_of(Call(build, losses, has_aux, facts.names))
    if facts.is_doubtful and not any_order:
        again, _ = _losses.regular(losses, rebuild, source.args, has_aux)
        check_trust(facts.names, lambda: jax.make_jaxpr(lambda *x: again(*x)[0])(*here))
    return TaskJacobian(
        _guard=Guard(),
        losses=_losses.loss_vector(values),
        aux=aux,
        _linear=linear,
        _present=None,
        _scales=(),
        _source=source,
        _layout=layout,
        _names=facts.names,
    )
