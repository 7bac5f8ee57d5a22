"""Randomness of aggregators: the state's key, and orders drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def keys_of_groups(key: Any) -> Callable[[int], jax.Array]:
    """From the number of a group to its own first key; None stands for `key(0)`.

    Raises:
      ValueError: where `key` is not one typed key.
    """
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    if key is not None and not (typed and key.shape == ()):
        raise ValueError(
            f"`key` should be one typed key, as `jax.random.key(0)`. Found {key!r}."
        )

    def key_of(number: int) -> jax.Array:
        return jax.random.fold_in(jax.random.key(0) if key is None else key, number)

    return key_of


def visiting_orders(key: Any, num_tasks: int) -> jax.Array:
    """`[T, T]` int: in which order each task meets the others.

    Row i is a permutation of all tasks; who uses it skips i itself. None: 0..T-1.
    """
    if key is None:
        return jnp.tile(jnp.arange(num_tasks), (num_tasks, 1))
    return jax.vmap(lambda k: jax.random.permutation(k, num_tasks))(
        jax.random.split(key, num_tasks)
    )
