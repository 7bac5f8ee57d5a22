import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.models import encoder


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def observations(shape, *lead):
    return jax.random.uniform(jax.random.key(9), (*lead, *shape))


@pytest.mark.parametrize(
    ("shape", "options", "parameters"),
    [
        # 3·3·4·16 + 16 and 8·8·16·128 + 128
        ((10, 10, 4), {}, 592 + 131_200),
        # 3·3·7·2 + 2 and 4·3·2·5 + 5
        ((6, 5, 7), {"features": 5, "channels": 2}, 128 + 125),
        # DQN's trunk: 8·8·4·32 + 32, 4·4·32·64 + 64, 3·3·64·64 + 64, 7·7·64·512 + 512
        ((84, 84, 4), {"features": 512}, 8_224 + 32_832 + 36_928 + 1_606_144),
        # 36 → 8 → 3 → 1
        ((36, 36, 1), {"features": 3}, 2_080 + 32_832 + 36_928 + 195),
        # 3·64 + 64 and 64·64 + 64
        ((3,), {"features": 64}, 256 + 4_160),
    ],
)
def test_shapes_and_parameter_counts(shape, options, parameters):
    model = encoder(shape, **options)
    init = jax.eval_shape(model.init, jax.random.key(0), observations(shape, 1))
    assert count(init) == parameters
    latent = jax.eval_shape(model.apply, init, observations(shape, 2, 3))
    assert latent.shape == (2, 3, options.get("features", 128))


def test_parameters_are_plain_dicts():
    params = encoder((10, 10, 4)).init(jax.random.key(0), observations((10, 10, 4), 1))
    assert type(params) is dict
    assert {name: type(layer) for name, layer in params.items()} == {
        "Conv_0": dict,
        "Dense_0": dict,
    }
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("shape", [(5, 6, 2), (36, 40, 1), (4,)])
def test_jit_vmap_and_leading_axes(shape):
    model = encoder(shape, features=8)
    batch = observations(shape, 2, 3)
    params = jax.jit(model.init)(jax.random.key(0), batch)
    out = jax.jit(model.apply)(params, batch)
    assert out.shape == (2, 3, 8)
    flat = jax.jit(model.apply)(params, batch.reshape(6, *shape))
    np.testing.assert_allclose(out.reshape(6, 8), flat, rtol=1e-5, atol=1e-6)
    one_by_one = jax.jit(jax.vmap(jax.vmap(model.apply, (None, 0)), (None, 0)))
    np.testing.assert_allclose(out, one_by_one(params, batch), rtol=1e-5, atol=1e-6)


def test_many_seeds_at_once():
    model = encoder((4, 4, 1), features=3)
    batch = observations((4, 4, 1), 2)
    keys = jax.random.split(jax.random.key(0), 5)
    params = jax.jit(jax.vmap(model.init, (0, None)))(keys, batch)
    out = jax.jit(jax.vmap(model.apply, (0, None)))(params, batch)
    assert out.shape == (5, 2, 3)
    assert len(np.unique(np.asarray(params["Dense_0"]["kernel"])[:, 0, 0])) == 5


def test_minatar_by_hand():
    model = encoder((3, 4, 1), features=2, channels=1)
    params = {
        "Conv_0": {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.array([-1.0])},
        "Dense_0": {
            "kernel": jnp.array([[1.0, -1.0], [10.0, 1.0]]),
            "bias": jnp.array([0.5, 0.0]),
        },
    }
    observation = jnp.zeros((1, 3, 4, 1)).at[0, :, 0].set(1.0).at[0, 0, 3].set(1.0)
    # The two windows hold 3 and 1 ones; less the bias and rectified, 2 and 0.
    np.testing.assert_allclose(model.apply(params, observation), [[2.5, 0.0]])


def test_vectors_by_hand():
    model = encoder((2,), features=1)
    params = {
        "Dense_0": {"kernel": jnp.full((2, 64), 0.1), "bias": jnp.zeros(64)},
        "Dense_1": {"kernel": jnp.full((64, 1), 0.01), "bias": jnp.ones(1)},
    }
    expected = np.tanh(0.64 * np.tanh(0.3) + 1)
    out = model.apply(params, jnp.array([[1.0, 2.0]]))
    np.testing.assert_allclose(out, [[expected]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 5, 2), (4,)])
def test_bytes_are_scaled_and_bools_are_not(shape):
    model = encoder(shape, features=4)
    bits = jax.random.bernoulli(jax.random.key(1), shape=(3, *shape))
    params = model.init(jax.random.key(0), bits)
    out = model.apply(params, bits)
    assert out.dtype == jnp.float32
    for same in (bits.astype(jnp.uint8) * 255, bits.astype(jnp.float32)):
        np.testing.assert_allclose(model.apply(params, same), out, rtol=1e-5, atol=1e-6)


def test_implementations_share_parameters_and_values():
    batch = observations((6, 6, 2), 3)
    patches = encoder((6, 6, 2), features=4, implementation="patches")
    conv = encoder((6, 6, 2), features=4, implementation="conv")
    params = patches.init(jax.random.key(0), batch)
    jax.tree.map(
        np.testing.assert_array_equal, params, conv.init(jax.random.key(0), batch)
    )
    np.testing.assert_allclose(
        patches.apply(params, batch), conv.apply(params, batch), rtol=1e-5, atol=1e-6
    )


def test_half_precision_keeps_float32_parameters():
    model = encoder((4, 4, 1), features=3, dtype=jnp.bfloat16)
    batch = observations((4, 4, 1), 2)
    params = model.init(jax.random.key(0), batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert model.apply(params, batch).dtype == jnp.bfloat16


def test_kind_may_be_chosen():
    model = encoder((40, 40, 1), features=2, kind="minatar", channels=1)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 40, 40, 1)))
    assert count(params) == 10 + 38 * 38 * 2 + 2
    flat = encoder((2, 2, 1), features=2, kind="mlp")
    params = jax.eval_shape(flat.init, jax.random.key(0), jnp.zeros((1, 2, 2, 1)))
    assert count(params) == 4 * 64 + 64 + 64 * 2 + 2


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ((10, 10), "auto", r"should be \(H, W, C\) or \(N,\). Found \(10, 10\)"),
        ((2, 9, 1), "auto", "H and W at least 3"),
        ((35, 84, 1), "nature", "H and W at least 36"),
        ((7,), "minatar", "H and W at least 3"),
    ],
)
def test_unsuitable_shapes_are_refused(shape, kind, message):
    with pytest.raises(ValueError, match=message):
        encoder(shape, kind=kind)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="`kind` should be 'auto'"):
        inspect.unwrap(encoder)((10, 10, 4), kind="resnet")


def test_a_wrong_observation_is_refused():
    model = encoder((4, 4, 1), features=2)
    params = model.init(jax.random.key(0), jnp.zeros((4, 4, 1)))
    with pytest.raises(ValueError, match=r"should be \(4, 4, 1\)"):
        model.apply(params, jnp.zeros((2, 4, 4, 2)))
