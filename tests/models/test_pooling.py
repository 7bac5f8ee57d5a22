import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.models import max_pool, resize


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((2, 2), None, ((0, 0), (0, 0))),
        ((3, 2), None, ((0, 0), (0, 0))),
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((2, 2), (2, 2), ((0, 1), (0, 0))),
    ],
)
def test_max_pool_is_what_reduce_window_says(window, strides, padding):
    images = jax.random.normal(jax.random.key(0), (2, 7, 6, 3)) - 3  # below the zeros
    expected = jax.lax.reduce_window(
        images,
        -jnp.inf,
        jax.lax.max,
        (1, *window, 1),
        (1, *(strides or window), 1),
        ((0, 0), *padding, (0, 0)),
    )
    pooled = max_pool(images, window, strides=strides, padding=padding)
    np.testing.assert_array_equal(pooled, expected)


def test_max_pool_by_hand_and_its_gradient():
    image = jnp.array([[1.0, 5.0, 2.0, 2.0], [3.0, 4.0, 0.0, 1.0]])[..., None]
    pooled, pull = jax.vjp(max_pool, image)
    np.testing.assert_array_equal(pooled[..., 0], [[5, 2]])
    (gradient,) = pull(jnp.array([[[10.0], [8.0]]]))
    np.testing.assert_array_equal(gradient[..., 0], [[0, 10, 4, 4], [0, 0, 0, 0]])


def test_max_pool_takes_any_leading_axes():
    images = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 1))
    flat = max_pool(images.reshape(6, 4, 4, 1))
    np.testing.assert_array_equal(max_pool(images).reshape(6, 2, 2, 1), flat)
    assert max_pool(images[0, 0]).shape == (2, 2, 1)


def test_a_window_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"as the window, \(2, 2\). Found \(1, 4\)"):
        max_pool(jnp.zeros((1, 4, 1)))


def test_resize_by_hand():
    image = jnp.array([[0.0, 2.0], [4.0, 6.0]])[..., None]
    np.testing.assert_allclose(
        resize(image, (3, 3))[..., 0], [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    )
    np.testing.assert_allclose(resize(image, (2, 2)), image)
    np.testing.assert_allclose(resize(jnp.ones((1, 1, 2)), (3, 4)), np.ones((3, 4, 2)))


def test_resize_smaller_and_in_leading_axes():
    images = jnp.arange(10.0).reshape(2, 1, 5, 1)
    np.testing.assert_allclose(
        resize(images, (1, 3))[:, 0, :, 0], [[0, 2, 4], [5, 7, 9]]
    )
    np.testing.assert_allclose(resize(images, (1, 1))[:, 0, 0, 0], [0, 5])
