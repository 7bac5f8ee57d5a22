"""Convolutions with derivatives of their own, against JAX's, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.models import convolve

CASES = [
    # images, kernel, strides, padding, dilation
    ((3, 7, 6, 2), (3, 3, 2, 4), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    ((2, 9, 8, 40), (3, 2, 40, 2), (2, 3), ((1, 1), (0, 2)), (1, 1)),
    ((2, 10, 9, 2), (3, 3, 2, 3), (1, 1), ((4, 4), (3, 3)), (4, 3)),
    ((2, 4, 4, 2), (3, 3, 2, 3), (2, 2), ((0, 0), (3, 3)), (1, 1)),  # only zeros seen
    ((2, 5, 5, 2), (1, 1, 2, 3), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ((2, 8, 7, 9), (3, 3, 9, 4), (1, 1), ((1, 1), (1, 1)), (1, 1)),  # a column more
    ((2, 9, 12, 9), (3, 3, 9, 4), (1, 1), ((2, 2), (1, 1)), (2, 2)),  # three more
    ((12, 16, 16, 32), (3, 3, 32, 12), (1, 1), ((1, 1), (1, 1)), (1, 1)),  # in pieces
    ((4, 8, 7, 1), (3, 3, 1, 4), (1, 1), ((1, 1), (1, 1)), (1, 1)),  # one channel
    ((11, 9, 9, 1), (3, 2, 1, 2), (2, 3), ((1, 0), (0, 2)), (1, 1)),
    ((3, 9, 8, 3), (3, 3, 3, 1), (2, 2), ((1, 1), (1, 1)), (1, 1)),  # one behind
    ((2, 12, 12, 1), (6, 6, 1, 2), (1, 1), ((0, 0), (0, 0)), (2, 2)),  # a large kernel
]
every_case = pytest.mark.parametrize(
    ("images", "kernel", "strides", "padding", "dilation"), CASES
)


def draw(*shapes):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape)) for shape in shapes)


def both(strides, padding, dilation):
    """Ours and JAX's, as functions of images and kernel."""
    numbers = ("NHWC", "HWIO", "NHWC")

    def ours(images, kernel):
        return convolve(
            images,
            kernel,
            strides=strides,
            padding=padding,
            dilation=dilation,
            implementation="cpu",
        )

    def theirs(*args):
        return jax.lax.conv_general_dilated(
            *args, strides, padding, (1, 1), dilation, numbers
        )

    return ours, theirs


def equal(a, b):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9), a, b
    )


def gradient(run):
    return jax.grad(lambda *args: jnp.sum(jnp.sin(run(*args))), (0, 1))


@every_case
def test_values_and_derivatives(x64, images, kernel, strides, padding, dilation):
    at, along = draw(images, kernel), draw(kernel, images)[::-1]

    def all_of(run):
        def second(*at):
            return jax.jvp(gradient(run), at, along)[1]

        def third(*at):
            return sum(jnp.sum(x**2) for x in second(*at))

        out, linear = jax.linearize(run, *at)
        reverse = jax.linear_transpose(linear, *at)(out)
        return out, reverse, gradient(run)(*at), second(*at), jax.grad(third)(*at)

    ours, theirs = both(strides, padding, dilation)
    equal(*(jax.jit(all_of, static_argnums=0)(run) for run in (ours, theirs)))
    equal(ours(*at), theirs(*at))  # also step by step


@every_case
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_under_vmap(x64, images, kernel, strides, padding, dilation, axes):
    shapes = [
        shape if axis is None else (2, *shape)
        for shape, axis in zip((images, kernel), axes, strict=True)
    ]
    at = draw(*shapes)

    def all_of(run):
        each = jax.vmap(run, axes)
        return each(*at), gradient(each)(*at), jax.vmap(gradient(run), axes)(*at)

    equal(
        *(
            jax.jit(all_of, static_argnums=0)(f)
            for f in both(strides, padding, dilation)
        )
    )


