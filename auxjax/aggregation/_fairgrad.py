"""FairGrad: α-fair shares of the gain, from the mean to the worst-off task."""

from __future__ import annotations

import functools

import numpy as np
import optax

from auxjax._types import Array, Bool, Float, Mask, Number
from auxjax.aggregation._build import Groups, from_weights
from auxjax.aggregation._checks import check_number
from auxjax.aggregation._solvers import fair_point


def fairgrad(
    alpha: Number = 2.0, *, where: Mask | None = None, groups: Groups = None
) -> optax.GradientTransformationExtraArgs:
    r"""Follows the direction whose gains are shared α-fairly among the tasks.

        d = argmax Σᵢ ⟨∇Lᵢ, d⟩^(1−α) / (1−α) on a ball,   d = Σᵢ wᵢ∇Lᵢ,   Gw = w^(−1/α)

    α = 1 is Nash's bargain (`nash_mtl`), α → 0 the sum of the gradients, α → ∞ the
    gain of the worst-off task (the direction of `mgda`).

    Args:
      alpha: how much the small gains count.
      where: the shared parameters; None: found by themselves. The others keep the
        plain sum of the rows.
      groups: which of them are aggregated together, each group with a Gramian of its
        own: None: all; `"leaf"`: each leaf alone; a pytree of labels that is a prefix
        of the parameters, or a function that makes one.

    Returns:
      An aggregator, Jacobian → gradient. Price: T backward passes and about ten
      linear systems of size T. It takes `task_mask=` `[T]`: absent tasks have no
      share.

    Raises:
      ValueError: for α ≤ 0 or infinite.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.fairgrad(alpha=2.0)
      >>> params = jnp.zeros(2)
      >>> rows = jnp.array([[8.0, 0.0], [0.0, 1.0]])
      >>> updates, _ = tx.update(rows, tx.init(params), params)
      >>> updates.round(3)  # w = (64^(-2/3), 1)
      Array([0.5, 1. ], dtype=float32)

    References:
      Ban & Ji, *Fair Resource Allocation in Multi-Task Learning*, ICML 2024,
      arXiv:2402.15638, Eq. 4, Algorithm 1.

    Paper and code:

      | | |
      |---|---|
      | here | Gw = w^(−1/α), by Newton's method on a convex function |
      | the authors | `scipy.optimize.least_squares` on the same equation; d times T, |
      | | for losses that are summed, then ‖d‖ clipped to 1 |
      | TorchJD | the authors' equation and solver, neither times T nor clipped; α = 0 |
      | | gives 1/T |
    """
    check_number("alpha", alpha, "finite and above 0", lambda x: (x > 0) & (x < np.inf))
    weights = functools.partial(fairgrad_weights, alpha=alpha)
    return from_weights(weights, where=where, groups=groups)


def fairgrad_weights(
    gramian: Float[Array, "T T"],
    present: Bool[Array, " T"] | None = None,
    *,
    alpha: Number = 2.0,
) -> Float[Array, " T"]:
    r"""The weights of `fairgrad`: the w > 0 with Gw = w^(−1/α).

    Args:
      gramian: G = JJᵀ, positive semi-definite.
      present: the task mask; absent tasks get 0. None: all tasks are present.
      alpha: how much the small gains count. Far beyond 10 the weights of tasks that
        are well off are smaller than float32 can hold; they count as zero.

    Returns:
      w. A zero row has no gain to share and gets 0, as does everyone for a zero
      Gramian. Equal rows get equal weights. At a Pareto-stationary point (rows that
      oppose each other) no w exists: it grows until Gw is lost in rounding.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> auxjax.fairgrad_weights(jnp.diag(jnp.array([64.0, 1.0])), alpha=2.0).round(4)
      Array([0.0625, 1.    ], dtype=float32)

    References:
      Ban & Ji, arXiv:2402.15638, Eq. 4.
    """
    return fair_point(gramian, 1 / alpha, present)
