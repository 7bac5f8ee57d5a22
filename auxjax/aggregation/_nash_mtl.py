"""Nash-MTL: the tasks bargain for a direction."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Mask, Number
from auxjax.aggregation._build import Groups, from_weights
from auxjax.aggregation._checks import check_number
from auxjax.aggregation._solvers import fair_point, length


def nash_mtl(
    *,
    max_norm: Number | None = None,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Follows the direction on which the tasks agree in Nash's bargaining game.

        d = argmax Σᵢ log⟨∇Lᵢ, d⟩ on a ball,    d = Σᵢ αᵢ∇Lᵢ,    Gα = 1/α

    It does not change when a loss is multiplied by a number, and neither does its
    length: ‖d‖² = αᵀGα = T. The learning rate alone sets the step.

    Args:
      max_norm: the largest ‖d‖; None: no clipping, ‖d‖ = √T.
      where: the shared parameters; None: found by themselves. The others keep the
        plain sum of the rows.
      groups: which of them are aggregated together, each group with a Gramian of its
        own: None: all; `"leaf"`: each leaf alone; a pytree of labels that is a prefix
        of the parameters, or a function that makes one.

    Returns:
      An aggregator, Jacobian → gradient. Price: T backward passes and about ten
      linear systems of size T. It takes `task_mask=` `[T]`: absent tasks do not
      bargain.

    Raises:
      ValueError: for max_norm ≤ 0.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.nash_mtl()
      >>> params = jnp.zeros(2)
      >>> rows = jnp.array([[4.0, 0.0], [0.0, 0.5]])
      >>> updates, _ = tx.update(rows, tx.init(params), params)
      >>> updates.round(3)  # α = (1/4, 2)
      Array([1., 1.], dtype=float32)

    References:
      Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik, Fetaya, *Multi-Task
      Learning as a Bargaining Game*, ICML 2022, arXiv:2202.01017, Claim 3.1,
      Algorithm 1.

    Paper and code:

      | | |
      |---|---|
      | here | Gα = 1/α, by Newton's method, to rounding |
      | the authors | up to 20 convex-concave steps, each a cone programme, from the α |
      | | of before; ‖d‖ clipped to 1, as by `max_norm=1.0` here; α may be kept for |
      | | some steps |
      | TorchJD | the authors' code, which stops when Gα = 1/α to 1e-3 |
    """
    if max_norm is not None:
        check_number("max_norm", max_norm, "positive", lambda x: x > 0)
    weights = functools.partial(nash_mtl_weights, max_norm=max_norm)
    return from_weights(weights, where=where, groups=groups)


def nash_mtl_weights(
    gramian: Float[Array, "T T"],
    present: Bool[Array, " T"] | None = None,
    *,
    max_norm: Number | None = None,
) -> Float[Array, " T"]:
    r"""The weights of `nash_mtl`: the α > 0 with Gα = 1/α.

    Args:
      gramian: G = JJᵀ, positive semi-definite.
      present: the task mask; absent tasks get 0. None: all tasks are present.
      max_norm: the largest ‖Jᵀα‖; None: no clipping.

    Returns:
      α. A zero row cannot bargain and gets 0, as does everyone for a zero Gramian.
      Equal rows get equal weights. At a Pareto-stationary point (rows that oppose
      each other) no α exists: it grows until Gα is lost in rounding, ‖Jᵀα‖ with it
      goes to 0.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> auxjax.nash_mtl_weights(jnp.diag(jnp.array([16.0, 0.25]))).round(3)
      Array([0.25, 2.  ], dtype=float32)

    References:
      Navon et al., arXiv:2202.01017, Claim 3.1.
    """
    alpha = fair_point(gramian, 1.0, present)
    if max_norm is None:
        return alpha
    norm = length(gramian.astype(alpha.dtype), alpha)
    largest = jnp.asarray(max_norm, alpha.dtype)
    return alpha * (largest / jnp.maximum(norm, largest))
