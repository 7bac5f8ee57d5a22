import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.models import resnet18, resnet50

MAKERS = {"resnet18": resnet18, "resnet50": resnet50}


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def shapes(model, images, train=True):
    """Of parameters, state and output; nothing is computed."""
    params, state = jax.eval_shape(model.init, jax.random.key(0), images)

    def run(*args):
        return model.apply(*args, train=train)

    out, _ = jax.eval_shape(run, params, state, images)
    return params, state, out


@pytest.mark.parametrize(
    ("make", "parameters", "statistics"),
    [
        # Running means and variances: as many as the normalisations have parameters.
        (resnet18, 11_689_512, 9_600),
        (resnet50, 25_557_032, 53_120),
    ],
)
def test_parameter_counts_are_the_published_ones(make, parameters, statistics):
    params, state, out = shapes(make(1000), jnp.zeros((2, 224, 224, 3)))
    assert count(params) == parameters
    assert count(state) == statistics
    assert sorted(params) == ["head", "trunk"]
    assert out.shape == (2, 1000)


@pytest.mark.parametrize(("make", "channels"), [(resnet18, 512), (resnet50, 2048)])
def test_dilation_keeps_the_size_and_the_parameters(make, channels):
    images = jnp.zeros((1, 65, 96, 3))
    params, _, out = shapes(make(), images)
    assert list(params) == ["trunk"]
    assert out.shape == (1, 3, 3, channels)
    for dilate, size in (
        ((False, False, True), (5, 6)),
        ((False, True, True), (9, 12)),
        ((True, True, True), (17, 24)),
    ):
        dilated, _, out = shapes(make(dilate=dilate), images)
        assert out.shape == (1, *size, channels)
        assert jax.tree.map(jnp.shape, dilated) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize(("stem", "size"), [("cifar", (4, 4)), ("half", (2, 2))])
def test_small_images(stem, size):
    images = jnp.zeros((1, 32, 32, 3))
    params, _, out = shapes(resnet18(stem=stem), images)
    assert params["trunk"]["stem"]["conv"]["kernel"].shape == (3, 3, 3, 64)
    assert out.shape == (1, *size, 512)


def test_a_dilated_network_is_the_undilated_one_between_its_pixels():
    """Even places of a dilated stage see what the undilated stage sees."""
    plain = resnet18(width=1 / 32, stem="cifar")
    dilated = resnet18(width=1 / 32, stem="cifar", dilate=(False, False, True))
    images = jax.random.normal(jax.random.key(1), (1, 16, 16, 1))
    params, state = jax.jit(plain.init)(jax.random.key(0), images)
    out, _ = jax.jit(lambda *a: plain.apply(*a, train=False))(params, state, images)
    dense, _ = jax.jit(lambda *a: dilated.apply(*a, train=False))(params, state, images)
    assert (out.shape, dense.shape) == ((1, 2, 2, 16), (1, 4, 4, 16))
    np.testing.assert_allclose(dense[:, ::2, ::2], out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_training_moves_the_state_and_evaluation_does_not(name):
    model = MAKERS[name](3, width=1 / 32, stem="cifar")
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 2))
    params, state = jax.jit(model.init)(jax.random.key(0), images)

    def loss(params):
        out, moved = model.apply(params, state, images, train=True)
        return jnp.sum(out**2), (out, moved)

    gradient, (out, moved) = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert out.shape == (4, 3)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert jnp.all(jnp.isfinite(leaf)), path
        if path[-1].key == "kernel":
            assert jnp.any(leaf != 0), path
    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state, moved)
    assert all(jax.tree.leaves(changed))
    _, same = jax.jit(lambda *args: model.apply(*args, train=False))(
        params, state, images
    )
    jax.tree.map(np.testing.assert_array_equal, state, same)


def test_leading_axes_are_one_batch():
    model = resnet18(2, width=1 / 32, stem="half")
    images = jax.random.normal(jax.random.key(1), (2, 3, 8, 8, 1))
    params, state = jax.jit(model.init)(jax.random.key(0), images)
    run = jax.jit(lambda *args: model.apply(*args, train=True)[0])
    flat = run(params, state, images.reshape(6, 8, 8, 1))
    np.testing.assert_allclose(
        run(params, state, images).reshape(6, 2), flat, rtol=1e-4, atol=1e-5
    )


def test_many_seeds_at_once():
    model = resnet18(2, width=1 / 32, stem="half")
    images = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    keys = jax.random.split(jax.random.key(0), 2)
    params, state = jax.jit(jax.vmap(model.init, (0, None)))(keys, images)
    run = jax.vmap(lambda p, s: model.apply(p, s, images, train=True))
    out, moved = jax.jit(run)(params, state)
    assert out.shape == (2, 3, 2)
    assert jax.tree.map(jnp.shape, moved) == jax.tree.map(jnp.shape, state)


def test_half_precision_keeps_float32_parameters_and_statistics():
    model = resnet18(2, width=1 / 32, stem="cifar", dtype=jnp.bfloat16)
    params, state, out = shapes(model, jnp.zeros((1, 8, 8, 1)))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((params, state))}
    assert dtypes == {jnp.dtype("float32")}
    assert out.dtype == jnp.bfloat16


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`stem` should be 'imagenet', 'cifar' or"):
        inspect.unwrap(resnet18)(stem="patch")
    with pytest.raises(ValueError, match="`dilate` should say so for stages 2, 3"):
        resnet50(dilate=(True,))
