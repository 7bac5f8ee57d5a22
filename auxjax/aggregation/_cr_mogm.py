"""CR-MOGM: a rule's weights, averaged over the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax

from auxjax._types import Number
from auxjax.aggregation._periodic import periodic


def cr_mogm(
    rule: optax.GradientTransformation,
    weights_ema: Number | Callable[[Any], Any] = 0.9,
    *,
    num_tasks: int = 2,
) -> optax.GradientTransformationExtraArgs:
    r"""Follows the moving average of a rule's weights, not the weights themselves.

        d_t = Σᵢ λᵢ∇Lᵢ,   λ_t = α λ_{t−1} + (1 − α) ŵ_t,   λ_1 = ŵ_1

    ŵ_t are the weights that the rule (MGDA, CAGrad, UPGrad, …) finds in the gradients
    of step t. They follow from one noisy batch and multiply the gradients of the same
    batch, so that the step is biased, however small it is, and may not converge to a
    Pareto-stationary point. Averaged weights hardly know the batch. In the theory α
    rises towards 1 as the learning rate η falls: `weights_ema=lambda count: 1 -
    schedule(count) / schedule(0)`.

    It is `periodic(rule, every=1, weights_ema)`; see there for which rules end in
    weights, what `where=` and heads mean, absent tasks, and for the average of weights
    that are found every k-th step only.

    Args:
      rule: Jacobian → gradient, one that ends in weights.
      weights_ema: α in [0, 1], or a schedule of it over the count of updates.
      num_tasks: T, main task included.

    Returns:
      An aggregator, Jacobian → gradient, whose state holds `weights` λ `[T]`. Price:
      the rule's and one backward pass more (its rows are not kept). Extra arguments
      are handed on to the rule.

    Raises:
      ValueError: for a rule that does not end in weights, α outside [0, 1]; from the
        update, for another number of tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.cr_mogm(auxjax.mgda(), 0.5)
      >>> state = tx.init(jnp.zeros(2))
      >>> _, state = tx.update(jnp.array([[4.0, 0.0], [0.0, 2.0]]), state)
      >>> d, state = tx.update(jnp.eye(2), state)  # ½ (0.2, 0.8) + ½ (0.5, 0.5)
      >>> [round(float(x), 3) for x in d]
      [0.35, 0.65]

    References:
      Zhou et al., *On the Convergence of Stochastic Multi-Objective Gradient
      Manipulation and Beyond*, NeurIPS 2022 (abstract; the formula as TorchJD's
      `CRMOGMWeighting` states it).

    Paper and code:
      | | |
      |---|---|
      | here | weights leaf by leaf: those of heads stay what the rule gave them |
      | TorchJD | one vector; `initial_weights` in the place of ŵ_1 |
    """
    return periodic(rule, 1, weights_ema, num_tasks=num_tasks)
