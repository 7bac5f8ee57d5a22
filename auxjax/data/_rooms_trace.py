"""Looking into a room: one ray per pixel, and the first thing it meets.

Arrays are `[..., rays]`, so that the compiler's vectors run along the rays. All shapes
are convex: a ray is inside one for an interval of distances, which is where it is
inside each of the two or three simpler shapes that make it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from auxjax._types import Array, Bool, Float, Int
from auxjax.data._rooms_solids import turned
from auxjax.data._rooms_types import (
    BALLS,
    BOXES,
    CEILING,
    CHECKS,
    CYLINDERS,
    FLOOR,
    LABELS,
    MARBLE,
    NUM_SOLIDS,
    STRIPES,
    WALL,
    Camera,
    Light,
    Materials,
    Room,
    Solids,
    Window,
)

_AWAY = 1e-3  # metres in front of a surface where its ray to the lamp begins
_FADE = 0.08  # light falls to a half within 3.5 m
_LAMP = 1.2


class View(NamedTuple):
    """What the rays see, `[..., rays]`."""

    color: Float[Array, "3 rays"]
    label: Int[Array, " rays"]
    depth: Float[Array, " rays"]
    normal: Float[Array, "3 rays"]


class _Hit(NamedTuple):
    """Where rays end."""

    point: Float[Array, "3 rays"]
    local: Float[Array, "3 rays"]  # in the frame of the thing that is hit
    normal: Float[Array, "3 rays"]
    flat: Bool[Array, "3 rays"]  # the local axis that a flat face is orthogonal to
    surface: Int[Array, " rays"]  # a solid, or NUM_SOLIDS for the room
    side: Int[Array, " rays"]  # of the room: wall, floor or ceiling


def camera_rays(camera: Camera, height: int, width: int) -> Float[Array, "3 rays"]:
    """Directions through the middles of the pixels, one metre of depth long.

    Row by row from above, as pixels lie in memory. Since each advances one metre of
    depth, the multiple at which it ends *is* the depth.
    """
    pixel = camera.width / width
    x = (jnp.arange(width, dtype=jnp.float32) + (0.5 - width / 2)) * pixel
    y = (jnp.arange(height, dtype=jnp.float32) + (0.5 - height / 2)) * pixel
    x, y = jnp.meshgrid(x, -y)
    backwards = jnp.full((height * width,), -1, jnp.float32)
    return _rotate(camera.axes, jnp.stack([x.ravel(), y.ravel(), backwards]))


def trace(room: Room, rays: Float[Array, "3 rays"]) -> View:
    """What there is along each ray from the camera's eye.

    Args:
      room: where.
      rays: directions; see `camera_rays`.

    Returns:
      Colours that may exceed 1; the labels, −1 in the window; multiples of the ray;
      unit normals in the camera's frame (right, up, backwards).
    """
    eye = jnp.broadcast_to(room.camera.eye[:, None], rays.shape)
    distances = _distances(room.solids, eye, rays)
    exit_ = _exit(room.half, eye, rays)
    nearest = jnp.argmin(distances, axis=0).astype(jnp.int32)
    depth = jnp.min(distances, axis=0)
    surface = jnp.where(depth < exit_, nearest, NUM_SOLIDS)
    depth = jnp.minimum(depth, exit_)
    hit = _look_closer(room, eye + depth[None] * rays, surface)
    color = _shade(room, hit, _color(room.materials, hit))
    labels = jnp.array([*LABELS, WALL], jnp.int32)[surface]
    labels = jnp.where(surface == NUM_SOLIDS, hit.side, labels)
    outside = _in_window(room.window, hit)
    sky = jnp.clip(hit.point[2] / 2 - 0.4, 0, 1)[None] * _column(0.4, 0.2, 0)
    return View(
        color=jnp.where(outside[None], _column(1, 1, 1) - sky, color),
        label=jnp.where(outside, -1, labels),
        depth=depth,
        normal=_rotate(room.camera.axes.T, hit.normal),
    )


def _distances(solids: Solids, origin: Array, rays: Array) -> Array:
    """Multiples of the rays at which they enter each solid, `[solids, rays]`."""

    def family(enter, which):
        def one(solid):
            o = _into(solid.turn, origin - solid.center[:, None])
            near, far = enter(o, _into(solid.turn, rays), solid.half)
            hits = (near < far) & (near > 0) & solid.active
            return jnp.where(hits, near, jnp.inf)

        some = jax.tree.map(lambda x: x[..., which], solids)
        return jax.vmap(one, in_axes=-1)(some)

    return jnp.concatenate(
        [family(_box, BOXES), family(_cylinder, CYLINDERS), family(_ball, BALLS)]
    )


def _exit(half, origin, rays):
    """Multiples of the rays at which they leave the room."""
    above_floor = jnp.stack([origin[0], origin[1], origin[2] - half[2]])
    walls = jnp.where(rays < 0, -half[:, None], half[:, None])
    return jnp.min((walls - above_floor) / _not_zero(rays), axis=0)


def _box(origin, rays, half):
    slope = 1 / _not_zero(rays)
    one, two = (-half[:, None] - origin) * slope, (half[:, None] - origin) * slope
    near, far = jnp.minimum(one, two), jnp.maximum(one, two)
    return jnp.max(near, axis=0), jnp.min(far, axis=0)


def _cylinder(origin, rays, half):
    near, far = _round(origin[:2], rays[:2], half[0])
    bottom, top = _box(origin[2:], rays[2:], half[2:])
    return jnp.maximum(near, bottom), jnp.minimum(far, top)


def _ball(origin, rays, half):
    return _round(origin, rays, half[0])


def _round(origin, rays, radius):
    """Inside |o + t r| < radius: between the roots of a quadratic equation."""
    a = jnp.maximum(jnp.sum(rays * rays, axis=0), 1e-12)
    b = jnp.sum(origin * rays, axis=0)
    c = jnp.sum(origin * origin, axis=0) - radius * radius
    square = b * b - a * c
    root = jnp.sqrt(jnp.maximum(square, 0))
    return jnp.where(square > 0, (-b - root) / a, jnp.inf), (-b + root) / a


def _look_closer(room: Room, point: Array, surface: Array) -> _Hit:
    """Normals and local coordinates where rays end.

    Scaled by the half extents, the local point says itself on which face it lies.
    """
    middle = room.half * jnp.array([0, 0, 1], jnp.float32)
    ahead = jnp.array([1, 0], jnp.float32)
    whole_room = (middle, room.half, ahead)  # one box more, the last
    center, half, turn = (
        jnp.concatenate([solids, of_room[:, None]], axis=1)[:, surface]
        for solids, of_room in zip(room.solids[:3], whole_room, strict=True)
    )
    local = _into(turn, point - center)
    scaled = local / half
    size = jnp.abs(scaled)
    axis = jnp.argmax(size, axis=0)
    face = axis[None] == jnp.arange(3)[:, None]
    is_ball = (surface >= BALLS.start) & (surface < BALLS.stop)
    is_cylinder = (surface >= CYLINDERS.start) & (surface < CYLINDERS.stop)
    is_side = is_cylinder & (jnp.hypot(scaled[0], scaled[1]) > size[2])
    upright = jnp.stack([scaled[0], scaled[1], jnp.zeros_like(scaled[2])])
    cap = jnp.arange(3)[:, None] == 2
    face = jnp.where(is_cylinder[None], cap, face)
    normal = jnp.where(face, jnp.sign(scaled), 0)
    normal = jnp.where(is_side[None], upright, normal)
    normal = jnp.where(is_ball[None], scaled, normal)
    inside = surface == NUM_SOLIDS  # the room is a box that is seen from within
    normal = normal * jnp.where(inside, -1, 1).astype(jnp.float32)[None]
    normal = normal / jnp.sqrt(jnp.sum(normal * normal, axis=0))[None]
    end = jnp.where(local[2] > 0, CEILING, FLOOR)
    return _Hit(
        point=point,
        local=local,
        normal=turned(normal, turn),
        flat=face & ~(is_ball | is_side)[None],
        surface=surface,
        side=jnp.where(axis == 2, end, WALL).astype(jnp.int32),
    )


def _color(materials: Materials, hit: _Hit) -> Array:
    """The pattern where the rays end."""
    index = jnp.where(hit.surface == NUM_SOLIDS, hit.side, hit.surface + 3)
    color, other, wave, phase = (
        x[:, index]
        for x in (materials.color, materials.other, materials.wave, materials.phase)
    )
    pattern = materials.pattern[index]
    waves = jnp.sin(wave * hit.local + phase)
    # Upright stripes on walls; boards on the floor.
    along = hit.local[0] + jnp.where(hit.flat[2], 0, hit.local[1])
    stripes = jnp.sin(wave[0] * along + phase[0])
    checks = jnp.prod(jnp.where(hit.flat, 1, waves), axis=0)
    twisted = jnp.sum(wave * hit.local, axis=0) / 2 + 2 * jnp.sum(waves, axis=0)
    share = jnp.select(
        [pattern == STRIPES, pattern == CHECKS, pattern == MARBLE],
        [0.5 + 4 * stripes, 0.5 + 8 * checks, 0.5 + 0.5 * jnp.sin(twisted)],
        jnp.zeros_like(stripes),
    )
    return color + jnp.clip(share, 0, 1)[None] * (other - color)


def _shade(room: Room, hit: _Hit, color: Array) -> Array:
    """Lambert's law for one lamp with hard shadows, and light from everywhere."""
    light: Light = room.light
    to_lamp = light.position[:, None] - hit.point
    square = jnp.sum(to_lamp * to_lamp, axis=0)
    cosine = jnp.sum(to_lamp * hit.normal, axis=0) / jnp.sqrt(square)
    start = hit.point + _AWAY * hit.normal
    free = jnp.min(_distances(room.solids, start, to_lamp), axis=0) > 1
    lamp = jnp.where(free, jnp.maximum(cosine, 0), 0) * _LAMP / (1 + _FADE * square)
    everywhere = light.ambient * (0.9 + 0.1 * hit.normal[2])
    return color * (everywhere[None] + light.color[:, None] * lamp[None])


