"""A random room: its size, what stands in it, its looks, its light and its camera."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import Array, Key
from auxjax.data._rooms_solids import random_solids
from auxjax.data._rooms_types import (
    NUM_MATERIALS,
    NUM_SOLIDS,
    PIECES,
    SLOTS,
    Camera,
    Draws,
    Light,
    Materials,
    Room,
    Window,
)

_NUMBERS = 640  # random ones that a room takes, or some more


def random_room(key: Key[Array, ""]) -> Room:
    """Draws a room.

    Args:
      key: of everything in it.

    Returns:
      The room, 3.6 to 6.4 m in each direction and 2.3 to 3.1 m high.

    Example:
      >>> import jax
      >>> jax.eval_shape(random_room, jax.random.key(0)).light.position
      ShapeDtypeStruct(shape=(3,), dtype=float32)
    """
    draws = Draws(jax.random.uniform(key, (_NUMBERS,), jnp.float32))
    half = draws.uniform((3,), [1.8, 1.8, 1.15], [3.2, 3.2, 1.55])
    camera = _camera(draws, half)
    return Room(
        half=half,
        solids=random_solids(draws, half, camera.eye),
        materials=_materials(draws),
        camera=camera,
        light=_light(draws, half),
        window=_window(draws, half),
    )


def _camera(draws, half):
    """On an ellipse about the middle of the room, looking across it."""
    angle, reach, height, roll, width = draws.uniform(
        (5,), [0, 0.6, 1.1, -0.1, 1.2], [2 * np.pi, 0.85, 1.8, 0.1, 1.7]
    )
    x, y = reach * half[0] * jnp.cos(angle), reach * half[1] * jnp.sin(angle)
    eye = jnp.stack([x, y, height])
    x, y, z = draws.uniform((3,), [-0.4, -0.4, 0.4], [0.4, 0.4, 1.5])
    back = _unit(eye - jnp.stack([x * half[0], y * half[1], z]))
    level = _unit(jnp.cross(jnp.array([0, 0, 1], jnp.float32), back))
    above = jnp.cross(back, level)
    right = jnp.cos(roll) * level + jnp.sin(roll) * above
    up = jnp.cos(roll) * above - jnp.sin(roll) * level
    return Camera(eye, jnp.stack([right, up, back], axis=1), width)


def _light(draws, half):
    """A lamp below the ceiling, white to yellow."""
    return Light(
        position=draws.uniform((3,), [-0.6, -0.6, 1.7], [0.6, 0.6, 1.9]) * half,
        color=draws.uniform((3,), [1.0, 0.85, 0.65], [1.2, 1.1, 1.1]),
        ambient=draws.uniform((), 0.3, 0.5),
    )


def _window(draws, half):
    """In four rooms of five, in any wall: the camera may look the other way."""
    axis = draws.whole((), 2)
    sign = jnp.array([-1, 1, -1, 1, 0], jnp.float32)[draws.whole((), 5)]
    along = half[1 - axis]
    place, width, low, high = draws.uniform(
        (4,), [-0.5, 0.4, 0.7, 1.8], [0.5, 1.0, 1.1, 2.2]
    )
    center = jnp.stack([place * along, (low + high) / 2])
    return Window(axis, sign, center, jnp.stack([width, (high - low) / 2]))


def _materials(draws):
    """Any hue for anything: what a surface is cannot be told from its colour alone."""
    n = NUM_MATERIALS
    hue, saturation, value = draws.uniform((3, n), 0, 1)
    # Walls, floor and ceiling are paler than what stands in front of them, as they are
    # in most rooms; the ranges overlap.
    palest = jnp.array([0.35, 0.55, 0.15] + [0.75] * NUM_SOLIDS, jnp.float32)
    darkest = jnp.array([0.55, 0.35, 0.75] + [0.3] * NUM_SOLIDS, jnp.float32)
    color = _rgb(hue, saturation * palest, darkest + (0.95 - darkest) * value)
    # A room's own patterns have less contrast, ceilings least.
    faintest = jnp.array([[0.6, 0.5, 0.8] + [0.45] * NUM_SOLIDS], jnp.float32)
    other = color * draws.uniform((1, n), faintest, 0.88)
    tint = draws.uniform((3, n), 0.88, 1.12)
    # Patterns by room part: no checks on ceilings, hardly a plain floor.
    odds = np.array(
        [[4, 3, 0, 3], [1, 3, 3, 3], [6, 0, 0, 3]] + [[4, 2, 1, 3]] * NUM_SOLIDS
    )
    limits = jnp.asarray(np.cumsum(odds, axis=1) / odds.sum(axis=1)[:, None])
    above = draws.uniform((n, 1)) >= limits.astype(jnp.float32)
    pattern = jnp.sum(above, axis=1).astype(jnp.int32)
    # Waves of a room's own surfaces are longer than those of what stands in it.
    longest = np.array([1.2, 1.0, 1.5] + [0.5] * NUM_SOLIDS)
    length = draws.uniform((n,), 0.25 * longest, longest)
    lean = draws.uniform((3, n), 0.5, 1.0) * (2 * np.pi / length)[None]
    materials = Materials(
        color, other * tint, pattern, lean, draws.uniform((3, n), 0, 2 * np.pi)
    )
    # The boxes of one piece of furniture are of one material.
    index = np.arange(n)
    boxes = np.arange(SLOTS * PIECES)
    index[3 : 3 + SLOTS * PIECES] = 3 + boxes - boxes % PIECES
    return jax.tree.map(lambda x: x[..., index], materials)


def _rgb(hue, saturation, value):
    """Hue, saturation and value to red, green and blue, stacked in front."""
    turns = hue[None] + jnp.array([[0], [2 / 3], [1 / 3]], jnp.float32)
    ramp = jnp.clip(jnp.abs((turns % 1) * 6 - 3) - 1, 0, 1)
    return value[None] * (1 - saturation[None] * (1 - ramp))


def _unit(vector):
    return vector / jnp.sqrt(jnp.sum(vector * vector))
