"""Generalised advantage estimates from the values that a rollout came with."""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._types import Array, Bool, Float
from auxjax.rl._returns import advantages


def gae(
    rewards: Float[Array, "T N"],
    values: Float[Array, "T N"],
    last_value: Float[Array, " N"],
    terminated: Bool[Array, "T N"],
    truncated: Bool[Array, "T N"],
    *,
    discount: float,
    gae_lambda: float,
    next_values: Float[Array, "T N"] | None = None,
) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
    r"""Advantages and value targets, where the next row holds the next value.

        δ_t = r_t + γ (1 − terminated_t) V_{t+1} − V_t
        A_t = δ_t + γ λ (1 − terminated_t)(1 − truncated_t) A_{t+1}

    A truncated step is worth the value of its true successor, which the next row (the
    first of another episode) is not: give `next_values` where episodes are cut.

    Args:
      rewards: of the steps, time first.
      values: V of the observations acted on.
      last_value: V of the observation after the last step.
      terminated: the episode ended.
      truncated: the episode was cut off.
      discount: γ.
      gae_lambda: λ; 1 gives n-step returns, 0 one-step ones.
      next_values: V of the true successors; None: `values` moved by one step.

    Returns:
      The advantages, and the value targets A + V.

    Example:
      >>> import jax.numpy as jnp
      >>> no = jnp.zeros((2, 1), bool)
      >>> a, target = gae(jnp.ones((2, 1)), jnp.zeros((2, 1)), jnp.array([4.0]), no, no,
      ...                 discount=0.5, gae_lambda=1.0)
      >>> target[:, 0].tolist()  # 1 + ½ (1 + ½ · 4), 1 + ½ · 4
      [2.5, 3.0]

    References:
      Schulman et al., *High-Dimensional Continuous Control Using Generalized Advantage
      Estimation*, arXiv 1506.02438, Eq. 16.
    """
    if next_values is None:
        next_values = jnp.concatenate([values[1:], last_value[None]])
    advantage = advantages(
        rewards,
        values,
        next_values,
        terminated,
        truncated,
        discount=discount,
        gae_lambda=gae_lambda,
    )
    return advantage, advantage + values
