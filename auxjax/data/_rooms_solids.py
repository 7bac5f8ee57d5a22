"""What stands in a random room: furniture in its quarters, objects on it and beside."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Array, Float
from auxjax.data._rooms_types import (
    OBJECTS,
    PIECES,
    SLOTS,
    TABLE,
    Draws,
    Solids,
    direction,
)

_KINDS = 5  # cabinet, table, sofa, bed, chair
_CLEAR = 0.3  # metres of air around the camera


def random_solids(
    draws: Draws, half: Float[Array, " 3"], eye: Float[Array, " 3"]
) -> Solids:
    """Draws all solids of a room; those in which the camera would be are left out."""
    quarters = jnp.array([(-1, -1), (-1, 1), (1, -1), (1, 1)], jnp.float32)
    furniture, furniture_tops = jax.vmap(
        lambda numbers, quarter: _furniture(Draws(numbers), half, eye, quarter),
        out_axes=(-2, -1),
    )(draws.uniform((SLOTS, 8)), quarters)
    furniture = jax.tree.map(lambda x: x.reshape(*x.shape[:-2], -1), furniture)
    table, table_top = _round_table(draws, eye)
    # Where something can be put: x, y, height and radius of each top.
    tops = jnp.concatenate([furniture_tops, table_top[:, None]], axis=1)
    objects = _objects(draws, half, eye, tops)
    boxes, cylinders, balls = (
        jax.tree.map(lambda x, i=i: x[..., i * OBJECTS : (i + 1) * OBJECTS], objects)
        for i in range(3)
    )
    ordered = [furniture, boxes, table, cylinders, balls]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=-1), *ordered)


def turned(
    vectors: Float[Array, "3 n"], turn: Float[Array, "2 ..."]
) -> Float[Array, "3 n"]:
    """Vectors turned about z by one angle, or one each, of that cosine and sine."""
    (x, y, z), (cosine, sine) = vectors, turn
    return jnp.stack([cosine * x - sine * y, sine * x + cosine * y, z])


def _is_clear(spot, radius, eye):
    return jnp.hypot(spot[0] - eye[0], spot[1] - eye[1]) > radius + _CLEAR


def _furniture(draws, half, eye, quarter):
    """A piece of furniture, and the place on top of it."""
    kind = draws.whole((), _KINDS)
    extents, top = (x[kind] for x in _kinds(draws))
    low, high = extents[:, 0].T, extents[:, 1].T
    # Turned by a multiple of 90°, more or less: furniture stands along walls.
    spread, skew = (0.35, 0.8), 0.25
    place = draws.uniform((3,), [*spread[:1] * 2, -skew], [*spread[1:] * 2, skew])
    angle = draws.whole((), 4).astype(jnp.float32) * (np.pi / 2) + place[2]
    turn = jnp.broadcast_to(direction(angle)[:, None], (2, PIECES))
    # In its own quarter of the room, and not through the wall.
    reach = jnp.hypot(jnp.max(jnp.abs(high[0])), jnp.max(jnp.abs(low[1])))
    spot = quarter * jnp.clip(place[:2] * half[:2], 0, jnp.maximum(half[:2] - reach, 0))
    center = turned((low + high) / 2, turn)
    center = center + jnp.append(spot, jnp.float32(0))[:, None]
    there = _is_clear(spot, reach, eye)
    active = (high[2] > low[2]) & there[None]
    height = jnp.where(there, top[0], 0)  # what stood on it stands on the floor then
    return (
        Solids(center, (high - low) / 2, turn, active),
        jnp.stack([*spot, height, top[1]]),
    )


def _kinds(draws):
    """Two corners of each box `[kinds, 3, 2, 3]`; height and radius of each top.

    The front of each looks along y. A cabinet is one box; a table a board on two; a
    sofa has a back and an arm, a bed a headboard and a pillow, a chair one leg.
    """
    a, b, c = draws.uniform((3,), 0, 1)
    none = (0, 0, 0, 0, 0, 0)
    x, y, z = 0.35 + 0.45 * a, 0.2 + 0.12 * b, 0.7 + 1.3 * c
    cabinet = [(-x, x, -y, y, 0, z), none, none], (z, y)
    x, y, z = 0.5 + 0.4 * a, 0.35 + 0.2 * b, 0.65 + 0.15 * c
    board = (-x, x, -y, y, z - 0.06, z)
    left = (-x + 0.02, -x + 0.1, -y, y, 0, z - 0.06)
    right = (x - 0.1, x - 0.02, -y, y, 0, z - 0.06)
    table = [board, left, right], (z, y)
    x, y, z = 0.6 + 0.4 * a, 0.38 + 0.1 * b, 0.38 + 0.1 * c
    back = (-x, x, -y - 0.15, -y, 0, z + 0.4)
    arm = (x, x + 0.15, -y - 0.15, y, 0, z + 0.2)
    sofa = [(-x, x, -y, y, 0, z), back, arm], (z, y)
    x, y, z = 0.45 + 0.35 * a, 0.95 + 0.1 * b, 0.35 + 0.2 * c
    head = (-x, x, -y - 0.08, -y, 0, z + 0.5)
    pillow = (-x + 0.1, x - 0.1, -y + 0.05, -y + 0.45, z, z + 0.12)
    bed = [(-x, x, -y, y, 0, z), head, pillow], (z, x)
    x, z = 0.22 + 0.06 * a, 0.42 + 0.08 * b
    back = (-x, x, -x - 0.05, -x, z - 0.06, z + 0.4 + 0.15 * c)
    leg = (-0.05, 0.05, -0.05, 0.05, 0, z - 0.06)
    chair = [(-x, x, -x, x, z - 0.06, z), back, leg], (z, x)
    kinds = [cabinet, table, sofa, bed, chair]
    ends = [end for boxes, _ in kinds for box in boxes for end in box]
    ends = jnp.stack([jnp.asarray(end, jnp.float32) for end in ends])
    # x0 x1 y0 y1 z0 z1 to two corners.
    extents = ends.reshape(_KINDS, PIECES, 3, 2).swapaxes(2, 3)
    return extents, jnp.stack([jnp.stack(top) for _, top in kinds])


def _round_table(draws, eye):
    """A disc on a leg near the middle, in every second room; and the place on it."""
    x, y, radius, height, there = draws.uniform(
        (5,), [-0.6, -0.6, 0.35, 0.4, -1], [0.6, 0.6, 0.6, 0.75, 1]
    )
    active = (there > 0) & _is_clear((x, y), radius, eye)
    thick, thin = jnp.float32(0.03), jnp.float32(0.06)
    leg = height / 2 - thick
    solids = Solids(
        jnp.stack([x, x, y, y, height - thick, leg]).reshape(3, TABLE),
        jnp.stack([radius, thin, radius, thin, thick, leg]).reshape(3, TABLE),
        jnp.broadcast_to(jnp.array([[1], [0]], jnp.float32), (2, TABLE)),
        jnp.broadcast_to(active, (TABLE,)),
    )
    return solids, jnp.stack([x, y, jnp.where(active, height, 0), radius])


def _objects(draws, half, eye, tops):
    """Boxes, cylinders, balls, each on one of the tops or the floor; one ball hangs."""
    count = 3 * OBJECTS
    smallest = [(0.08, 0.08, 0.06), (0.07, 0, 0.1), (0.1, 0, 0)]
    largest = [(0.22, 0.22, 0.22), (0.17, 0, 0.28), (0.24, 0, 0)]
    bounds = (np.repeat(ends, OBJECTS, axis=0).T for ends in (smallest, largest))
    first, second, third = draws.uniform((3, count), *bounds)
    family = np.repeat(np.arange(3), OBJECTS)
    half_x, half_y = first, jnp.where(family == 0, second, first)
    half_z = jnp.where(family == 2, first, third)
    # A third of them stand on the floor.
    choice = draws.whole((count,), tops.shape[1] * 3 // 2 + 1)
    on_floor = choice >= tops.shape[1]
    x, y, height, radius = tops[:, jnp.where(on_floor, 0, choice)]
    aside = draws.uniform((2, count), -0.6, 0.6) * radius[None]
    spot = jnp.where(
        on_floor[None],
        draws.uniform((2, count), -0.85, 0.85) * half[:2, None],
        jnp.stack([x, y]) + aside,
    )
    hanging = 2 * half[2] - draws.uniform((count,), 0.3, 0.6)
    z = jnp.where(on_floor, 0, height) + half_z
    z = jnp.where(np.arange(count) == count - 1, hanging, z)
    there = draws.uniform((count,)) < 0.85
    return Solids(
        jnp.stack([*spot, z]),
        jnp.stack([half_x, half_y, half_z]),
        direction(draws.uniform((count,), 0, 2 * np.pi)),
        there & _is_clear(spot, jnp.hypot(half_x, half_y), eye),
    )
