"""What all five losses promise: shapes, masks, dtypes, signs."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.auxiliary import (
    autoencoder,
    egomotion,
    forward_dynamics,
    inverse_dynamics,
    optical_flow,
)

BATCH = 5
MASK = np.array([True, False, True, True, False])


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def kept_mean(errors):
    return errors[MASK].mean()


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


ACTION = np.array([0, 3, 2, 1, 0])
LOGITS = normal(0, BATCH, 4)
LATENTS = normal(1, BATCH, 6), normal(2, BATCH, 6)
IMAGES = normal(3, BATCH, 4, 3, 2), normal(4, BATCH, 4, 3, 2)
FLOW = normal(5, BATCH, 4, 3, 2)

# Each: the loss, its inputs (the first is what a model predicts), and in float64 what
# it should be, computed by NumPy alone. Optical flow has a reference of its own.
CASES = {
    "forward_dynamics": (
        forward_dynamics,
        LATENTS,
        kept_mean(((LATENTS[0] - LATENTS[1]) ** 2).mean(1)),
    ),
    "inverse_discrete": (
        inverse_dynamics,
        (LOGITS, ACTION),
        kept_mean(-log_softmax(LOGITS)[np.arange(BATCH), ACTION]),
    ),
    "inverse_continuous": (
        inverse_dynamics,
        LATENTS,
        kept_mean(((LATENTS[0] - LATENTS[1]) ** 2).mean(1)),
    ),
    "egomotion": (
        egomotion,
        LATENTS,
        kept_mean(((LATENTS[0] - LATENTS[1]) ** 2).mean(1)),
    ),
    "autoencoder": (
        autoencoder,
        IMAGES,
        kept_mean(((IMAGES[0] - IMAGES[1]) ** 2).mean((1, 2, 3))),
    ),
    "optical_flow": (optical_flow, (FLOW, *IMAGES), None),
}


def as_jax(inputs, dtype=jnp.float32):
    return [
        jnp.asarray(x, dtype if x.dtype == np.float64 else jnp.int32) for x in inputs
    ]


@pytest.fixture(params=CASES)
def case(request):
    loss, inputs, _ = CASES[request.param]
    return loss, as_jax(inputs)


@pytest.mark.parametrize("name", [name for name in CASES if name != "optical_flow"])
def test_value_in_float64(name, x64):
    loss, inputs, expected = CASES[name]
    value = loss(*as_jax(inputs, jnp.float64), jnp.asarray(MASK))
    assert value.dtype == jnp.float64
    assert value.shape == ()
    np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if name != "optical_flow"])
def test_value_in_float32(name):
    loss, inputs, expected = CASES[name]
    value = jax.jit(loss)(*as_jax(inputs), jnp.asarray(MASK))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_half_precision_inputs_are_compared_in_float32(case):
    loss, inputs = case
    halves = [x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x for x in inputs]
    wide = [x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x for x in halves]
    value = loss(*halves, jnp.asarray(MASK))
    assert value.dtype == jnp.float32
    assert value == loss(*wide, jnp.asarray(MASK))


def test_equals_the_loss_of_the_kept_rows_alone(case):
    loss, inputs = case
    mask = jnp.asarray(MASK)
    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    value, gradient = value_and_gradient(*inputs, mask)
    alone = [x[MASK] for x in inputs]
    expected, expected_gradient = value_and_gradient(*alone, mask[MASK])
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[MASK], expected_gradient, rtol=1e-5, atol=1e-8)
    assert jnp.all(gradient[~MASK] == 0)
    assert jnp.any(gradient[MASK] != 0)


def test_a_float_mask_of_ones_and_zeros_is_the_same(case):
    loss, inputs = case
    mask = jnp.asarray(MASK)
    assert loss(*inputs, mask) == loss(*inputs, mask.astype(jnp.float32))


def test_masked_rows_may_hold_nan(case):
    loss, inputs = case
    mask = jnp.asarray(MASK)
    poisoned = [
        x.at[~MASK].set(jnp.nan if x.dtype == jnp.float32 else -1) for x in inputs
    ]
    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    value, gradient = value_and_gradient(*poisoned, mask)
    clean_value, clean_gradient = value_and_gradient(*inputs, mask)
    assert value == clean_value
    np.testing.assert_array_equal(gradient, clean_gradient)
    assert jnp.all(jnp.isfinite(gradient))


def test_nothing_kept_is_zero_with_zero_gradient(case):
    loss, inputs = case
    poisoned = [x * jnp.nan if x.dtype == jnp.float32 else x for x in inputs]
    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    for given in (inputs, poisoned):
        value, gradient = value_and_gradient(*given, jnp.zeros(BATCH, bool))
        assert value == 0.0
        assert jnp.all(gradient == 0)


def test_never_negative(case):
    loss, inputs = case
    loss = jax.jit(loss)
    for scale in (1e-6, 1.0, 1e3):
        scaled = [x * scale if x.dtype == jnp.float32 else x for x in inputs]
        assert loss(*scaled, jnp.ones(BATCH, bool)) >= 0


def test_a_wrong_mask_is_refused(case):
    loss, inputs = case
    with pytest.raises(ValueError, match=r"`mask` should have shape \(5,\)"):
        inspect.unwrap(loss)(*inputs, jnp.ones(BATCH + 1, bool))
    with pytest.raises(TypeError):
        loss(*inputs, jnp.ones(BATCH + 1, bool))


def test_broadcasting_shapes_are_refused(case):
    loss, inputs = case
    narrow = [inputs[0], inputs[1][:1], *inputs[2:]]
    with pytest.raises(ValueError, match=r"should (have the shape|be one integer)"):
        inspect.unwrap(loss)(*narrow, jnp.ones(BATCH, bool))
    with pytest.raises(TypeError):
        loss(*narrow, jnp.ones(BATCH, bool))


def test_perfect_predictions_cost_nothing():
    mask = jnp.ones(BATCH, bool)
    latent, image = as_jax([LATENTS[0], IMAGES[0]])
    assert forward_dynamics(latent, latent, mask) == 0
    assert inverse_dynamics(latent, latent, mask) == 0
    assert egomotion(latent, latent, mask) == 0
    assert autoencoder(image, image, mask) == 0
    assert optical_flow(jnp.zeros((BATCH, 4, 3, 2)), image, image, mask) == 0
    sure = 100 * jax.nn.one_hot(jnp.asarray(ACTION), 4)
    assert inverse_dynamics(sure, jnp.asarray(ACTION), mask) == 0


def test_forward_dynamics_target_gradient():
    predicted, target = as_jax(LATENTS)
    mask = jnp.ones(BATCH, bool)
    stopped = jax.grad(forward_dynamics, 1)(predicted, target, mask)
    assert jnp.all(stopped == 0)
    free = jax.grad(
        lambda t: forward_dynamics(predicted, t, mask, stop_target_gradient=False)
    )(target)
    # d/dt of mean (p − t)² over B·D entries
    np.testing.assert_allclose(free, 2 * (target - predicted) / 30, rtol=1e-5)


def test_autoencoder_scales_bytes_and_takes_bools():
    mask = jnp.ones(1, bool)
    half = jnp.full((1, 2, 2, 1), 0.5)
    bytes_ = jnp.full((1, 2, 2, 1), 255, jnp.uint8)
    np.testing.assert_allclose(autoencoder(half, bytes_, mask), 0.25, rtol=1e-6)
    np.testing.assert_allclose(autoencoder(half, bytes_ > 0, mask), 0.25, rtol=1e-6)


def test_a_reset_inside_a_sequence_teaches_nothing():
    """A walk 0 → 1 → 2 (the end), a step that only resets, then 0 → 1 again."""
    observation = jnp.array([0, 1, 2, 0])
    next_observation = jnp.array([1, 2, 0, 1])  # true successors, but for the reset's
    action = jnp.array([1, 1, 0, 1])
    valid = jnp.array([True, True, False, True])

    def losses(table, observation, next_observation, action, mask):
        """A latent for each place; predictions are made from latents by sums."""
        latent, next_latent = table[observation], table[next_observation]
        guess = latent + action[:, None].astype(jnp.float32)
        return jnp.stack(
            [
                forward_dynamics(guess, next_latent, mask),
                inverse_dynamics(next_latent - latent, action, mask),
                autoencoder(latent, jax.nn.one_hot(observation, 3), mask),
            ]
        )

    table = jnp.asarray(normal(6, 3, 3), jnp.float32)
    value_and_jacobian = jax.jit(
        lambda *args: (losses(table, *args), jax.jacobian(losses)(table, *args))
    )
    kept = [x[valid] for x in (observation, next_observation, action, valid)]
    expected = value_and_jacobian(*kept)
    for elsewhere, other_action in itertools.product((0, 1, 2), (0, 1, 2)):
        got = value_and_jacobian(
            observation,
            next_observation.at[2].set(elsewhere),
            action.at[2].set(other_action),
            valid,
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            got,
            expected,
        )
    unmasked = value_and_jacobian(
        observation, next_observation, action, jnp.ones(4, bool)
    )
    assert jnp.all(jnp.abs(unmasked[0] - expected[0]) > 1e-3)
