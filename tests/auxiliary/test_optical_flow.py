import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from auxjax.auxiliary import optical_flow, warp


def warp_by_hand(image, flow):
    """Pixel by pixel in float64; beyond the frame the border's pixel goes on."""
    batch, height, width, _ = image.shape
    out = np.zeros(image.shape)
    for b, i, j in np.ndindex(batch, height, width):
        y, x = i + flow[b, i, j, 1], j + flow[b, i, j, 0]
        top, left = math.floor(y), math.floor(x)
        for row, column in np.ndindex(2, 2):
            share = (1 - abs(y - top - row)) * (1 - abs(x - left - column))
            nearest_row = min(max(top + row, 0), height - 1)
            nearest_column = min(max(left + column, 0), width - 1)
            out[b, i, j] += share * image[b, nearest_row, nearest_column]
    return out


def loss_by_hand(flow, image, next_image, mask, smoothness):
    def rho(z):
        return np.sqrt(z**2 + 1e-6) - 1e-3

    error = rho(image - warp_by_hand(next_image, flow)).mean((1, 2, 3))
    rough = [
        np.concatenate(
            [rho(np.diff(f, axis=0)).ravel(), rho(np.diff(f, axis=1)).ravel()]
        )
        for f in flow
    ]
    total = error + smoothness * np.array([r.mean() for r in rough])
    return total[mask].mean()


def blob(x, y, size=12, channels=1):
    """A smooth bump centred at column x, row y."""
    rows, columns = np.mgrid[:size, :size]
    bump = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6)
    return jnp.asarray(np.repeat(bump[None, :, :, None], channels, 3), jnp.float32)


def constant_flow(dx, dy, size=12):
    return jnp.broadcast_to(jnp.array([dx, dy]), (1, size, size, 2))


ONE = jnp.ones(1, bool)
value_and_gradient = jax.jit(jax.value_and_grad(optical_flow))


def test_warp_is_bilinear_with_endless_borders(x64):
    rng = np.random.default_rng(0)
    image, flow = rng.normal(size=(2, 4, 5, 3)), 3 * rng.normal(size=(2, 4, 5, 2))
    out = jax.jit(warp)(jnp.asarray(image), jnp.asarray(flow))
    assert out.dtype == jnp.float64
    np.testing.assert_allclose(out, warp_by_hand(image, flow), rtol=1e-12, atol=1e-12)


def test_warp_at_zero_flow_is_the_identity():
    image = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    np.testing.assert_array_equal(warp(image, jnp.zeros((2, 3, 4, 2))), image)


def test_warp_undoes_a_shift_inside_the_frame():
    image = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    shifted = jnp.roll(image, (1, 2), axis=(1, 2))  # down by 1, right by 2
    back = warp(shifted, constant_flow(2.0, 1.0, 8))
    np.testing.assert_array_equal(back[:, :-1, :-2], image[:, :-1, :-2])


def test_warp_derivatives_are_those_of_finite_differences(x64):
    keys = jax.random.split(jax.random.key(0), 3)
    image = jax.random.normal(keys[0], (2, 4, 4, 2), jnp.float64)
    # Away from whole positions, where there is a kink.
    flow = jax.random.randint(keys[1], (2, 4, 4, 2), -3, 3).astype(jnp.float64)
    flow += jax.random.uniform(keys[2], flow.shape, jnp.float64, 0.1, 0.9)
    check_grads(jax.jit(warp), (image, flow), order=1, modes=["fwd", "rev"])


def test_far_flows_see_the_border_and_have_no_gradient():
    image = jnp.arange(9.0).reshape(1, 3, 3, 1)
    for far in (1e9, jnp.inf):
        flow = jnp.full((1, 3, 3, 2), far)
        np.testing.assert_array_equal(warp(image, flow), jnp.full((1, 3, 3, 1), 8.0))
        gradient = jax.jit(jax.grad(lambda f: jnp.sum(warp(image, f) ** 2)))(flow)
        np.testing.assert_array_equal(gradient, jnp.zeros_like(flow))


