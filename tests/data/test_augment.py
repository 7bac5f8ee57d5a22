"""Augmentations against pictures in which one can see what was done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from auxjax.data._augment import augment_scenes, random_crop_flip, rotate
from auxjax.data._scenes import Scenes

COUNT, HEIGHT, WIDTH = 16, 8, 12
rows, columns = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")


def stack(array):
    return np.repeat(array[None], COUNT, axis=0)


@pytest.fixture
def scenes():
    """Every pixel tells where it was: (row, column) in each of the truths."""
    number = rows * WIDTH + columns
    invalid = (columns > 3) & (columns < 6) & (rows > 2)
    depth = np.where(invalid, 0, 1 + number)[..., None]
    angle = number / 200
    normal = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=-1)
    return Scenes(
        images=stack(np.stack([rows, columns, number], axis=-1).astype(np.float32)),
        label=stack(np.where(invalid, -1, number).astype(np.int32)),
        depth=stack(depth.astype(np.float32)),
        normal=stack(np.where(invalid[..., None], 0, normal).astype(np.float32)),
    )


def test_scale_one_without_flips_changes_nothing(scenes):
    out = augment_scenes(jax.random.key(0), scenes, scales=(1.0,), flip=False)
    for after, before in zip(out[:4], scenes[:4], strict=True):
        assert after.dtype == before.dtype
        np.testing.assert_array_equal(after, before)
    assert out.part is None


def test_every_second_picture_is_mirrored(scenes):
    out = augment_scenes(jax.random.key(0), scenes, scales=[1.0])
    mirrored = np.asarray(out.label[:, 0, 0] != scenes.label[:, 0, 0])
    assert 3 < mirrored.sum() < COUNT - 3
    for field in ("images", "label", "depth"):
        after, before = getattr(out, field), getattr(scenes, field)
        np.testing.assert_array_equal(after[~mirrored], before[~mirrored])
        np.testing.assert_array_equal(after[mirrored], before[mirrored][:, :, ::-1])
    np.testing.assert_array_equal(out.normal[~mirrored], scenes.normal[~mirrored])
    expected = scenes.normal[mirrored][:, :, ::-1] * np.float32([-1, 1, 1])
    np.testing.assert_array_equal(out.normal[mirrored], expected)


def test_a_crop_is_magnified(scenes):
    """Linear ramps stay linear, half as steep, and every pixel is from the crop."""
    out = augment_scenes(jax.random.key(1), scenes, scales=[2.0], flip=False)
    image = np.asarray(out.images)
    # Away from the border, where the last pixel goes on for a quarter of one.
    inner = image[:, 1:-1, 1:-1]
    np.testing.assert_allclose(np.diff(inner[..., 0], axis=1), 0.5, atol=1e-4)
    np.testing.assert_allclose(np.diff(inner[..., 1], axis=2), 0.5, atol=1e-4)
    np.testing.assert_allclose(np.diff(inner[..., 0], axis=2), 0, atol=1e-4)
    assert image[..., 0].min() >= 0
    assert image[..., 0].max() <= HEIGHT - 1
    # The crops are in different places, in both directions.
    corners = image[:, 1, 1, :2]
    assert (np.ptp(corners, axis=0) > [2, 3]).all()


def test_labels_depth_and_normals_are_the_nearest_pixels(scenes):
    out = augment_scenes(jax.random.key(1), scenes, scales=[2.0], flip=False)
    image, label = np.asarray(out.images), np.asarray(out.label)
    valid = label >= 0
    # Which pixel the image is centred on, by its own ramps; ties are left out.
    where = image[..., :2]
    tie = np.abs(where - np.floor(where) - 0.5).min(-1) < 1e-3
    nearest = np.round(where[..., 0]) * WIDTH + np.round(where[..., 1])
    np.testing.assert_array_equal(label[valid & ~tie], nearest[valid & ~tie])
    np.testing.assert_array_equal(out.depth[..., 0][valid], (1 + label[valid]) / 2)
    np.testing.assert_allclose(out.normal[..., 0][valid], np.sin(label[valid] / 200))


@pytest.mark.parametrize("scales", [(1.0, 1.2, 1.5), (1.37,)])
def test_invalid_stays_invalid_and_nothing_is_made_up(scenes, scales):
    out = augment_scenes(jax.random.key(2), scenes, scales=scales)
    invalid = np.asarray(out.label) < 0
    assert 0 < invalid.mean() < 0.5
    np.testing.assert_array_equal(out.depth[..., 0] == 0, invalid)
    np.testing.assert_array_equal(np.abs(out.normal).sum(-1) == 0, invalid)
    # What is valid was so before: one of the numbers there were, by one of the scales.
    number = np.asarray(out.label)[~invalid]
    ratio = (1 + number) / np.asarray(out.depth)[~invalid][:, 0]
    apart = np.abs(ratio[:, None] - np.array(scales)[None])
    assert apart.min(axis=1).max() < 1e-5
    assert (apart.min(axis=0) < 1e-5).all()
    length = np.linalg.norm(np.asarray(out.normal)[~invalid], axis=-1)
    np.testing.assert_allclose(length, 1, rtol=1e-6)


def test_disparity_grows_where_depth_shrinks(scenes):
    options = {"scales": [2.0], "flip": False}
    key = jax.random.key(3)
    depth = augment_scenes(key, scenes, **options).depth
    disparity = augment_scenes(key, scenes, disparity=True, **options).depth
    np.testing.assert_array_equal(disparity, 4 * depth)


def test_parts_go_with_their_labels_and_normals_may_be_missing(scenes):
    scenes = scenes._replace(normal=None, part=scenes.label + 1)
    out = augment_scenes(jax.random.key(4), scenes)
    assert out.normal is None
    np.testing.assert_array_equal(out.part, out.label + 1)


def test_a_key_is_an_augmentation_also_inside_jit(scenes):
    one = augment_scenes(jax.random.key(5), scenes)
    two = jax.jit(augment_scenes)(jax.random.key(5), scenes)
    other = augment_scenes(jax.random.key(6), scenes)
    np.testing.assert_array_equal(one.label, two.label)
    np.testing.assert_allclose(one.images, two.images, rtol=1e-5, atol=1e-5)
    assert (np.asarray(one.label) != np.asarray(other.label)).mean() > 0.3


@pytest.mark.parametrize("scales", [[], [0.9], [1.0, 0.5]])
def test_scales_that_would_look_beyond_the_picture(scenes, scales):
    with pytest.raises(ValueError, match=r"each at least 1. Found"):
        augment_scenes(jax.random.key(0), scenes, scales=scales)


def test_crops_are_shifts_of_the_padded_image():
    count, size, padding = 64, 6, 2
    image = np.arange(1, 1 + size * size * 3).reshape(size, size, 3).astype(np.uint8)
    images = np.repeat(image[None], count, axis=0)
    out = random_crop_flip(jax.random.key(0), jnp.array(images), padding=padding)
    assert out.dtype == jnp.uint8
    around = np.pad(image, [(padding, padding), (padding, padding), (0, 0)])
    shifts = {
        (y, x, mirror): around[y : y + size, x : x + size][:, :: -1 if mirror else 1]
        for y in range(2 * padding + 1)
        for x in range(2 * padding + 1)
        for mirror in (False, True)
    }
    found = []
    for crop in np.asarray(out):
        same = [name for name, shift in shifts.items() if (shift == crop).all()]
        assert len(same) == 1
        found += same
    assert {y for y, _, _ in found} == set(range(5))
    assert {x for _, x, _ in found} == set(range(5))
    assert 16 < sum(mirror for _, _, mirror in found) < 48


def test_no_padding_and_no_flip_is_the_image():
    images = jax.random.normal(jax.random.key(0), (3, 5, 4, 1))
    out = random_crop_flip(jax.random.key(1), images, padding=0, flip=False)
    np.testing.assert_array_equal(out, images)
    with pytest.raises(ValueError, match=r"`padding` should be at least 0. Found -1"):
        random_crop_flip(jax.random.key(1), images, padding=-1)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, 360, -90, 90.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_right_angles_are_exact(degrees, dtype):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype(dtype)
    out = rotate(jnp.array(images), degrees)
    assert out.dtype == dtype
    turns = round(degrees / 90)
    np.testing.assert_array_equal(out, np.rot90(images, turns, axes=(1, 2)))


@pytest.mark.parametrize("degrees", [45, 135, -30.5, 89.999])
@pytest.mark.parametrize("shape", [(7, 7), (6, 9)])
def test_other_angles_as_scipy(degrees, shape):
    images = np.random.default_rng(1).uniform(size=(2, *shape, 2)).astype(np.float32)
    out = rotate(jnp.array(images), degrees)
    expected = scipy.ndimage.rotate(
        *(images.astype(np.float64), degrees),
        axes=(2, 1),  # counter-clockwise where rows point down
        reshape=False,
        order=1,
        mode="grid-constant",
    )
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_turned_almost_by_a_right_angle():
    images = np.random.default_rng(2).uniform(size=(1, 6, 6, 1)).astype(np.float32)
    almost = rotate(jnp.array(images), 89.9999)
    np.testing.assert_allclose(almost, np.rot90(images, axes=(1, 2)), atol=1e-4)


def test_bytes_are_rounded():
    """A line of three pixels by 45°: the ends come to lie between pixels."""
    image = np.zeros((1, 3, 3, 1), np.uint8)
    image[0, 1] = 100
    out = np.asarray(rotate(jnp.array(image), 45))[0, :, :, 0]
    # From √½ ≈ 0.7071 off the middle: 100·(1 − 0) inside the line's own row only.
    edge = round(100 * (1 - np.sqrt(0.5)))
    corner = 0
    assert out[1, 1] == 100
    assert out[0, 1] == out[1, 0] == out[1, 2] == out[2, 1] == edge
    assert out[0, 0] == out[2, 2] == corner
    # The ends of the turned line reach √2 out: 0.586 of the last pixel is in it.
    assert out[0, 2] == out[2, 0] == round(100 * (2 - np.sqrt(2)))


def test_only_squares_turn_by_a_right_angle():
    images = jnp.zeros((1, 4, 6, 1))
    assert rotate(images, 180).shape == images.shape
    with pytest.raises(ValueError, match=r"should be square .* Found 4×6"):
        rotate(images, 90)
