"""What one ray meets, where that can be computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.data._rooms_scene import random_room
from auxjax.data._rooms_trace import camera_rays, trace
from auxjax.data._rooms_types import (
    BALLS,
    BOXES,
    CEILING,
    CYLINDERS,
    FLOOR,
    FURNITURE,
    NUM_MATERIALS,
    NUM_SOLIDS,
    OBJECT,
    WALL,
    Camera,
    Light,
    Materials,
    Room,
    Solids,
    Window,
)

# The camera of these tests is at (0, −2, 1), looks along y, and x is to its right.
EYE = (0.0, -2.0, 1.0)
AXES = np.array([(1, 0, 0), (0, 0, 1), (0, -1, 0)]).T  # columns: right, up, backwards
look = jax.jit(trace)


def room(solid=None, center=(0, 1, 1), half=(0.5, 0.5, 0.5), angle=0.0, window=0.0):
    """6 × 6 × 3 metres, grey, with a lamp above the camera and one solid or none."""
    centers = np.full((3, NUM_SOLIDS), 100, np.float32)
    halves = np.ones((3, NUM_SOLIDS), np.float32)
    turn = np.zeros((2, NUM_SOLIDS), np.float32)
    turn[0] = 1
    if solid is not None:
        centers[:, solid], halves[:, solid] = center, half
        turn[:, solid] = np.cos(angle), np.sin(angle)
    grey = jnp.full((3, NUM_MATERIALS), 0.5)
    return Room(
        half=jnp.array([3.0, 3.0, 1.5]),
        solids=Solids(
            jnp.array(centers),
            jnp.array(halves),
            jnp.array(turn),
            jnp.arange(NUM_SOLIDS) == (-1 if solid is None else solid),
        ),
        materials=Materials(
            grey, grey, jnp.zeros(NUM_MATERIALS, jnp.int32), 0 * grey, 0 * grey
        ),
        camera=Camera(jnp.array(EYE), jnp.array(AXES, jnp.float32), jnp.float32(2)),
        light=Light(jnp.array([0, -2, 2.5]), jnp.ones(3), jnp.float32(0.4)),
        window=Window(
            jnp.int32(1),
            jnp.float32(window),
            jnp.array([0.0, 1.0]),
            jnp.array([0.5, 0.25]),
        ),
    )


def rays(*ends):
    """Rays from the eye that reach these points after one multiple of depth."""
    way = np.array(ends, np.float32) - np.array(EYE, np.float32)
    return jnp.array((way / way[:, 1:2]).T)


def test_an_empty_room():
    view = look(room(), rays((0, 3, 1), (2, 3, 1), (0, 3, -1.5), (0, 3, 5)))
    assert view.label.tolist() == [WALL, WALL, FLOOR, CEILING]
    # The wall is 5 m away, also for an oblique ray: depth lies along the axis. The
    # floor: 1 m below, at a slope of 2.5 m in 5. The ceiling: 2 m above, 4 m in 5.
    np.testing.assert_allclose(view.depth, [5, 5, 2, 2.5], rtol=1e-6)
    # Right, up, backwards: the wall faces the camera, the floor looks up.
    normals = [(0, 0, 1), (0, 0, 1), (0, 1, 0), (0, -1, 0)]
    np.testing.assert_allclose(view.normal.T, normals, atol=1e-6)


def test_rays_that_run_along_an_axis_of_the_room():
    """Components of a ray that are tiny or zero, of either sign."""
    tiny = np.float32([0, 1e-9, -1e-9, 1e-6, -1e-6])
    directions = np.stack([tiny, np.ones(5), -tiny]).astype(np.float32)
    view = look(room(), jnp.array(directions))
    np.testing.assert_allclose(view.depth, 5, rtol=1e-5)
    assert set(view.label.tolist()) == {WALL}


def test_a_box_and_the_wall_beside_it():
    solid = BOXES.start
    view = look(room(solid), rays((0, 0.5, 1), (0.49, 0.5, 1), (0.51, 0.5, 1)))
    assert view.label.tolist() == [FURNITURE, FURNITURE, WALL]
    np.testing.assert_allclose(view.depth, [2.5, 2.5, 5], rtol=1e-6)
    np.testing.assert_allclose(view.normal[:, 0], [0, 0, 1], atol=1e-6)


def test_a_box_that_is_turned():
    """By 45°, its edge is nearest: √½ m before its middle, both faces oblique."""
    view = look(
        room(BOXES.start, angle=np.pi / 4), rays((0.001, 0.3, 1), (-0.001, 0.3, 1))
    )
    np.testing.assert_allclose(view.depth, 3 - np.sqrt(0.5), atol=2e-3)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        view.normal.T, [(half, 0, half), (-half, 0, half)], atol=1e-6
    )


def test_a_ball():
    view = look(
        room(BALLS.start, half=(0.5, 0.5, 0.5)), rays((0, 1, 1), (1e3, 1, 1), (0, 1, 9))
    )
    assert view.label[0] == OBJECT
    assert view.label[1:].tolist() == [WALL, CEILING]
    assert view.depth[0] == pytest.approx(2.5)
    # An oblique ray with slope s meets it where (t s)² + (3 − t)² = ¼.
    slope = 0.1
    view = look(room(BALLS.start), jnp.array([[slope], [1.0], [0.0]]))
    t = (3 - np.sqrt(9 - (1 + slope**2) * 8.75)) / (1 + slope**2)
    assert view.depth[0] == pytest.approx(t, rel=1e-5)
    expected = np.array([slope * t, 0, 3 - t]) / 0.5
    np.testing.assert_allclose(view.normal[:, 0], expected, atol=1e-5)


def test_a_cylinder_from_the_side_and_from_above():
    table = room(CYLINDERS.start, center=(0, 1, 0.25), half=(0.5, 0.5, 0.25))
    view = look(table, rays((0, 0.5, 0.25), (0, 1, 0.5), (0, 0.5, 0.6)))
    assert view.label.tolist() == [FURNITURE] * 2 + [FURNITURE]
    np.testing.assert_allclose(view.depth[:2], [2.5, 3], rtol=1e-5)
    np.testing.assert_allclose(view.normal[:, 0], [0, 0, 1], atol=1e-5)
    np.testing.assert_allclose(view.normal[:, 1], [0, 1, 0], atol=1e-6)


def test_what_is_not_active_is_not_there():
    empty = room(BOXES.start)
    empty = empty._replace(
        solids=empty.solids._replace(active=jnp.zeros(NUM_SOLIDS, bool))
    )
    assert look(empty, rays((0, 0.5, 1))).depth[0] == pytest.approx(5)


def test_the_window_is_unknown_and_only_in_its_own_wall():
    ends = rays((0.49, 3, 1), (0.51, 3, 1), (0, 3, 1.26), (3, 0, 1))
    assert look(room(window=1.0), ends).label.tolist() == [-1, WALL, WALL, WALL]
    assert look(room(window=-1.0), ends).label.tolist() == [WALL] * 4
    assert look(room(window=0.0), ends).label.tolist() == [WALL] * 4


def test_what_stands_before_the_window_hides_it():
    view = look(room(BOXES.start, window=1.0), rays((0, 3, 1)))
    assert view.label.tolist() == [FURNITURE]


def test_lamp_and_shadow():
    """Lambert's law by hand, and the floor behind a box in its shadow."""
    point = np.array([0, 1.2, 0])
    lit = look(room(), rays(point)).color[:, 0]
    to_lamp = np.array([0, -2, 2.5]) - point
    square = to_lamp @ to_lamp
    lamp = 1.2 * to_lamp[2] / np.sqrt(square) / (1 + 0.08 * square)
    np.testing.assert_allclose(lit, 0.5 * (0.4 + lamp), rtol=1e-4)
    # A small box on the way from the lamp, above the way from the eye.
    middle = point + 0.5 * to_lamp
    shaded = look(room(BOXES.start, middle, (0.1, 0.1, 0.1)), rays(point))
    assert shaded.label.tolist() == [FLOOR]
    np.testing.assert_allclose(shaded.color[:, 0], 0.5 * 0.4, rtol=1e-4)


def test_rays_go_through_the_middles_of_pixels():
    camera = room().camera
    way = np.asarray(camera_rays(camera, 2, 4)).reshape(3, 2, 4)
    # 2 m wide at 1 m: pixels of half a metre; x right, z up, y the depth.
    np.testing.assert_allclose(way[0, 0], [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(way[2, :, 0], [0.25, -0.25])
    np.testing.assert_allclose(way[1], 1)


def test_a_seed_is_one_room_under_x64():
    key = jax.random.key(3)
    plain = jax.jit(random_room)(key)
    with jax.enable_x64(True):
        double = jax.jit(random_room)(key)
        seen = jax.eval_shape(trace, double, jnp.zeros((3, 4), jnp.float32))
    assert (seen.depth.dtype, seen.color.dtype) == (jnp.float32, jnp.float32)
    for one, two in zip(jax.tree.leaves(plain), jax.tree.leaves(double), strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
