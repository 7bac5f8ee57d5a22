"""What projections ask for: how much each task counts, and how exact they are."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from auxjax._types import Array, ArrayLike, Bool, Float, Number
from auxjax.aggregation._checks import check_number
from auxjax.jacobian import is_traced, wide


def check_preference(preference: ArrayLike | None) -> None:
    """A vector of finite numbers, none below zero; None is let through."""
    if preference is None or is_traced(preference):
        return
    values = np.asarray(preference)
    if values.ndim != 1:
        raise ValueError(f"`preference` should be a vector. Found {values.shape}.")
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise ValueError(
            "`preference` should hold finite numbers, none below zero. "
            f"Found {values.tolist()}."
        )


def check_regularisation(regularisation: Number) -> None:
    """A finite number, not below zero."""
    check_number(
        "regularisation",
        regularisation,
        "finite and at least 0",
        lambda x: (x >= 0) & (x < np.inf),
    )


def preference_weights(
    preference: ArrayLike | None,
    gramian: Float[Array, "T T"],
    present: Bool[Array, " T"] | None,
) -> Float[Array, " T"]:
    """The preference, or the mean over the tasks that are present; absent tasks get 0.

    Raises:
      ValueError: for a preference with another number of entries than tasks.
    """
    num_tasks = gramian.shape[0]
    dtype = wide(gramian.dtype)
    mask = jnp.ones(num_tasks, dtype) if present is None else present.astype(dtype)
    if preference is None:
        return mask / jnp.maximum(jnp.sum(mask), 1)
    vector = jnp.asarray(preference, dtype)
    if vector.shape != (num_tasks,):
        raise ValueError(
            f"`preference` should have shape ({num_tasks},), one per task. "
            f"Found {vector.shape}."
        )
    return mask * vector
