"""A condition that seeds under `vmap` share, so that it stays a condition.

`lax.cond` with a batched predicate becomes a select: both ways are computed for all.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap


@custom_vmap
def anyone(flag: jax.Array) -> jax.Array:
    """The flag `[]`; under `vmap` whether anyone's is up, the same for all."""
    return flag


@anyone.def_vmap
def _anyone(axis_size, in_batched, flag):
    del axis_size, in_batched
    return anyone(jnp.any(flag, axis=0)), False


def own(flag: jax.Array, new: Any, old: Any) -> Any:
    """Inside the condition: the new numbers for those whose own flag is up."""
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), new, old)