def _in_window(window: Window, hit: _Hit) -> Array:
    across = window.axis == 0
    through = jnp.where(across, hit.point[0], hit.point[1])
    along = jnp.where(across, hit.point[1], hit.point[0])
    face = jnp.where(across, hit.flat[0], hit.flat[1])
    in_wall = (hit.surface == NUM_SOLIDS) & face & (through * window.sign > 0)
    aside = jnp.abs(along - window.center[0]) < window.half[0]
    aloft = jnp.abs(hit.point[2] - window.center[1]) < window.half[1]
    return in_wall & aside & aloft


def _into(turn: Array, vectors: Array) -> Array:
    """From the room's frame to a local one; `turn` is one angle, or one a ray."""
    cosine, sine = turn
    return turned(vectors, jnp.stack([cosine, -sine]))


def _rotate(matrix, vectors):
    """A 3×3 matrix times columns, written out: a matmul may round to less."""
    return jnp.sum(matrix[:, :, None] * vectors[None], axis=1)


def _column(*numbers):
    return jnp.array(numbers, jnp.float32)[:, None]


def _not_zero(x):
    """Not to be divided by zero; the sign stays, which says where a ray goes."""
    return jnp.where(x < 0, jnp.minimum(x, -1e-6), jnp.maximum(x, 1e-6))
