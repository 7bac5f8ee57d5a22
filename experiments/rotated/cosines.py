"""The cosine of the main and the rotated gradient: of a batch, and of all images."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import auxjax
from lab.problem import Problem

POINTS = 60  # of a training, where all images are looked at
DRAWN = 20  # batches that are drawn there, at the same parameters


class Cosines(NamedTuple):
    """What was measured along a training with equal weights, leading axis seeds."""

    steps: np.ndarray  # [points], before which all images were looked at
    full: np.ndarray  # [seeds, points], cosine of the gradients on all training images
    drawn: np.ndarray  # [seeds, points, DRAWN], on batches at the same parameters
    batch: np.ndarray  # [seeds, steps], on the batch that the step was made with


def measure(problem: Problem, config: Any) -> Cosines:
    """Trains with equal weights, all seeds together, and takes the cosines.

    Args:
      problem: of `rotated.problem`.
      config: `batch_size`, `epochs`, `seeds`, `first_seed`.
    """
    epoch_steps = problem.samples // config.batch_size
    every = max(1, config.epochs * epoch_steps // POINTS)
    points = config.epochs * epoch_steps // every
    steps = points * every
    tx = optax.chain(auxjax.sum_tasks(), problem.optimizer(steps))

    def jacobian(params, data, rows) -> Any:
        batch = jax.tree.map(lambda x: x[rows], data)
        losses = lambda p: problem.losses(p, None, batch, None)[0]  # noqa: E731
        return auxjax.task_jacobian(losses, params)

    def step(carry, rows, data):
        params, state = carry
        jac = jacobian(params, data, rows)
        updates, state = tx.update(jac, state, params)
        return (optax.apply_updates(params, updates), state), cosine(jac)

    def point(carry, given, data):
        key, rows = given
        params, everything = carry[0], jnp.arange(problem.samples)
        full = cosine(jacobian(params, data, everything))
        size = (config.batch_size,)

        def draw(key):
            chosen = jax.random.choice(key, problem.samples, size, replace=False)
            return cosine(jacobian(params, data, chosen))

        drawn = jax.lax.map(draw, jax.random.split(key, DRAWN))
        carry, batch = jax.lax.scan(lambda c, r: step(c, r, data), carry, rows)
        return carry, (full, drawn, batch)

    def train(seed, data):
        start, order, draws = jax.random.split(jax.random.key(seed), 3)
        params, _ = problem.init(start)
        rows = shuffled(order, problem.samples, config.batch_size, config.epochs)
        rows = rows[:steps].reshape(points, every, config.batch_size)
        given = jax.random.split(draws, points), rows
        carry = params, tx.init(params)
        return jax.lax.scan(lambda c, x: point(c, x, data), carry, given)[1]

    seeds = config.first_seed + np.arange(config.seeds)
    found = jax.jit(jax.vmap(train, in_axes=(0, None)))(seeds, problem.train)
    full, drawn, batch = map(np.asarray, found)
    return Cosines(
        every * np.arange(points), full, drawn, batch.reshape(len(seeds), -1)
    )


def cosine(jac: auxjax.TaskJacobian) -> jax.Array:
    """Of the two gradients in the trunk, which both tasks share; as `gcs` sees it."""
    gramian = jac.gramian(jac.shared_mask())
    return gramian[0, 1] / jnp.sqrt(gramian[0, 0] * gramian[1, 1])


def shuffled(key: jax.Array, samples: int, batch_size: int, epochs: int) -> jax.Array:
    """`[steps, batch_size]`: which samples each step sees, shuffled in every epoch."""
    keys = jax.random.split(key, epochs)
    order = jax.vmap(lambda key: jax.random.permutation(key, samples))(keys)
    whole = samples // batch_size * batch_size
    return order[:, :whole].reshape(-1, batch_size)


def agreement(cosines: Cosines) -> np.ndarray:
    """`[seeds]`, percent: how many of the batches drawn have all images' sign."""
    same = np.sign(cosines.drawn) == np.sign(cosines.full)[..., None]
    return 100 * same.mean(axis=(1, 2))


def negative(values: np.ndarray) -> np.ndarray:
    """`[seeds]`, percent: how many are below 0, where the gate would be shut."""
    return 100 * (values < 0).reshape(len(values), -1).mean(axis=1)
