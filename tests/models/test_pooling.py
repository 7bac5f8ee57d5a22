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
    np.testing.assert_array_equal(gradient[..., 0], [[0, 10, 8, 0], [0] * 4])  # first 2


@pytest.mark.parametrize("count", [1, 3, 17, 34])  # in one piece, or in several
def test_max_pool_differentiates_both_ways_and_twice(count):
    images = jax.random.normal(jax.random.key(0), (count, 5, 6, 2))

    def theirs(images):
        none, window = -jnp.inf, (1, 2, 3, 1)
        return jax.lax.reduce_window(images, none, jax.lax.max, window, window, "VALID")

    def ours(images):
        return max_pool(images, (2, 3))

    def losses(pool):
        return lambda images: jnp.sum(jnp.sin(pool(images)) ** 2)

    direction = jnp.cos(images)
    for a, b in zip(
        jax.jvp(ours, (images,), (direction,)),
        jax.jvp(theirs, (images,), (direction,)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b)
    found, expected = jax.grad(losses(ours)), jax.grad(losses(theirs))
    np.testing.assert_allclose(found(images), expected(images), rtol=1e-6)
    each = jax.vmap(found)(images[:, None])[:, 0]
    np.testing.assert_allclose(each, expected(images), rtol=1e-6)
    twice = [jax.jvp(f, (images,), (direction,))[1] for f in (found, expected)]
    np.testing.assert_allclose(*twice, rtol=1e-5, atol=1e-6)


def test_max_pool_passes_on_what_is_not_a_number():
    image = jnp.array([[1.0, jnp.nan, 2.0, 3.0], [0.0] * 4])[..., None]
    np.testing.assert_array_equal(max_pool(image)[..., 0], [[jnp.nan, 3.0]])


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="how a CPU is spared")
def test_the_images_are_not_kept_for_the_backward_pass():
    images = jax.ShapeDtypeStruct((32, 64, 64, 8), jnp.float32)  # 4 MiB

    def loss(images):
        first = max_pool(jnp.sin(images))
        return jnp.sum(jnp.sin(max_pool(jnp.sin(first))))

    program = jax.jit(jax.grad(loss)).lower(images).compile()
    size = 4 * 32 * 64 * 64 * 8
    assert program.memory_analysis().temp_size_in_bytes < 1.7 * size  # one, a quarter …


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
