"""Advantages and value targets from a rollout. Time is the leading axis."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from auxjax._types import Array, Bool, Float
from auxjax.auxiliary import masked_mean


def advantages(
    r_t: Float[Array, "T N"],
    v_tm1: Float[Array, "T N"],
    v_t: Float[Array, "T N"],
    terminated_t: Bool[Array, "T N"],
    truncated_t: Bool[Array, "T N"],
    *,
    discount: float,
    gae_lambda: float,
) -> Float[Array, "T N"]:
    r"""Generalised advantage estimates that bootstrap where an episode was cut off.

        δ_t = r_t + γ (1 − terminated_t) v_t − v_{t−1}
        A_t = δ_t + γ λ (1 − terminated_t)(1 − truncated_t) A_{t+1}

    A truncated step keeps the value of what would have come next; only the recursion
    stops there, because the next row belongs to another episode.

    Args:
      r_t: rewards of the steps.
      v_tm1: values of the observations acted on.
      v_t: values of the true successors (before any reset).
      terminated_t: the episode ended.
      truncated_t: the episode was cut off.
      discount: γ.
      gae_lambda: λ; 1 gives n-step returns, 0 one-step ones.

    Returns:
      The advantages; `advantages + v_tm1` are the value targets.

    Example:
      >>> no = jnp.zeros((2, 1), bool)
      >>> v, next_v = jnp.zeros((2, 1)), jnp.array([[0.0], [4.0]])
      >>> a = advantages(jnp.ones((2, 1)), v, next_v, no, no,
      ...                discount=0.5, gae_lambda=1.0)
      >>> a[:, 0].tolist()  # 1 + ½ · 3, 1 + ½ · 4
      [2.5, 3.0]

    References:
      Schulman et al., *High-Dimensional Continuous Control Using Generalized Advantage
      Estimation*, arXiv 1506.02438, Eq. 16.
    """
    goes_on = 1.0 - terminated_t.astype(r_t.dtype)
    same_episode = goes_on * (1.0 - truncated_t.astype(r_t.dtype))
    delta_t = r_t + discount * goes_on * v_t - v_tm1

    def back(a_tp1, now):
        delta, same = now
        a_t = delta + discount * gae_lambda * same * a_tp1
        return a_t, a_t

    _, a_t = jax.lax.scan(
        back, jnp.zeros_like(delta_t[0]), (delta_t, same_episode), reverse=True
    )
    return a_t


def standardised(
    advantage: Float[Array, " B"], valid: Bool[Array, " B"]
) -> Float[Array, " B"]:
    """Advantages with mean 0 and standard deviation 1 over the valid ones.

    A single one stays as it is: standardised it would be 0, and teach nothing.
    """
    centred = advantage - masked_mean(advantage, valid)
    deviation = jnp.sqrt(masked_mean(jnp.square(centred), valid))
    return jnp.where(jnp.sum(valid) > 1, centred / (deviation + 1e-8), advantage)
