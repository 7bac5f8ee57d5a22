"""The toy problem of CAGrad, and where each rule takes it.

Two losses of two parameters, as in the appendix of Liu et al., *Conflict-Averse
Gradient Descent for Multi-task Learning*, arXiv 2110.14048; Nash-MTL and FAMO show
theirs on it too. In the upper half-plane (θ₂ > 0) each loss has a deep, narrow valley
that the other loss wants to leave; in the lower one both are bowls, and the Pareto
front lies at θ₂ ≈ -8. Here 21 is added to both: it moves no gradient, and keeps the
losses above zero, where the rules that take their logarithms need them.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
STEPS = 35_000
LEARNING_RATE = 1e-3
EVERY = 100  # one step in so many is kept for the figure
RAISED_BY = 21.0


def losses(params: jax.Array) -> dict[str, jax.Array]:
    """L₁ and L₂ at `params` `[2]`; 35 or so where it starts, 1 at their best."""
    x, y = params
    upper = jnp.maximum(jnp.tanh(0.5 * y), 0.0)
    lower = jnp.maximum(jnp.tanh(-0.5 * y), 0.0)

    def valley(distance):
        return jnp.log(jnp.maximum(jnp.abs(distance), 5e-6)) + 6.0

    def bowl(center):
        return ((x - center) ** 2 + 0.1 * (y + 8.0) ** 2) / 10.0 - 20.0

    first = valley(0.5 * (-x - 7.0) + jnp.tanh(y)) * upper + bowl(7.0) * lower
    second = valley(0.5 * (-x + 3.0) - jnp.tanh(y) + 2.0) * upper + bowl(-7.0) * lower
    return {"first": first + RAISED_BY, "second": second + RAISED_BY}


def on_grid(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Both losses on a grid, `[2, len(y), len(x)]`."""
    points = jnp.stack(jnp.meshgrid(jnp.asarray(x), jnp.asarray(y)), axis=-1)
    values = jax.vmap(jax.vmap(losses))(points)
    return np.stack([np.asarray(values[name]) for name in ("first", "second")])


def pareto_front(num_points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Parameters `[num_points, 2]` and losses `[num_points, 2]` along the front.

    For every weight of the bowls' sum the best θ₁ is 7 (2w - 1), whatever θ₂ is; the
    best θ₂ is looked up on a fine grid.
    """
    y = jnp.linspace(-12.0, -4.0, 2001)

    def best(w):
        x = 7.0 * (2.0 * w - 1.0)
        here = jax.vmap(lambda y: losses(jnp.stack([x, y])))(y)
        return jnp.stack(
            [x, y[jnp.argmin(w * here["first"] + (1 - w) * here["second"])]]
        )

    points = jax.vmap(best)(jnp.linspace(0.0, 1.0, num_points))
    values = jax.vmap(losses)(points)
    return np.asarray(points), np.stack(
        [np.asarray(values[name]) for name in ("first", "second")], axis=1
    )


def trajectories(
    tx: optax.GradientTransformationExtraArgs, takes: tuple[str, ...]
) -> Any:
    """The parameters on their way, `[starts, STEPS / EVERY + 1, 2]`.

    Args:
      tx: a whole optimizer, Jacobian → update.
      takes: the extra arguments that its rule needs. `"meta_losses"` is the toy's
        losses, which know no batches, and `"sample_losses"` the same with one sample a
        task.
    """
    found = _run(tx, takes, jnp.asarray(STARTS))
    return np.concatenate([np.asarray(STARTS)[:, None], np.asarray(found)], axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1))
@functools.partial(jax.vmap, in_axes=(None, None, 0))
def _run(tx, takes, start):
    import auxjax

    given = {
        "meta_losses": losses,
        "sample_losses": lambda p: {name: x[None] for name, x in losses(p).items()},
    }
    extra = {name: given[name] for name in takes}

    def step(carry, _):
        params, state = carry
        jac = auxjax.task_jacobian(losses, params)
        updates, state = tx.update(jac, state, params, **extra)
        return (optax.apply_updates(params, updates), state), None

    def many(carry, _):
        carry, _ = jax.lax.scan(step, carry, length=EVERY)
        return carry, carry[0]

    start_state = (start, tx.init(start))
    return jax.lax.scan(many, start_state, length=STEPS // EVERY)[1]
