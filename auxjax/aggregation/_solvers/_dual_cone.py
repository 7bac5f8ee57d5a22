"""Projection onto the cone of directions that conflict with no gradient."""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._types import Array, Bool, Float, Number, Shaped
from auxjax.aggregation._solvers._bounded import bounded_qp
from auxjax.aggregation._solvers._prepare import prepare


def project_onto_dual_cone(
    gramian: Shaped[Array, "T T"],
    weights: Float[Array, " T"],
    present: Bool[Array, " T"] | None = None,
    *,
    regularisation: Number = 0.0,
) -> Float[Array, " T"]:
    r"""Solves min vᵀGv subject to v ≥ u, exactly.

    Jᵀv is the closest point to Jᵀu of the cone {d : ⟨∇Lᵢ, d⟩ ≥ 0 for every i}
    (Quinton & Rey 2024, Proposition 1).

    Args:
      gramian: G = JJᵀ.
      weights: u.
      present: the task mask; absent tasks get 0. None: all are present.
      regularisation: ρ; G / tr G + ρI stands in the place of G, which makes no
        difference where ρ is 0.

    Returns:
      v.
    """
    gramian, _, mask = prepare(gramian, present)
    trace = jnp.trace(gramian)
    gramian = gramian / jnp.where(trace > 0, trace, jnp.ones_like(trace))
    gramian += jnp.diag(mask * jnp.asarray(regularisation, mask.dtype))
    return bounded_qp(gramian, jnp.zeros_like(mask), mask * weights.astype(mask.dtype))
