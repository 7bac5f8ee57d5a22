import inspect
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.models import mtan_dense, split_dense

NYU = {"seg": 13, "depth": 1, "normal": 3}
FORMS = pytest.mark.parametrize("make", [split_dense, mtan_dense])


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def shapes(model, images):
    """Of parameters, state and output; nothing is computed."""
    params, state = jax.eval_shape(model.init, jax.random.key(0), images)

    def run(*args):
        return model.apply(*args, train=True)

    out, moved = jax.eval_shape(run, params, state, images)
    assert jax.tree.map(jnp.shape, moved) == jax.tree.map(jnp.shape, state)
    return params, {task: x.shape for task, x in out.items()}


def drawn(shapes):
    """Numbers for a tree of shapes by NumPy: drawing by JAX takes long to compile."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return jnp.ones(leaf.shape)
        wide = math.prod(leaf.shape[:-1]) if name == "kernel" else math.inf
        return jnp.asarray(rng.normal(size=leaf.shape) * (2 / wide) ** 0.5, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_small(make, tasks, biased, **options):
    """A model, its parameters and state, and images."""
    model = make(tasks, backbone="tiny", **options)
    images = jax.random.normal(jax.random.key(1), (2, 16, 24, 3))
    params, state = drawn(jax.eval_shape(model.init, jax.random.key(0), images))
    head = params["heads"][biased]
    # So narrow a network predicts a zero here and there, which has no direction.
    head.get("decoder", head)["out"]["bias"] = 1 + jnp.arange(1.0 * tasks[biased])
    return model, params, state, images


@pytest.fixture(params=[split_dense, mtan_dense], ids=["split", "mtan"])
def small(request):
    return make_small(request.param, {"seg": 4, "normal": 3}, "normal")


def head_parameters(inputs, out):
    """DeepLab's: five branches of 256, what joins them, a 3×3 and a 1×1."""
    branches = inputs * 256 * (1 + 3 * 9 + 1)
    return branches + 5 * 256 * 256 + 9 * 256 * 256 + 7 * 2 * 256 + 257 * out


def test_one_task_is_torchvisions_deeplab():
    params, out = shapes(split_dense({"seg": 21}), jnp.zeros((1, 224, 224, 3)))
    published = 42_004_074  # with an auxiliary classifier at stage 3, which is counted:
    auxiliary = 1024 * 256 * 9 + 2 * 256 + 257 * 21
    assert count(params) == published - auxiliary == 39_638_869
    assert count(params["heads"]) == head_parameters(2048, 21)
    assert out == {"seg": (1, 224, 224, 21)}


def test_split_shares_all_but_the_heads():
    params, out = shapes(split_dense(NYU), jnp.zeros((1, 288, 384, 3)))
    assert count(params["trunk"]) == 25_557_032 - 2_049_000  # ResNet-50 less its head
    assert {task: count(head) for task, head in params["heads"].items()} == {
        task: head_parameters(2048, out) for task, out in NYU.items()
    }
    assert out == {task: (1, 288, 384, n) for task, n in NYU.items()}


def test_parameters_of_attention_counted_by_hand():
    params, out = shapes(mtan_dense(NYU), jnp.zeros((1, 288, 384, 3)))
    channels = [256, 512, 1024, 2048]

    masks = 0
    for stage, wide in enumerate(channels):
        narrow, seen = wide // 4, wide if stage == 0 else 2 * wide
        # Two convolutions with bias, a normalisation (two numbers) after each.
        masks += (seen + 1 + 2) * narrow + (narrow + 1 + 2) * wide
    for task, numbers in NYU.items():
        head = params["heads"][task]
        assert count(head["attention"]) == masks
        assert count(head["decoder"]) == head_parameters(2048, numbers)

    encoders = 0
    for before, after in itertools.pairwise(channels):
        narrow = after // 4
        convolutions = before * narrow + 9 * narrow**2 + narrow * after
        shortcut = before * after
        encoders += convolutions + shortcut + 2 * (2 * narrow + 2 * after)
    assert count(params["trunk"]) == 25_557_032 - 2_049_000 + encoders
    assert out == {task: (1, 288, 384, n) for task, n in NYU.items()}


@FORMS
@pytest.mark.parametrize("backbone", ["resnet18", "small", "tiny"])
def test_any_size_of_image(make, backbone):
    for size in ((64, 64), (33, 50)):
        model = make({"seg": 5}, backbone=backbone)
        _, out = shapes(model, jnp.zeros((2, *size, 3)))
        assert out == {"seg": (2, *size, 5)}


def test_predictions_and_gradients(small):
    model, params, state, images = small

    def loss(params):
        out, moved = model.apply(params, state, images, train=True)
        return jnp.sum(out["seg"] ** 2), (out, moved)

    gradient, (out, moved) = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert {task: x.shape for task, x in out.items()} == {
        "seg": (2, 16, 24, 4),
        "normal": (2, 16, 24, 3),
    }
    lengths = jnp.linalg.norm(out["normal"], axis=-1)
    np.testing.assert_allclose(lengths, jnp.ones((2, 16, 24)), rtol=1e-4)

    assert not any(jnp.any(x) for x in jax.tree.leaves(gradient["heads"]["normal"]))
    for part in (gradient["trunk"], gradient["heads"]["seg"]):
        for path, leaf in jax.tree_util.tree_leaves_with_path(part):
            assert jnp.all(jnp.isfinite(leaf)), path
            if path[-1].key == "scale":
                assert jnp.any(leaf != 0), path

    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state, moved)
    assert all(jax.tree.leaves(changed))
    _, same = jax.jit(lambda *args: model.apply(*args, train=False))(
        params, state, images
    )
    jax.tree.map(np.testing.assert_array_equal, state, same)


def test_which_tasks_are_made_unit_vectors():
    model, params, state, images = make_small(
        split_dense, {"normal": 3, "flow": 2}, "flow", normalise=("flow",)
    )
    out, _ = jax.jit(lambda *args: model.apply(*args, train=True))(
        params, state, images
    )
    np.testing.assert_allclose(jnp.linalg.norm(out["flow"], axis=-1), 1.0, rtol=1e-4)
    assert jnp.std(jnp.linalg.norm(out["normal"], axis=-1)) > 0.01


@FORMS
def test_group_norm_has_no_state(make):
    model = make({"seg": 2}, backbone="small", norm="group")
    images = jnp.zeros((2, 16, 16, 3))
    _, state = jax.eval_shape(model.init, jax.random.key(0), images)
    assert state == {}


@FORMS
def test_wrong_arguments_are_refused(make):
    with pytest.raises(ValueError, match="`tasks` should name at least one task"):
        make({})
    with pytest.raises(ValueError, match="`backbone` should be one of resnet50, "):
        inspect.unwrap(make)({"seg": 2}, backbone="vgg")
