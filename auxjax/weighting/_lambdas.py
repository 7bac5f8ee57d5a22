"""How Auto-λ's weights follow from the numbers that are learned: λ of z."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from auxjax.weighting._tasks import dealt_out

PARAMETRISATIONS = ("raw", "softmax", "exp")


def lambdas(
    parametrisation: str, z: jax.Array, among: jax.Array, before: jax.Array
) -> jax.Array:
    r"""λ `[T]` of z `[T]`, to be differentiated.

        raw      λᵢ = zᵢ
        softmax  λ = T softmax(z)
        exp      λᵢ = exp(zᵢ − z₀), so that the first task's is 1

    Tasks that are not among those that look ahead keep their λ, whatever z is: by
    softmax the others share what is left of T.

    Args:
      parametrisation: one of `PARAMETRISATIONS`.
      z: what is learned.
      among: `[T]` (bool), the tasks that look ahead.
      before: λ of the last step.
    """
    if parametrisation == "raw":
        return z
    if parametrisation == "softmax":
        whole = jnp.asarray(z.shape[0], z.dtype)
        return dealt_out(z, before, among, whole)
    return jnp.where(among, jnp.exp(z - z[0]), before)
