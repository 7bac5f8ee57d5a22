"""The papers' problems in the plane: a main loss, and what stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import auxjax


class Problem(NamedTuple):
    """A main loss and what is to be chained into the optimizer beside it."""

    main: Callable[[jax.Array], jax.Array]  # [2] -> []
    rows: Callable[[jax.Array], Any]  # [2] -> a TaskJacobian, or stacked gradients


def bowl(centre: Sequence[float]) -> Callable[[jax.Array], jax.Array]:
    """θ ↦ ‖θ - centre‖²."""
    return lambda theta: jnp.sum((theta - jnp.asarray(centre, theta.dtype)) ** 2)


def half_flat(theta: jax.Array) -> jax.Array:
    """GCS's L2: a bowl on the left, a dent in a plain on the right."""
    square = jnp.sum(theta**2)
    return jnp.where(theta[0] < 0, square, 1 - jnp.exp(-2 * square))


def swirl(theta: jax.Array) -> jax.Array:
    """GCS's V: turns about the origin and pushes away from it; nobody's gradient."""
    turned = jnp.stack([-theta[1], theta[0]])
    return turned / jnp.sum(theta**2) - 2 * theta


def of_losses(*losses: Callable[[jax.Array], jax.Array]) -> Problem:
    """Losses, the main task's first: the rows come from `auxjax.task_jacobian`."""

    def rows(theta):
        return auxjax.task_jacobian(lambda x: tuple(f(x) for f in losses), theta)

    return Problem(losses[0], rows)


def of_field(main: Callable, field: Callable) -> Problem:
    """A loss and a vector field: the rules take stacked gradients `[T, 2]` as well."""
    return Problem(main, lambda x: jnp.stack([jax.grad(main)(x), field(x)]))


def alignment(problem: Problem, theta: jax.Array) -> jax.Array:
    """cos(∇L_main, auxiliary gradient or field) at one point."""
    jac = auxjax.as_jacobian(problem.rows(theta))
    norms = jac.norms()
    return jac.jvp(jac.row(0))[1] / (norms[0] * norms[1])


L1, L3, L4 = bowl((0, 0)), bowl((1, 1)), bowl((2, 0.5))
OLAUX_PROBLEM = of_losses(L1, bowl((0.5, 0.5)), lambda theta: -L1(theta))
GCS_PROBLEMS = {
    "L1 + L3": of_losses(L1, L3),
    "L1 + V": of_field(L1, swirl),
    "L2 + L4": of_losses(half_flat, L4),
}
