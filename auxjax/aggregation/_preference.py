"""How much each task counts before conflicts are looked at."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Array, ArrayLike, Bool, Float
from auxjax.jacobian import wide


def check_preference(preference: ArrayLike | None) -> None:
    """A vector of finite numbers, none below zero; None is let through."""
    if preference is None or isinstance(preference, jax.core.Tracer):
        return
    values = np.asarray(preference)
    if values.ndim != 1:
        raise ValueError(f"`preference` should be a vector. Found {values.shape}.")
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise ValueError(
            "`preference` should hold finite numbers, none below zero. "
            f"Found {values.tolist()}."
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
    vector = jnp.asarray(preference)
    if vector.shape != (num_tasks,):
        raise ValueError(
            f"`preference` should have shape ({num_tasks},), one a task. "
            f"Found {vector.shape}."
        )
    return mask * vector.astype(dtype)
