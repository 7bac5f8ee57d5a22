"""The digits, six tasks on them, and the network that learns them all.

One seed is one draw of everything: the split, the patches, the noise, the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax.models import linear_head, mlp_head

SIDE = 8  # pixels; of the digits, the patches and the noise maps
# Closed loops of the digits as they are printed: 4 has one.
LOOPS = np.array([1, 0, 0, 0, 1, 0, 1, 0, 2, 1])
ORIENTATIONS = 8
CLASSES = {"digit": 10, "parity": 2, "size": 2, "loops": 3, "patch": ORIENTATIONS}
"""The tasks that can be learned, with their number of classes; the primary first."""
TASKS = (*CLASSES, "noise")
RELATED = ("parity", "size", "loops")
UNRELATED = "patch"


class Samples(NamedTuple):
    """Images with a target per task; leading axis samples."""

    images: jax.Array  # [n, 2 · SIDE²], the digit and beside it the patch
    targets: dict[str, jax.Array]  # [n] int; of the noise [n, SIDE²]


def load() -> tuple[jax.Array, jax.Array]:
    """The 1,797 images `[n, SIDE²]` in [0, 1], and their digits `[n]`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = jnp.asarray(digits.data / 16, jnp.float32)
    return images, jnp.asarray(digits.target, jnp.int32)


def draw_tasks(key: jax.Array, images: jax.Array, digits: jax.Array) -> Samples:
    """All tasks' targets, drawn once: an image keeps its patch and its noise.

    `parity`, `size` (5 or above) and `loops` say something of the digit. `patch` is as
    real a task, with nothing in common with it: beside each digit stands a patch with
    a bar, whose orientation is to be told, and which was drawn without a look at the
    digit. So no feature of the one half of the image helps with the other, and both
    have to share the trunk. `noise` is a map of independent U(0, 1) pixels per image.
    """
    patch_key, noise_key = jax.random.split(key)
    patches, orientation = draw_patches(patch_key, len(digits))
    targets = {
        "digit": digits,
        "parity": digits % 2,
        "size": (digits >= 5).astype(jnp.int32),
        "loops": jnp.asarray(LOOPS, jnp.int32)[digits],
        "patch": orientation,
        "noise": jax.random.uniform(noise_key, images.shape),
    }
    return Samples(jnp.concatenate([images, patches], axis=1), targets)


def draw_patches(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Bars of random place and orientation: `[count, SIDE²]`, and which, `[count]`."""
    angle_key, place_key = jax.random.split(key)
    orientation = jax.random.randint(angle_key, (count,), 0, ORIENTATIONS)
    angle = (np.pi / ORIENTATIONS) * orientation.astype(jnp.float32)[:, None, None]
    offset = jax.random.uniform(place_key, (count, 1, 1), minval=-2, maxval=2)
    y, x = jnp.asarray(np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2, jnp.float32)
    distance = x[None] * jnp.sin(angle) - y[None] * jnp.cos(angle) - offset
    return jnp.exp(-(distance**2)).reshape(count, SIDE**2), orientation


def split(key: jax.Array, samples: Samples, train_size: int) -> tuple[Samples, Samples]:
    """Training and test samples, at random."""
    order = jax.random.permutation(key, len(samples.images))
    shuffled = jax.tree.map(lambda x: x[order], samples)
    return (
        jax.tree.map(lambda x: x[:train_size], shuffled),
        jax.tree.map(lambda x: x[train_size:], shuffled),
    )


def corrupt(key: jax.Array, samples: Samples, share: float) -> Samples:
    """Gives a share of the samples a digit drawn at random; the helpers stay right."""
    where_key, what_key = jax.random.split(key)
    digits = samples.targets["digit"]
    wrong = jax.random.bernoulli(where_key, share, digits.shape)
    drawn = jax.random.randint(what_key, digits.shape, 0, CLASSES["digit"])
    digits = jnp.where(wrong, drawn, digits)
    return samples._replace(targets={**samples.targets, "digit": digits})


class Network(NamedTuple):
    """A trunk that all tasks share, and a linear head each.

    Attributes:
      init: `key -> params`.
      losses: `(params, samples, key) -> {task: loss}`, `TASKS` in their order.
      accuracy: `(params, samples) -> {task: share of right answers}`, without noise.
    """

    init: Callable[[jax.Array], Any]
    losses: Callable[[Any, Samples, jax.Array], dict[str, jax.Array]]
    accuracy: Callable[[Any, Samples], dict[str, jax.Array]]


def make_network(hidden: int, pixel_noise: float) -> Network:
    """Two hidden layers of ReLUs, then the heads.

    Args:
      hidden: units of both layers.
      pixel_noise: deviation of the noise added to every image, anew in every step, so
        that a few hundred images are not learned by heart at once.
    """
    trunk = mlp_head(hidden, hidden)
    heads = {name: linear_head(classes) for name, classes in CLASSES.items()}
    heads["noise"] = linear_head(SIDE**2)

    def init(key):
        keys = jax.random.split(key, len(heads) + 1)
        features = jnp.zeros((1, hidden))
        named = zip(heads.items(), keys[1:], strict=True)
        return {
            "trunk": trunk.init(keys[0], jnp.zeros((1, 2 * SIDE**2))),
            "heads": {name: head.init(k, features) for (name, head), k in named},
        }

    def outputs(params, images):
        features = jax.nn.relu(trunk.apply(params["trunk"], images))
        return {
            name: head.apply(params["heads"][name], features)
            for name, head in heads.items()
        }

    def losses(params, samples, key):
        noise = pixel_noise * jax.random.normal(key, samples.images.shape)
        found, targets = outputs(params, samples.images + noise), samples.targets
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        return {
            **{n: jnp.mean(cross_entropy(found[n], targets[n])) for n in CLASSES},
            "noise": jnp.mean(jnp.abs(found["noise"] - targets["noise"])),
        }

    def accuracy(params, samples):
        found = outputs(params, samples.images)
        return {
            name: jnp.mean(jnp.argmax(found[name], axis=-1) == samples.targets[name])
            for name in CLASSES
        }

    return Network(init, losses, accuracy)
