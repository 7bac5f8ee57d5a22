import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.models import cnn, mlp


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_mlp_by_hand():
    model = mlp((2,), 1)
    params = {
        "Dense_0": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.array([0.5, 0.0])},
        "Dense_1": {"kernel": jnp.array([[2.0], [7.0]]), "bias": jnp.array([-9.0])},
    }
    np.testing.assert_allclose(model.apply(params, jnp.array([[3.0]])), [[-2.0]])
    trunk = mlp((2,), 1, relu_out=True)
    np.testing.assert_allclose(trunk.apply(params, jnp.array([[3.0]])), [[0.0]])


def test_mlp_of_the_rotated_digits():
    model = mlp((100, 100, 100), 10, flatten=2)
    images = jnp.zeros((2, 28, 28))
    params = jax.eval_shape(model.init, jax.random.key(0), images)
    assert count(params) == 785 * 100 + 2 * 101 * 100 + 101 * 10
    out = jax.eval_shape(model.apply, params, jnp.zeros((4, 5, 28, 28)))
    assert out.shape == (4, 5, 10)


def test_mlp_starts_orthogonal():
    params = mlp((4,), 3, scale=0.5).init(jax.random.key(0), jnp.zeros((1, 6)))
    first, last = params["Dense_0"]["kernel"], params["Dense_1"]["kernel"]
    np.testing.assert_allclose(first.T @ first, 2 * jnp.eye(4), atol=1e-5)
    np.testing.assert_allclose(last.T @ last, 0.25 * jnp.eye(3), atol=1e-5)
    trunk = mlp((4,), 3, relu_out=True).init(jax.random.key(0), jnp.zeros((1, 6)))
    last = trunk["Dense_1"]["kernel"]
    np.testing.assert_allclose(last.T @ last, 2 * jnp.eye(3), atol=1e-5)


def test_mlp_refuses_to_flatten_nothing():
    with pytest.raises(ValueError, match="`flatten` should be at least 1"):
        mlp((2,), 1, flatten=0)


def test_cnn_counts_and_shapes():
    model = cnn(10)
    images = jnp.zeros((2, 28, 28, 1))
    params = jax.eval_shape(model.init, jax.random.key(0), images)
    convolutions = 9 * 32 + 32 + 9 * 32 * 64 + 64
    assert count(params) == convolutions + 7 * 7 * 64 * 128 + 128 + 129 * 10
    assert jax.eval_shape(model.apply, params, images).shape == (2, 10)
    assert jax.eval_shape(model.apply, params, images[0]).shape == (10,)


def test_cnn_by_hand():
    model = cnn(1, channels=(1,), hidden=1)
    params = {
        "Conv_0": {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.array([-2.0])},
        "Dense_0": {"kernel": jnp.array([[1.0], [10.0]]), "bias": jnp.zeros(1)},
        "Dense_1": {"kernel": jnp.array([[3.0]]), "bias": jnp.array([0.25])},
    }
    # A row of ones: sums of 2, 3, 3, 2 in either row of the image; less the bias 0, 1,
    # 1, 0; the largest of each half is 1.
    image = jnp.zeros((2, 4, 1)).at[0].set(1.0)
    np.testing.assert_allclose(model.apply(params, image), [33.25])


def test_cnn_learns_with_either_convolution_alike():
    images = jax.random.normal(jax.random.key(1), (3, 8, 8, 2))
    models = {
        kind: cnn(2, channels=(3, 4), hidden=5, implementation=kind)
        for kind in ("patches", "conv")
    }
    params = models["conv"].init(jax.random.key(0), images)
    gradients = [
        jax.jit(jax.grad(lambda p, m=m: jnp.sum(m.apply(p, images) ** 2)))(params)
        for m in models.values()
    ]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *gradients
    )
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradients[0]))


def test_cnn_with_many_seeds_at_once():
    model = cnn(2, channels=(2,), hidden=3, relu_out=True)
    images = jax.random.normal(jax.random.key(1), (4, 4, 4, 1))
    keys = jax.random.split(jax.random.key(0), 3)
    params = jax.jit(jax.vmap(model.init, (0, None)))(keys, images)
    out = jax.jit(jax.vmap(model.apply, (0, None)))(params, images)
    assert out.shape == (3, 4, 2)
    assert jnp.all(out >= 0)
    one = model.apply(jax.tree.map(lambda x: x[1], params), images)
    np.testing.assert_allclose(out[1], one, rtol=1e-5, atol=1e-6)