def test_many_cotangents_at_once(x64):
    *shapes, strides, padding, dilation = CASES[0]
    at = draw(*shapes)

    def rows(run):
        out, pull = jax.vjp(run, *at)
        return jax.vmap(pull)(jnp.stack([out, 2 * out, out**2]))

    ours, theirs = both(strides, padding, dilation)
    equal(jax.jit(rows, static_argnums=0)(ours), rows(theirs))


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ((3, 3, 1, 4), True),
        ((3, 3, 32, 64), True),
        ((1, 1, 256, 64), False),  # a product of matrices
    ],
)
def test_what_suits_a_cpu(kernel, expected):
    images = jnp.zeros((2, 4, 4, kernel[2]))
    jaxpr = jax.make_jaxpr(lambda *args: convolve(*args))(images, jnp.zeros(kernel))
    assert ("convolve[" in str(jaxpr).replace(" ", "")) == expected


def test_few_channels_are_patches_forwards():
    images, kernel = jnp.zeros((2, 8, 8, 4)), jnp.zeros((3, 3, 4, 16))
    ours, _ = both((1, 1), ((1, 1), (1, 1)), (1, 1))
    program = jax.jit(ours).lower(images, kernel).as_text()
    assert "stablehlo.convolution" not in program
    program = jax.jit(ours).lower(images, jnp.zeros((3, 3, 4, 17))).as_text()
    assert "stablehlo.convolution" in program


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_one_channel_adds_up_in_float32(dtype):
    images, kernel = (x.astype(dtype) for x in draw((2, 9, 8, 1), (5, 5, 1, 3)))
    found = convolve(images, kernel, implementation="cpu")
    assert found.dtype == dtype
    wide = images.astype("float32"), kernel.astype("float32")
    expected = convolve(*wide, implementation="conv").astype(dtype)
    close = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 2e-3}[dtype]
    np.testing.assert_allclose(
        found.astype("float32"), expected.astype("float32"), rtol=close, atol=close
    )


def test_one_channel_takes_one_fused_loop():
    ours, _ = both((1, 1), ((1, 1), (1, 1)), (1, 1))
    shapes = [(4, 8, 8, 1), (3, 3, 1, 8)]
    program = jax.jit(ours).lower(*map(jnp.zeros, shapes)).compile().as_text()
    assert program.count("conditional(") == 1
    shapes = [(4, 8, 8, 2), (3, 3, 2, 8)]
    program = jax.jit(ours).lower(*map(jnp.zeros, shapes)).compile().as_text()
    assert "conditional(" not in program


@pytest.mark.parametrize("channels", [1, 16])
def test_an_empty_batch(channels):
    ours, theirs = both((1, 1), ((1, 1), (1, 1)), (1, 1))
    at = jnp.zeros((0, 5, 5, channels)), jnp.zeros((3, 3, channels, 2))
    equal(gradient(ours)(*at), gradient(theirs)(*at))


@pytest.mark.parametrize("channels", [1, 16])
def test_a_batch_on_several_devices_stays_there(channels):
    mesh = jax.make_mesh(
        (2,), ("devices",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:2]
    )
    ours, _ = both((1, 1), ((1, 1), (1, 1)), (1, 1))
    images = jnp.ones((16, 32, 32, channels))  # in pieces, if of 16 channels
    kernel = jnp.ones((3, 3, channels, 8))
    images = jax.device_put(images, jax.NamedSharding(mesh, jax.P("devices")))
    kernel = jax.device_put(kernel, jax.NamedSharding(mesh, jax.P()))
    forwards = jax.jit(ours).lower(images, kernel).compile()
    assert forwards(images, kernel).sharding.spec == jax.P("devices")
    backwards = jax.jit(gradient(ours)).lower(images, kernel).compile()
    for program in (forwards, backwards):
        assert "all-gather" not in program.as_text()


def test_in_a_loop_over_devices():
    """Under `shard_map` the kernel's derivative is summed over the devices."""
    *shapes, strides, padding, dilation = CASES[0]
    images, kernel = (
        x.astype(jnp.float32) for x in draw((4, *shapes[0][1:]), shapes[1])
    )
    ours, _ = both(strides, padding, dilation)
    mesh = jax.make_mesh(
        (2,), ("devices",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:2]
    )
    run = jax.shard_map(
        lambda x, k: jax.lax.pmean(jnp.mean(ours(x, k) ** 2), "devices"),
        mesh=mesh,
        in_specs=(jax.P("devices"), jax.P()),
        out_specs=jax.P(),
    )
    got = jax.jit(jax.grad(run, (0, 1)))(images, kernel)
    expected = jax.grad(lambda x, k: jnp.mean(ours(x, k) ** 2), (0, 1))(images, kernel)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        got,
        expected,
    )
