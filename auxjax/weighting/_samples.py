"""Losses of single samples: each task's as one array, and their weighted sums."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Params
from auxjax.jacobian import Jacobian, TaskJacobian, as_jacobian, task_jacobian
from auxjax.weighting._checks import weight_dtype


def samples_of(
    sample_losses: Any, params: Params, jac: Jacobian
) -> tuple[Callable[[Params], list[jax.Array]], list[int]]:
    """Each task's samples' losses as one flat array; how many each task has."""
    if not callable(sample_losses):
        raise ValueError(
            "`scale_by_slgrad` needs the losses of single samples. Pass "
            "`sample_losses=lambda p: ...` to `update`, which returns `[T, B]`. "
            f"Found {type(sample_losses).__name__}."
        )

    def in_order(p):
        returned: Any = sample_losses(p)
        if not isinstance(returned, dict):
            return list(returned)
        if set(returned) != set(jac.names):
            raise ValueError(
                f"`sample_losses` should return the tasks {jac.names}. "
                f"Found {tuple(returned)}."
            )
        return [returned[name] for name in jac.names]  # `jit` sorts the keys of a dict

    def parts(p):
        tasks = in_order(p)
        dtype = weight_dtype(tasks)
        return [x.reshape(-1).astype(dtype) for x in tasks]

    shapes = [x.shape for x in jax.eval_shape(in_order, params)]
    if len(shapes) != jac.num_tasks:
        raise ValueError(
            f"`sample_losses` should return the losses of {jac.num_tasks} tasks. "
            f"Found {len(shapes)}."
        )
    return parts, [math.prod(shape) for shape in shapes]


def by_task(x: jax.Array, sizes: Sequence[int]) -> list[jax.Array]:
    """All samples' numbers, apart again."""
    return jnp.split(x, np.cumsum(sizes)[:-1])


def weighted(
    parts: Callable, weights: list[jax.Array], params: Params, jac: Jacobian, mask: Any
) -> Jacobian:
    """The Jacobian of Σᵢ w_ti ℓ_ti, a row per task; its losses stay the plain ones.

    Under `jit` its forward pass is the one that the tangent pass took. The tasks are
    outputs of their own, so that an absent one leaves no trace.
    """

    def losses(p, weights):
        own = zip(jac.names, weights, parts(p), strict=True)
        return {name: jnp.sum(w * x) for name, w, x in own}

    jacobian = task_jacobian(losses, params, weights)
    if mask is not None:
        jacobian = jacobian.mask(mask)
    if isinstance(jac, TaskJacobian):
        return dataclasses.replace(jacobian, losses=jac.losses, aux=jac.aux)
    stacked = as_jacobian(jacobian.rows(), losses=jac.losses)
    return stacked if mask is None else stacked.mask(mask)
