"""MGDA: the shortest vector in the convex hull of the gradients."""

from __future__ import annotations

import optax

from auxjax._types import Array, Bool, Float, Mask
from auxjax.aggregation._build import Groups, from_weights
from auxjax.aggregation._solvers import min_norm_point


def mgda(
    *, where: Mask | None = None, groups: Groups = None
) -> optax.GradientTransformationExtraArgs:
    r"""Follows the shortest convex combination of the gradients.

        d = Σᵢ wᵢ∇Lᵢ,   w = argmin ‖Σᵢ wᵢ∇Lᵢ‖²  subject to  w ≥ 0, Σᵢ wᵢ = 1

    Then ⟨∇Lᵢ, d⟩ ≥ ‖d‖² for every task: −d descends them all alike, and d = 0 exactly
    where the parameters are Pareto-stationary.

    Args:
      where: the shared parameters; None: found by themselves. The others keep the
        plain sum of the rows.
      groups: which of them are aggregated together, each group with a Gramian of its
        own: None: all; `"leaf"`: each leaf alone; a pytree of labels that is a prefix
        of the parameters, or a function that makes one.

    Returns:
      An aggregator, Jacobian → gradient. Price: T backward passes and at most about T
      linear systems of size T, mostly a handful. It takes `task_mask=` `[T]`: absent
      tasks are left out of the hull.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.mgda()
      >>> params = jnp.zeros(2)
      >>> rows = jnp.array([[4.0, 0.0], [0.0, 2.0]])
      >>> updates, _ = tx.update(rows, tx.init(params), params)
      >>> [round(float(x), 3) for x in updates]  # w = (0.2, 0.8)
      [0.8, 1.6]

    References:
      Désidéri, *Multiple-Gradient Descent Algorithm (MGDA) for Multiobjective
      Optimization*, C. R. Acad. Sci. Paris 350, 2012. Sener & Koltun, *Multi-Task
      Learning as Multi-Objective Optimization*, NeurIPS 2018, arXiv:1810.04650, Eq. 3.

    Paper and code:

      | | |
      |---|---|
      | here | the exact solution, by an active-set method |
      | the authors | Frank-Wolfe, up to 250 steps; gradients may be normalised by |
      | | their lengths or losses first (`scale_by_…` does that here) |
      | TorchJD | Frank-Wolfe, up to 100 steps: stops short of the solution |
    """
    return from_weights(mgda_weights, where=where, groups=groups)


def mgda_weights(
    gramian: Float[Array, "T T"], present: Bool[Array, " T"] | None = None
) -> Float[Array, " T"]:
    r"""The weights of `mgda`: argmin wᵀGw over the simplex.

    Args:
      gramian: G = JJᵀ, positive semi-definite.
      present: the task mask; absent tasks get 0. None: all tasks are present.

    Returns:
      w ≥ 0 with Σw = 1. A zero row takes (with its like) all the weight, since d = 0
      is then the solution; equal rows get equal weights; opposing rows weights in
      inverse proportion to their lengths. A zero Gramian gives 1/T each.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> w = auxjax.mgda_weights(jnp.array([[16.0, 0.0], [0.0, 4.0]]))
      >>> [round(float(x), 3) for x in w]  # the short gradient counts more
      [0.2, 0.8]

    References:
      Désidéri 2012; Sener & Koltun, arXiv:1810.04650, Eq. 3.
    """
    return min_norm_point(gramian, present)
