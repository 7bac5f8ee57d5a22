import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.auxiliary import autoencoder, optical_flow
from auxjax.models import decoder, embed_action, encoder, linear_head, mlp_head
from auxjax.models._decoder import depth_to_space


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_linear_head_by_hand():
    head = linear_head(2)
    params = {
        "Dense_0": {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "bias": jnp.ones(2)}
    }
    np.testing.assert_allclose(head.apply(params, jnp.array([[1.0, 10.0]])), [[32, 43]])


def test_linear_head_starts_orthogonal_with_its_scale():
    params = linear_head(3, scale=0.5).init(jax.random.key(0), jnp.zeros((1, 7)))
    kernel = params["Dense_0"]["kernel"]
    np.testing.assert_allclose(kernel.T @ kernel, 0.25 * jnp.eye(3), atol=1e-6)
    np.testing.assert_array_equal(params["Dense_0"]["bias"], 0)


def test_mlp_head_by_hand():
    head = mlp_head(2, 1)
    params = {
        "Dense_0": {
            "kernel": jnp.array([[1.0, -1.0], [1.0, 1.0]]),
            "bias": jnp.zeros(2),
        },
        "Dense_1": {"kernel": jnp.array([[2.0], [5.0]]), "bias": jnp.array([1.0])},
    }
    # Two inputs side by side: (3, 1) gives hidden (4, −2), rectified (4, 0).
    out = head.apply(params, jnp.array([[3.0]]), jnp.array([[1.0]]))
    np.testing.assert_allclose(out, [[9.0]])


def test_mlp_head_counts_jit_and_vmap():
    head = mlp_head(16, 3, scale=0.01)
    latent, other = jnp.ones((2, 5, 8)), jnp.ones((2, 5, 4))
    params = head.init(jax.random.key(0), latent, other)
    assert count(params) == 12 * 16 + 16 + 16 * 3 + 3
    out = jax.jit(head.apply)(params, latent, other)
    assert out.shape == (2, 5, 3)
    mapped = jax.vmap(head.apply, (None, 0, 0))(params, latent, other)
    np.testing.assert_allclose(out, mapped, rtol=1e-6)
    last = params["Dense_1"]["kernel"]
    np.testing.assert_allclose(last.T @ last, 1e-4 * jnp.eye(3), atol=1e-8)


def test_inputs_of_different_dtypes_are_joined():
    head = mlp_head(4, 2, dtype=jnp.bfloat16)
    inputs = jnp.ones((1, 3), jnp.bfloat16), jnp.ones((1, 2), jnp.float32)
    params = head.init(jax.random.key(0), *inputs)
    assert head.apply(params, *inputs).dtype == jnp.bfloat16


def test_embed_action():
    one_hot = embed_action(jnp.array([[1], [0]]), 2)
    np.testing.assert_array_equal(one_hot, [[[0, 1]], [[1, 0]]])
    assert one_hot.dtype == jnp.float32
    torque = jnp.array([[0.3, -2.0]])
    np.testing.assert_array_equal(embed_action(torque), torque)
    with pytest.raises(ValueError, match="`num_actions` should be given"):
        embed_action(jnp.array([1]))


def test_depth_to_space_by_hand():
    # Two pixels side by side, each with the four pixels of a 2×2 block.
    images = jnp.array([[[0, 1, 2, 3], [4, 5, 6, 7]]])
    np.testing.assert_array_equal(
        depth_to_space(images.astype(jnp.float32), 2)[..., 0],
        [[0, 1, 4, 5], [2, 3, 6, 7]],
    )
    two_channels = jnp.arange(8.0).reshape(1, 1, 8)
    np.testing.assert_array_equal(
        depth_to_space(two_channels, 2), [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    )


@pytest.mark.parametrize(
    ("shape", "channels", "out", "parameters"),
    [
        # 128·400 + 400
        ((10, 10, 4), None, (10, 10, 4), 51_600),
        ((10, 10, 4), 2, (10, 10, 2), 128 * 200 + 200),
        ((6,), None, (6,), 128 * 6 + 6),
        # To 7·7·64; 3·3·64 to 9·16; 3·3·16 to 16·4
        ((84, 84, 4), None, (84, 84, 4), 404_544 + 83_088 + 9_280),
        # A grid of 4×3 cut down to size
        ((40, 36, 3), 2, (40, 36, 2), 129 * 768 + 83_088 + 145 * 32),
    ],
)
def test_decoder_shapes_and_parameter_counts(shape, channels, out, parameters):
    model = decoder(shape, channels)
    latent = jnp.zeros((2, 3, 128))
    params = jax.eval_shape(model.init, jax.random.key(0), latent)
    assert count(params) == parameters
    assert jax.eval_shape(model.apply, params, latent).shape == (2, 3, *out)


def test_decoder_jit_and_vmap():
    model = decoder((40, 36, 1))
    latents = jax.random.normal(jax.random.key(1), (3, 4))
    params = jax.jit(model.init)(jax.random.key(0), latents)
    out = jax.jit(model.apply)(params, latents)
    one_by_one = jax.jit(jax.vmap(model.apply, (None, 0)))(params, latents)
    np.testing.assert_allclose(out, one_by_one, rtol=1e-4, atol=1e-5)
    assert out.shape == (3, 40, 36, 1)

    gradients = jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, latents) ** 2)))
    for gradient in jax.tree.leaves(gradients(params)):
        assert jnp.any(gradient != 0)


def test_decoder_refuses_what_is_no_image():
    with pytest.raises(ValueError, match=r"should be \(H, W, C\) or \(N,\)"):
        decoder((10, 10))


def test_auxiliary_losses_reach_every_parameter():
    """Encoder, decoders and losses together: all of it can be trained."""
    shape = (5, 5, 2)
    encode, decode, flow = (
        encoder(shape, features=8, channels=2),
        decoder(shape),
        decoder(shape, 2),
    )
    keys = jax.random.split(jax.random.key(0), 5)
    image, next_image = jax.random.uniform(keys[3], (2, 2, *shape))
    latent = jnp.zeros((1, 8))
    params = {
        "encoder": jax.jit(encode.init)(keys[0], image),
        "decoder": jax.jit(decode.init)(keys[1], latent),
        "flow": jax.jit(flow.init)(keys[2], latent, latent),
    }

    def loss(params):
        latent, next_latent = (
            encode.apply(params["encoder"], x) for x in (image, next_image)
        )
        mask = jnp.ones(2, bool)
        motion = flow.apply(params["flow"], latent, next_latent)
        return autoencoder(
            decode.apply(params["decoder"], latent), image, mask
        ) + optical_flow(motion, image, next_image, mask)

    for gradient in jax.tree.leaves(jax.jit(jax.grad(loss))(params)):
        assert jnp.all(jnp.isfinite(gradient))
        assert jnp.any(gradient != 0)
