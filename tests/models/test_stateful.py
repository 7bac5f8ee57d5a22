import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax.models import resnet18, vgg16
from auxjax.models._stateful import ConvNorm, stateful_from_linen
from auxjax.supervised import init_state, make_step


def tiny(norm="batch", **options):
    """One 1×1 convolution that changes nothing, then a normalisation."""
    layer = ConvNorm(2, 1, activation=None, norm=norm, **options)
    model = stateful_from_linen(layer)
    images = 3 + 2 * jax.random.normal(jax.random.key(1), (4, 3, 3, 2))
    params, state = model.init(jax.random.key(0), images)
    params["conv"]["kernel"] = jnp.eye(2).reshape(1, 1, 2, 2)
    return model, params, state, images


def test_batch_statistics_are_numpys():
    model, params, state, images = tiny()
    out, moved = model.apply(params, state, images, train=True)
    x = np.asarray(images)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(out, (x - mean) / np.sqrt(var + 1e-5), atol=1e-4)
    np.testing.assert_allclose(moved["norm"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(moved["norm"]["var"], 0.9 + 0.1 * var, rtol=1e-5)


def test_evaluation_uses_the_state_and_leaves_it():
    model, params, _, images = tiny()
    state = {"norm": {"mean": jnp.array([1.0, 0.0]), "var": jnp.array([4.0, 1.0])}}
    out, same = model.apply(params, state, images, train=False)
    np.testing.assert_allclose(out[..., 0], (images[..., 0] - 1) / 2, rtol=1e-4)
    np.testing.assert_allclose(out[..., 1], images[..., 1], rtol=1e-4)
    assert same is state


def test_group_statistics_are_each_images_own():
    model, params, state, images = tiny("group")
    assert state == {}
    out, moved = model.apply(params, state, images, train=True)
    assert moved == {}
    alone, _ = model.apply(params, state, images[2], train=False)
    np.testing.assert_allclose(out[2], alone, rtol=1e-4, atol=1e-5)


def test_an_unknown_norm_is_refused():
    for make, *args in ((vgg16, [2]), (resnet18,)):
        with pytest.raises(ValueError, match="`norm` should be 'batch' or 'group'"):
            inspect.unwrap(make)(*args, norm="layer")


def test_it_trains_by_the_supervised_step():
    model = vgg16([3, 2], width=1 / 64, hidden=4)
    images = jax.random.normal(jax.random.key(1), (4, 4, 4, 1))
    params, model_state = jax.jit(model.init)(jax.random.key(0), images)

    def losses(params, state, images):
        logits, state = model.apply(params, state, images, train=True)
        return tuple(jnp.mean(x**2) for x in logits), state

    tx = optax.chain(auxjax.olaux(num_tasks=2, n=1), optax.sgd(0.1))
    step = jax.jit(make_step(losses, tx, has_state=True))
    state = init_state(params, tx, jax.random.key(2), model_state)
    after, metrics = step(state, images)
    assert metrics.losses.shape == (2,)
    _, moved = model.apply(params, model_state, images, train=True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        after.model_state,
        moved,
    )
    kernel = after.params["trunk"]["conv1_1"]["conv"]["kernel"]
    assert jnp.any(kernel != params["trunk"]["conv1_1"]["conv"]["kernel"])
