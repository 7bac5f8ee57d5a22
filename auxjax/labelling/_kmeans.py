"""k-means inside each main class: labels that no network and no human made."""

from __future__ import annotations

import jax
import jax.core
import jax.numpy as jnp

from auxjax._types import Array, Float, Int, Key
from auxjax.labelling._hierarchy import Hierarchy, check_labels


def kmeans(
    key: Key[Array, ""],
    points: Float[Array, "n D"],
    labels: Int[Array, " n"],
    hierarchy: Hierarchy,
    *,
    iterations: int = 20,
) -> Float[Array, "K D"]:
    """ψ centres for each class's own points: k-means++, then Lloyd's iterations.

    All classes at once, with fixed shapes: a point sees only its class's ψ centres. A
    centre that loses all its points stays where it is. A class with fewer different
    points than ψ has centres that coincide, and uses the first of them.

    Args:
      key: of the first centres.
      points: pixels or features.
      labels: the main labels.
      hierarchy: ψ centres per class.
      iterations: of Lloyd's algorithm.

    Returns:
      The centres, those of class c at ψc, …, ψc + ψ − 1.

    Raises:
      ValueError: `iterations` is below 1; where the values are at hand, labels out of
        range or a class without any.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from auxjax.labelling import Hierarchy
      >>> points = jnp.array([[0.0], [1.0], [8.0], [9.0], [5.0], [7.0]])
      >>> labels = jnp.array([0, 0, 0, 0, 1, 1])
      >>> centres = kmeans(jax.random.key(0), points, labels, Hierarchy(2, 2))
      >>> jnp.sort(centres[:2, 0]).tolist(), jnp.sort(centres[2:, 0]).tolist()
      ([0.5, 8.5], [5.0, 7.0])

    References:
      Arthur, Vassilvitskii, *k-means++: The Advantages of Careful Seeding* (2007).
    """
    if iterations < 1:
        raise ValueError(f"`iterations` should be at least 1. Found {iterations}.")
    if not isinstance(labels, jax.core.Tracer):
        check_labels(hierarchy, labels)
    start = _first_centres(key, points, labels, hierarchy)

    def lloyd(_, centres):
        nearest = nearest_centre(points, labels, centres, hierarchy)
        number = jax.ops.segment_sum(
            jnp.ones_like(points[:, 0]), nearest, hierarchy.num_labels
        )
        total = jax.ops.segment_sum(points, nearest, hierarchy.num_labels)
        mean = total / jnp.maximum(number, 1)[:, None]
        return jnp.where((number > 0)[:, None], mean, centres)

    return jax.lax.fori_loop(0, iterations, lloyd, start)


def nearest_centre(
    points: Float[Array, "n D"],
    labels: Int[Array, " n"],
    centres: Float[Array, "K D"],
    hierarchy: Hierarchy,
) -> Int[Array, " n"]:
    """The label of the nearest of the class's own centres.

    Args:
      points: pixels or features.
      labels: the main labels.
      centres: from `kmeans`.
      hierarchy: the blocks.

    Returns:
      Auxiliary labels, int32.

    Example:
      >>> centres = jnp.array([[0.0], [9.0], [5.0], [7.0]])  # two of either class
      >>> points, labels = jnp.array([[1.0], [8.0], [5.5]]), jnp.array([0, 0, 1])
      >>> nearest_centre(points, labels, centres, Hierarchy(2, 2)).tolist()
      [0, 1, 2]
    """
    distance = hierarchy.block(_square_distances(points, centres), labels)
    return hierarchy.inside(jnp.argmin(distance, axis=-1), labels)


def _square_distances(points: Array, centres: Array) -> jax.Array:
    """‖x − c‖², `[n, K]`, by one matrix product."""
    squares = jnp.sum(jnp.square(points), axis=1)[:, None]
    others = jnp.sum(jnp.square(centres), axis=1)[None]
    return jnp.maximum(squares - 2 * points @ centres.T + others, 0)


def _first_centres(key, points, labels, hierarchy: Hierarchy) -> jax.Array:
    """k-means++: each next centre a point drawn with probability ∝ D², in each class.

    A draw is the largest of log D² + Gumbel noise, so that all classes draw at once.
    """
    own = labels[None].astype(jnp.int32) == jnp.arange(
        hierarchy.classes, dtype=jnp.int32
    ).reshape(-1, 1)
    centres = []
    distance = jnp.ones_like(points[:, 0])
    for one in jax.random.split(key, hierarchy.psi):
        noise = jax.random.gumbel(one, distance.shape, distance.dtype)
        # Points that are a centre already can win only where all the others are too.
        score = jnp.log(jnp.maximum(distance, jnp.finfo(distance.dtype).tiny)) + noise
        chosen = points[jnp.argmax(jnp.where(own, score[None], -jnp.inf), axis=1)]
        centres.append(chosen)
        new = jnp.sum(jnp.square(points - chosen[labels]), axis=1)
        distance = new if len(centres) == 1 else jnp.minimum(distance, new)
    table = jnp.stack(centres, axis=1)
    return table.reshape(hierarchy.num_labels, -1)
