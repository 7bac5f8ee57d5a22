"""What a user's loss function returns, made regular: names and T scalars."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import LossFn, Params
from auxjax.jacobian._order import Order, arrange, needs_trust


@dataclasses.dataclass
class Facts:
    """What a loss function's losses turned out to be.

    Attributes:
      names: the tasks', the main one's first.
      is_doubtful: whether JAX may have put them in the order of the alphabet.
    """

    names: tuple[str, ...] = ()
    is_doubtful: bool = False


def unwrap_jit(losses: LossFn) -> LossFn:
    """The function inside `jax.jit`, whose outputs keep their dict's order.

    A dict that leaves `jit` comes back with sorted keys, and the main task must stay
    the first. The whole step is jitted anyway.
    """
    if isinstance(losses, types.MethodType):
        return types.MethodType(unwrap_jit(losses.__func__), losses.__self__)
    if isinstance(losses, functools.partial):
        inner = unwrap_jit(losses.func)
        return functools.partial(inner, *losses.args, **losses.keywords)
    if hasattr(losses, "lower") and hasattr(losses, "__wrapped__"):
        return unwrap_jit(losses.__wrapped__)  # type: ignore
    return losses


def regular(
    losses: LossFn,
    rebuild: Callable,
    args: Sequence[Any],
    has_aux: bool,
    order: Order = None,
) -> tuple[Callable, Facts]:
    """Makes `f(*leaves) -> (tuple of T scalars or a [T] array, aux)`.

    Args:
      losses: `losses(params, *args)`.
      rebuild: from the differentiable leaves to `params`.
      args: the other arguments.
      has_aux: whether `losses` returns `(losses, aux)`.
      order: the main task's name, or all names in their order.

    Returns:
      The function, and what is known of its losses once it has run.
    """
    losses, facts = unwrap_jit(losses), Facts()

    def f(*leaves):
        values, aux = split_aux(losses(rebuild(leaves), *args), has_aux)
        names, scalars = name_and_check(values, order)
        facts.names = tuple(names)
        facts.is_doubtful = order is None and needs_trust(names, values)
        return scalars, aux

    return f, facts


def split_aux(result: Any, has_aux: bool) -> tuple[Any, Any]:
    """What a loss function returned as `(losses, aux)`; aux is None without."""
    if has_aux and not (isinstance(result, tuple) and len(result) == 2):
        raise ValueError(
            "`losses` should return a pair (losses, aux) when `has_aux=True`. "
            f"Found {type(result).__name__}."
        )
    return result if has_aux else (result, None)


def name_and_check(values: Any, order: Order = None) -> tuple[list[str], Any]:
    """The tasks' names, and their losses as a tuple of scalars or a `[T]` array.

    Args:
      values: what the loss function returned.
      order: the main task's name, which comes first then, or all names in their order.
    """
    if isinstance(values, dict):
        names, values = [str(name) for name in values], tuple(values.values())
    elif isinstance(values, tuple | list):
        names = list(getattr(values, "_fields", default_names(len(values))))
        values = tuple(values)
    else:
        names, values = _check_array(values)
    if isinstance(values, tuple):
        if not values:
            raise ValueError("`losses` should return at least one loss. Found none.")
        values = tuple(_check_scalar(n, v) for n, v in zip(names, values, strict=True))
    places = arrange(names, order)
    if places != list(range(len(names))):
        values = tuple(values[i] for i in places)
    return [names[i] for i in places], values


def evaluate(
    losses: LossFn, params: Params, *args: Any, names: Sequence[str] = ()
) -> tuple[list[str], Any]:
    """The tasks' names, and their losses as T scalars or a `[T]` array, unsummed.

    Args:
      losses: `losses(params, *args)`, as in `task_jacobian`.
      params: the parameters.
      *args: handed to `losses`.
      names: where the losses have just these names, they are put in this order.

    Raises:
      ValueError: where a loss is not a floating-point scalar, or there is none.
    """
    values = unwrap_jit(losses)(params, *args)
    known = isinstance(values, dict) and set(map(str, values)) == set(names)
    return name_and_check(values, tuple(names) if known else None)


def default_names(num_tasks: int) -> list[str]:
    """`main`, `aux_1`, `aux_2`, …: the names of tasks that have none."""
    return ["main", *(f"aux_{i}" for i in range(1, num_tasks))]


def _check_array(values: Any) -> tuple[list[str], Any]:
    if not hasattr(values, "shape") or len(values.shape) != 1 or not values.shape[0]:
        found = getattr(values, "shape", type(values).__name__)
        hint = ""
        if found == ():
            hint = " One summed loss has no tasks to weigh: return them apart."
        raise ValueError(
            "`losses` should return a dict, a tuple or a [T] array of scalar losses. "
            f"Found {found}.{hint}"
        )
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(
            "`losses` should return floating-point losses. "
            f"Found an array of {values.dtype}."
        )
    return default_names(values.shape[0]), values


def _check_scalar(name: str, value: Any) -> jax.Array:
    if value is None:
        raise ValueError(f"Loss `{name}` should be a scalar. Found None.")
    if isinstance(value, dict | list | tuple):
        raise ValueError(
            f"Loss `{name}` should be a scalar. Found a {type(value).__name__}: does "
            "the function return its losses with something beside them? Keep the "
            "losses alone, or pass `has_aux=True` where that is an argument."
        )
    value = jnp.asarray(value)
    if value.shape != ():
        raise ValueError(
            f"Loss `{name}` should be a scalar. Found shape {value.shape}: take its "
            "mean or its sum."
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"Loss `{name}` should be a floating-point scalar. Found {value.dtype}."
        )
    return value


def loss_vector(values: Any) -> jax.Array:
    """The losses as one array `[T]`, in float32 or better."""
    if not isinstance(values, tuple):
        return values.astype(wide(values.dtype))
    dtype = wide(*(v.dtype for v in values))
    return jnp.stack([v.astype(dtype) for v in values])


def wide(*dtypes: Any) -> Any:
    """Float64 if one of the dtypes is double, else float32: for sums of products."""
    is_double = any(dtype in (jnp.float64, jnp.complex128) for dtype in dtypes)
    return jnp.float64 if is_double else jnp.float32
