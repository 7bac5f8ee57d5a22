import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.models import vgg16


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.fixture
def small():
    model = vgg16([3, 2], width=1 / 64, hidden=4)
    images = jax.random.normal(jax.random.key(1), (2, 4, 8, 8, 1))
    params, state = jax.jit(model.init)(jax.random.key(0), images)
    return model, params, state, images


def test_parameter_counts_are_the_published_ones():
    images = jnp.zeros((2, 32, 32, 3))
    params, state = jax.eval_shape(vgg16([5, 100]).init, jax.random.key(0), images)
    assert count(params["trunk"]) == 14_723_136
    assert count(state) == 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)
    heads = [513 * 512 + 513 * 5, 513 * 512 + 513 * 100]
    assert [count(head) for head in params["heads"]] == heads
    linear = vgg16([5], hidden=None)
    params, _ = jax.eval_shape(linear.init, jax.random.key(0), images)
    assert count(params["heads"]) == 513 * 5


def test_shapes():
    model, images = vgg16([5] * 20), jnp.zeros((20, 32, 32, 32, 3))
    params, state = jax.eval_shape(model.init, jax.random.key(0), images)

    def shapes(images, head):
        def run(*args):
            return model.apply(*args, train=True, head=head)

        out, moved = jax.eval_shape(run, params, state, images)
        assert jax.tree.map(jnp.shape, moved) == jax.tree.map(jnp.shape, state)
        return jax.tree.map(jnp.shape, out)

    assert shapes(images[0], None) == ((32, 5),) * 20
    assert shapes(images[0], 7) == (32, 5)
    assert shapes(images, "own") == ((32, 5),) * 20


def test_the_choice_of_heads_changes_no_number(small):
    model, params, state, images = small
    run = jax.jit(model.apply, static_argnames=("train", "head"))
    both, _ = run(params, state, images, train=True)
    own, moved = run(params, state, images, train=True, head="own")
    for task in range(2):
        np.testing.assert_allclose(own[task], both[task][task], rtol=1e-5, atol=1e-6)
        one, moved_too = run(params, state, images, train=True, head=task)
        np.testing.assert_allclose(one, both[task], rtol=1e-5, atol=1e-6)
        jax.tree.map(np.testing.assert_array_equal, moved, moved_too)


def test_a_gradient_reaches_the_trunk_and_its_own_head_only(small):
    model, params, state, images = small

    def loss(params):
        logits, _ = model.apply(params, state, images, train=True)
        return jnp.sum(logits[1] ** 2)

    gradient = jax.jit(jax.grad(loss))(params)
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(gradient["heads"][0]))
    assert all(jnp.any(leaf) for leaf in jax.tree.leaves(gradient["heads"][1]))
    for name, layer in gradient["trunk"].items():
        assert jnp.any(layer["conv"]["kernel"]), name
        assert jnp.any(layer["norm"]["scale"]), name


def test_training_moves_the_state_and_evaluation_does_not(small):
    model, params, state, images = small
    _, moved = model.apply(params, state, images, train=True, head=0)
    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state, moved)
    assert all(jax.tree.leaves(changed))
    _, same = model.apply(params, state, images, train=False, head=0)
    jax.tree.map(np.testing.assert_array_equal, state, same)


def test_group_norm_has_no_state_and_treats_images_apart():
    model = vgg16([3], width=1 / 32, norm="group", hidden=4)
    images = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    params, state = jax.jit(model.init)(jax.random.key(0), images)
    assert state == {}
    run = jax.jit(model.apply, static_argnames=("train", "head"))
    (out,), _ = run(params, state, images, train=True)
    (alone,), _ = run(params, state, images[1:2], train=True)
    np.testing.assert_allclose(out[1:2], alone, rtol=1e-4, atol=1e-5)


def test_wrong_arguments_are_refused(small):
    model, params, state, images = small
    with pytest.raises(ValueError, match="`heads` should name at least one task"):
        vgg16([])
    for head in (2, -1, "all"):
        with pytest.raises(ValueError, match="`head` should be None, 'own' or below 2"):
            model.apply(params, state, images, train=True, head=head)
    with pytest.raises(ValueError, match="first axis should be the 2 tasks"):
        model.apply(params, state, images[0], train=True, head="own")
