import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.models import Conv, convolve

CASES = [
    # image, kernel, strides, padding
    ((10, 10, 4), (3, 3, 4, 5), (1, 1), "VALID"),
    ((9, 7, 2), (3, 2, 2, 3), (2, 3), "VALID"),
    ((20, 20, 1), (5, 4, 1, 2), (4, 3), "VALID"),
    ((5, 6, 2), (3, 3, 2, 3), (1, 1), "SAME"),
    ((7, 6, 2), (4, 3, 2, 3), (2, 2), "SAME"),
]


def by_hand(images, kernel, strides):
    """The definition, for no padding."""
    batch, height, width, _ = images.shape
    rows = (height - kernel.shape[0]) // strides[0] + 1
    columns = (width - kernel.shape[1]) // strides[1] + 1
    out = np.zeros((batch, rows, columns, kernel.shape[3]))
    for i, j in np.ndindex(rows, columns):
        top, left = i * strides[0], j * strides[1]
        seen = images[:, top : top + kernel.shape[0], left : left + kernel.shape[1]]
        out[:, i, j] = np.einsum("nabc,abco->no", seen, kernel)
    return out


@pytest.mark.parametrize("implementation", ["patches", "cpu", "conv"])
@pytest.mark.parametrize(("shape", "kernel_shape", "strides", "padding"), CASES[:3])
def test_values_by_hand(shape, kernel_shape, strides, padding, implementation):
    rng = np.random.default_rng(0)
    images, kernel = rng.normal(size=(2, *shape)), rng.normal(size=kernel_shape)
    filtered = jax.jit(
        lambda *args: convolve(
            *args, strides=strides, padding=padding, implementation=implementation
        )
    )
    out = filtered(jnp.asarray(images, jnp.float32), jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(
        out, by_hand(images, kernel, strides), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("shape", "kernel_shape", "strides", "padding"), CASES)
def test_the_implementations_agree(shape, kernel_shape, strides, padding):
    keys = jax.random.split(jax.random.key(0), 2)
    images = jax.random.normal(keys[0], (2, *shape))
    kernel = jax.random.normal(keys[1], kernel_shape)

    def loss(images, kernel, implementation):
        out = convolve(
            images,
            kernel,
            strides=strides,
            padding=padding,
            implementation=implementation,
        )
        return jnp.sum(jnp.sin(out)), out

    differentiate = jax.jit(
        jax.grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2
    )
    patches = differentiate(images, kernel, "patches")
    for other in ("cpu", "conv"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
            patches,
            differentiate(images, kernel, other),
        )


@pytest.mark.parametrize(("backend", "uses_conv"), [("cpu", False), ("gpu", True)])
def test_the_backend_decides(monkeypatch, backend, uses_conv):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    jaxpr = jax.make_jaxpr(lambda *args: convolve(*args))(
        jnp.ones((1, 4, 4, 1)), jnp.ones((2, 2, 1, 1))
    )
    assert ("conv_general_dilated" in str(jaxpr)) == uses_conv


@pytest.mark.parametrize("implementation", ["patches", "conv"])
def test_layer(implementation):
    layer = Conv(6, (3, 2), strides=(2, 1), implementation=implementation)
    images = jax.random.normal(jax.random.key(0), (4, 3, 7, 5, 2))
    variables = jax.jit(layer.init)(jax.random.key(1), images)
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes == {"params": {"kernel": (3, 2, 2, 6), "bias": (6,)}}

    out = jax.jit(layer.apply)(variables, images)
    assert out.shape == (4, 3, 3, 4, 6)
    over_batch = jax.jit(jax.vmap(layer.apply, (None, 0)))(variables, images)
    np.testing.assert_allclose(out, over_batch, rtol=1e-5, atol=1e-5)

    variables["params"]["bias"] += jnp.arange(6.0)
    shifted = jax.jit(layer.apply)(variables, images)
    expected = jnp.broadcast_to(jnp.arange(6.0), out.shape)
    np.testing.assert_allclose(shifted - out, expected, atol=1e-5)


def test_the_kernel_starts_orthogonal_with_the_gain_of_a_relu():
    variables = Conv(6, (3, 3)).init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
    matrix = variables["params"]["kernel"].reshape(18, 6)
    np.testing.assert_allclose(matrix.T @ matrix, 2 * jnp.eye(6), atol=1e-5)


def test_half_precision():
    layer = Conv(2, (2, 2), dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(0), jnp.ones((1, 3, 3, 1)))
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(variables, jnp.ones((1, 3, 3, 1))).dtype == jnp.bfloat16


def test_wrong_arguments_are_refused():
    image, kernel = jnp.ones((1, 2, 5, 1)), jnp.ones((3, 3, 1, 1))
    with pytest.raises(ValueError, match="should be at least as large as the kernel"):
        convolve(image, kernel)
    with pytest.raises(ValueError, match="`implementation` should be 'auto'"):
        inspect.unwrap(convolve)(image, kernel, implementation="fft")
