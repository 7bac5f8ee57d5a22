"""What a state takes in: numbers that are finite, or were not before."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def stays_finite(new: Any, old: Any) -> jax.Array:
    """False, entry by entry, where a number that was finite is no more."""
    if not _is_number(new):
        return jnp.ones(jnp.shape(new), bool)
    return jnp.logical_or(jnp.isfinite(new), jnp.logical_not(jnp.isfinite(old)))


def unless_spoilt(new: Any, old: Any) -> Any:
    """A new state, or all of the old one where a number of the new is not finite."""
    pairs = zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    sound = [jnp.all(stays_finite(a, b)) for a, b in pairs if _is_number(a)]
    if not sound:
        return new
    keep = jnp.all(jnp.stack(sound))
    return jax.tree.map(lambda a, b: jnp.where(keep, a, b), new, old)


def _is_number(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)
