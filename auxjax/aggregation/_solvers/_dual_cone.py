"""Projection onto the cone of directions that conflict with no gradient."""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._types import Array, Bool, Float, Shaped
from auxjax.aggregation._solvers._bounded import bounded_qp
from auxjax.aggregation._solvers._prepare import prepare


def check_regularisation(regularisation: float) -> None:
    """A finite number, not below zero."""
    if not 0 <= regularisation < float("inf"):
        raise ValueError(
            f"`regularisation` should be finite and at least 0. Found {regularisation}."
        )


def project_onto_dual_cone(
    gramian: Shaped[Array, "T T"],
    weights: Float[Array, " T"],
    present: Bool[Array, " T"] | None = None,
    *,
    regularisation: float = 0.0,
) -> Float[Array, " T"]:
    r"""Solves min vᵀGv subject to v ≥ u, exactly.

    Jᵀv is the closest point to Jᵀu of the cone {d : ⟨∇Lᵢ, d⟩ ≥ 0 for every i}
    (Quinton & Rey 2024, Proposition 1).

    Args:
      gramian: G = JJᵀ.
      weights: u.
      present: the task mask; absent tasks get 0. None: all are present.
      regularisation: ρ; if not 0, G / tr G + ρI stands in the place of G.

    Returns:
      v.
    """
    gramian, _, mask = prepare(gramian, present)
    if regularisation:
        trace = jnp.trace(gramian)
        gramian = gramian / jnp.where(trace > 0, trace, jnp.ones_like(trace))
        gramian = gramian + jnp.diag(mask * regularisation)
    return bounded_qp(gramian, jnp.zeros_like(mask), mask * weights.astype(mask.dtype))