def test_value_in_float64(x64):
    rng = np.random.default_rng(1)
    image, next_image = rng.normal(size=(2, 3, 4, 5, 2))
    flow = 2 * rng.normal(size=(3, 4, 5, 2))
    mask = np.array([True, False, True])
    args = [jnp.asarray(x) for x in (flow, image, next_image, mask)]
    np.testing.assert_allclose(
        jax.jit(lambda *args: optical_flow(*args, smoothness=0.3))(*args),
        loss_by_hand(flow, image, next_image, mask, 0.3),
        rtol=1e-10,
    )


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.uint8, jnp.float32])
def test_the_true_flow_is_a_minimiser(dtype):
    image = np.zeros((1, 7, 7, 2))
    image[0, 3, 3] = image[0, 4, 3, 0] = 1
    image = jnp.asarray(image, dtype)
    next_image = jnp.roll(image, (-1, 2), axis=(1, 2))  # up by 1, right by 2
    truth = constant_flow(2.0, -1.0, 7)
    loss = jax.jit(lambda flow: optical_flow(flow, image, next_image, ONE))
    assert loss(truth) == 0
    assert loss(jnp.zeros_like(truth)) > 0
    for seed in range(10):
        bend = 0.3 * jax.random.normal(jax.random.key(seed), truth.shape)
        assert loss(truth + bend) > 0


def test_gradient_points_from_rest_towards_the_true_flow():
    for dx, dy in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.5), (1.0, -1.0)):
        image, next_image = blob(5.5, 5.5), blob(5.5 + dx, 5.5 + dy)
        truth = constant_flow(dx, dy)
        _, gradient = value_and_gradient(jnp.zeros_like(truth), image, next_image, ONE)
        assert jnp.sum(-gradient * truth) > 0


def test_descent_finds_the_true_flow():
    """Every pixel's flow is free; smoothness carries it to where nothing is seen."""
    image, next_image = blob(5.0, 6.0), blob(6.5, 5.0)
    truth = constant_flow(1.5, -1.0)
    optimizer = optax.sgd(10.0, momentum=0.9)

    def step(carry, _):
        flow, state = carry
        value, gradient = value_and_gradient(flow, image, next_image, ONE)
        updates, state = optimizer.update(gradient, state)
        return (flow + updates, state), value

    start = jnp.zeros_like(truth)
    (flow, _), values = jax.jit(
        lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=300)
    )()
    on_blob = image[..., 0] > 0.2
    error = jnp.linalg.norm(flow - truth, axis=-1)[on_blob]
    assert values[-1] < 0.1 * values[0]
    assert jnp.mean(error) < 0.2 * jnp.linalg.norm(truth[0, 0, 0])


def test_smoothness_weighs_only_the_flow():
    image = jnp.zeros((1, 2, 2, 1))
    flow = jnp.zeros((1, 2, 2, 2)).at[0, 0, 0, 0].set(1.0)
    # Two of the eight neighbouring pairs (4 pairs, 2 components) differ, by 1.
    expected = 2 / 8 * (math.sqrt(1 + 1e-6) - 1e-3)
    loss = jax.jit(optical_flow, static_argnames="smoothness")
    for smoothness in (0.0, 2.0):
        np.testing.assert_allclose(
            loss(flow, image, image, ONE, smoothness=smoothness),
            smoothness * expected,
            rtol=1e-5,
        )


def test_a_single_pixel_has_no_neighbours():
    image = jnp.zeros((1, 1, 1, 1))
    value, gradient = value_and_gradient(jnp.ones((1, 1, 1, 2)), image, image + 1, ONE)
    np.testing.assert_allclose(value, 0.999, rtol=1e-3)
    np.testing.assert_array_equal(gradient, jnp.zeros((1, 1, 1, 2)))


def test_wrong_arguments_are_refused():
    image = jnp.zeros((1, 3, 3, 1))
    with pytest.raises(ValueError, match="`smoothness` should be at least 0"):
        optical_flow(jnp.zeros((1, 3, 3, 2)), image, image, ONE, smoothness=-1.0)
    with pytest.raises(ValueError, match=r"`flow` should have shape \(1, 3, 3, 2\)"):
        inspect.unwrap(warp)(image, jnp.zeros((1, 3, 3, 1)))
