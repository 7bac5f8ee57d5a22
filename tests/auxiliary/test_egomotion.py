import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.auxiliary import random_transform

move = jax.jit(random_transform, static_argnames="max_shift")


def expected_move(image, target, max_shift):
    """The same by np.rot90 and slices."""
    quarters = {(1, 0): 0, (0, 1): 1, (-1, 0): 2, (0, -1): 3}[tuple(target[:2])]
    dx, dy = (round(x) for x in target[2:] * max_shift)
    height, width, _ = image.shape
    turned = np.rot90(image, quarters)
    out = np.zeros_like(image)
    out[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = turned[
        max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return out


@pytest.mark.parametrize(
    ("shape", "max_shift"), [((6, 6, 2), 2), ((5, 5, 1), 1), ((4, 7, 2), 3)]
)
def test_moves_are_those_of_numpy(shape, max_shift):
    images = np.random.default_rng(0).integers(1, 9, (60, *shape))
    moved, target = move(jax.random.key(0), jnp.asarray(images), max_shift=max_shift)
    assert target.dtype == jnp.float32
    for image, got, how in zip(
        images, np.asarray(moved), np.asarray(target), strict=True
    ):
        np.testing.assert_array_equal(got, expected_move(image, how, max_shift))


def test_every_turn_and_shift_occurs_about_equally_often():
    images = jnp.ones((6000, 4, 4, 1))
    _, target = move(jax.random.key(1), images, max_shift=1)
    kinds, counts = np.unique(np.asarray(target), axis=0, return_counts=True)
    assert len(kinds) == 4 * 3 * 3
    # 6000 / 36 ≈ 167 each, standard deviation 13.
    assert counts.min() > 100
    assert counts.max() < 240


def test_images_that_are_not_square_turn_by_half():
    _, target = move(jax.random.key(2), jnp.ones((200, 3, 5, 1)))
    assert set(np.unique(target[:, 0])) == {-1.0, 1.0}
    np.testing.assert_array_equal(target[:, 1], 0)


def test_no_shift():
    image = jnp.arange(9).reshape(1, 3, 3, 1)
    moved, target = move(jax.random.key(3), jnp.repeat(image, 50, 0), max_shift=0)
    np.testing.assert_array_equal(target[:, 2:], 0)
    np.testing.assert_array_equal(jnp.sort(moved.reshape(50, 9), 1)[:, 8], 8)


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.uint8, jnp.bfloat16, jnp.float32])
def test_dtype_is_kept(dtype):
    images = jnp.ones((3, 4, 4, 2), dtype)
    moved, target = move(jax.random.key(0), images)
    assert moved.dtype == dtype
    assert moved.shape == images.shape
    assert target.shape == (3, 4)


def test_the_key_decides():
    images = jnp.arange(8 * 16).reshape(8, 4, 4, 1)
    first, again, other = (move(jax.random.key(seed), images)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert jnp.any(first != other)


@pytest.mark.parametrize("max_shift", [-1, 4])
def test_senseless_shifts_are_refused(max_shift):
    with pytest.raises(ValueError, match="`max_shift` should be at least 0 and less"):
        random_transform(jax.random.key(0), jnp.ones((1, 4, 6, 1)), max_shift=max_shift)


def test_images_need_four_axes():
    with pytest.raises(ValueError, match="not enough values to unpack"):
        inspect.unwrap(random_transform)(jax.random.key(0), jnp.ones((4, 4, 1)))
