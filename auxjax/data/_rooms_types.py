"""What a room is made of, as arrays of fixed sizes.

Every room has the same count of everything, so that a thousand of them are one `vmap`;
what a room does not have is there all the same, with `active` false. Lengths are
metres; x and y lie in the floor, z points up, the origin is the middle of the floor.
Everything is float32, under `jax_enable_x64` too: a seed is one data set.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from auxjax._types import Array, Bool, Float, Int

# What a pixel can show. Furniture is what things stand on; an object stands on it.
WALL, FLOOR, CEILING, FURNITURE, OBJECT = range(5)

# The solids, in this order: boxes, upright cylinders, balls. Furniture comes first in
# each family: four pieces of up to three boxes; a round table's top and its leg.
SLOTS, PIECES, TABLE, OBJECTS = 4, 3, 2, 3
BOXES = slice(0, SLOTS * PIECES + OBJECTS)
CYLINDERS = slice(BOXES.stop, BOXES.stop + TABLE + OBJECTS)
BALLS = slice(CYLINDERS.stop, CYLINDERS.stop + OBJECTS)
NUM_SOLIDS = BALLS.stop
LABELS = (
    *(FURNITURE,) * (SLOTS * PIECES),
    *(OBJECT,) * OBJECTS,
    *(FURNITURE,) * TABLE,
    *(OBJECT,) * (2 * OBJECTS),
)

# The materials: three of the room itself, then one a solid.
PLAIN, STRIPES, CHECKS, MARBLE = range(4)
NUM_MATERIALS = 3 + NUM_SOLIDS


class Solids(NamedTuple):
    """Boxes, cylinders and balls, each inside a box that is turned about z."""

    center: Float[Array, "3 solids"]
    half: Float[Array, "3 solids"]  # half extents; a radius twice or three times
    turn: Float[Array, "2 solids"]  # cosine and sine of the angle about z
    active: Bool[Array, " solids"]


class Materials(NamedTuple):
    """How surfaces look: a pattern of two colours."""

    color: Float[Array, "3 materials"]
    other: Float[Array, "3 materials"]
    pattern: Int[Array, " materials"]
    wave: Float[Array, "3 materials"]  # radians a metre, along each local axis
    phase: Float[Array, "3 materials"]


class Camera(NamedTuple):
    """A pinhole: where it is, which way it looks, how wide it sees."""

    eye: Float[Array, " 3"]
    axes: Float[Array, "3 3"]  # columns: right, up and backwards
    width: Float[Array, ""]  # of the picture, in metres at a depth of one metre


class Light(NamedTuple):
    """A lamp and what light there is everywhere."""

    position: Float[Array, " 3"]
    color: Float[Array, " 3"]
    ambient: Float[Array, ""]


class Window(NamedTuple):
    """A rectangle of a wall behind which nothing is known."""

    axis: Int[Array, ""]  # 0 or 1: the axis that its wall cuts
    sign: Float[Array, ""]  # the side on which that wall is; 0 for no window
    center: Float[Array, " 2"]  # along the wall, and up
    half: Float[Array, " 2"]


class Room(NamedTuple):
    """All of it."""

    half: Float[Array, " 3"]  # half of length, width and height
    solids: Solids
    materials: Materials
    camera: Camera
    light: Light
    window: Window


class Draws:
    """Hands out the numbers of one long draw from U(0, 1), each of them once.

    A `jax.random` call for each quantity would say the same; but a program with thirty
    of them takes six times as long to compile.

    Args:
      numbers: how many there are to hand out is static, and so is who gets which.
    """

    def __init__(self, numbers: Float[Array, " n"]):
        self._numbers, self._used = numbers, 0

    def uniform(self, shape: tuple[int, ...], low: Any = 0, high: Any = 1) -> Array:
        """Uniform numbers; the bounds may differ from entry to entry."""
        first, self._used = self._used, self._used + math.prod(shape)
        share = self._numbers[first : self._used].reshape(shape)
        low, high = (
            jnp.broadcast_to(jnp.asarray(bound, jnp.float32), shape)
            for bound in (low, high)
        )
        return low + share * (high - low)

    def whole(self, shape: tuple[int, ...], stop: int) -> Array:
        """Uniform whole numbers below `stop`."""
        return jnp.floor(self.uniform(shape, 0, stop)).astype(jnp.int32)


def direction(angle: Array) -> Array:
    """Cosine and sine, stacked in front."""
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])
