"""Gradient descent in the plane, by every method, from many starting points."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import auxjax
from toys.problems import GCS_PROBLEMS, OLAUX_PROBLEM, Problem
from toys.words import CONVERGED

GCS_METHODS = {
    "main only": auxjax.fixed([1, 0]),
    "plain sum": auxjax.sum_tasks(),
    "GCS": auxjax.gcs(),
    "weighted GCS": auxjax.gcs(weighted=True),
}
# Four corners for OL-AUX; for GCS's Figure 2 one start in every quarter.
CORNERS = [[1, 1], [-1, 1], [-1, -1], [1, -1]]
QUARTERS = [[0.9, 0.8], [-1.6, 1.2], [-1.2, -1.0], [0.5, -1.2]]


class Runs(NamedTuple):
    """Descents from many starting points, as numpy arrays."""

    path: np.ndarray  # [starts, steps + 1, 2]
    loss: np.ndarray  # [starts, steps + 1], the main task's
    weights: np.ndarray  # [starts, steps + 1, T], of the last update


def descend(
    problem: Problem, rule: Any, starts: Any, *, steps: int, step_size: float
) -> Runs:
    """Gradient descent from every starting point at once."""
    tx = optax.chain(rule, optax.sgd(step_size))

    def step(carry, _):
        theta, state = carry
        weights = optax.tree.get(state, "weights", jnp.ones(()))
        updates, new_state = tx.update(problem.rows(theta), state, theta)
        seen = theta, problem.main(theta), weights
        return (optax.apply_updates(theta, updates), new_state), seen

    @jax.jit
    @jax.vmap
    def run(start):
        return jax.lax.scan(step, (start, tx.init(start)), length=steps + 1)[1]

    return Runs(*(np.asarray(x) for x in run(jnp.asarray(starts, float))))


def random_starts(config: Any, main: Callable) -> jax.Array:
    """`[starts, 2]` uniform in [-2, 2]², none of them converged already."""
    box = jax.random.uniform(
        jax.random.key(config.seed), (2 * config.starts, 2), minval=-2, maxval=2
    )
    return box[jax.vmap(main)(box) >= CONVERGED][: config.starts]


def run_olaux(config: Any, rule: Any) -> dict[str, Runs]:
    """Fixed weights and OL-AUX from the four corners."""
    methods = {"fixed weights": auxjax.fixed([1, 1, 1]), "OL-AUX": rule}
    run = functools.partial(descend, OLAUX_PROBLEM, starts=CORNERS, steps=config.steps)
    return {
        name: run(rule=method, step_size=config.olaux_step_size)
        for name, method in methods.items()
    }


def run_gcs(config: Any) -> dict[str, dict[str, Runs]]:
    """Every problem by every method, from `QUARTERS` and from random points."""

    def run(name, rule):
        problem = GCS_PROBLEMS[name]
        starts = [*QUARTERS, *random_starts(config, problem.main)]
        steps = config.long_steps if name == "L2 + L4" else config.steps
        return descend(problem, rule, starts, steps=steps, step_size=config.step_size)

    return {
        name: {method: run(name, rule) for method, rule in GCS_METHODS.items()}
        for name in GCS_PROBLEMS
    }


def measure(config: Any, rule: Any) -> dict[str, Any]:
    """All runs: OL-AUX's, GCS's Figure 2, Figures 8 and 9, and the long ones."""
    gcs = run_gcs(config)

    def cut(runs, starts, steps):
        return Runs(*(x[starts, : steps + 1] for x in runs))

    def part(starts):
        return {
            name: {method: cut(r, starts, config.steps) for method, r in runs.items()}
            for name, runs in gcs.items()
        }

    drawn, others = slice(len(QUARTERS)), slice(len(QUARTERS), None)
    return {
        "olaux": run_olaux(config, rule),
        "examples": part(drawn),
        "random": part(others),
        "long": {
            method: cut(runs, others, config.long_steps)
            for method, runs in gcs["L2 + L4"].items()
        },
    }
