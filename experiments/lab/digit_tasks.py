"""Real digits and the tasks that are made of them.

One seed is one draw of everything: the split, the patches, the noise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

IMAGES = 1797
SIDE = 8  # pixels; of the digits, the patches and the noise maps
# Closed loops of the digits as they are printed: 4 has one.
LOOPS = np.array([1, 0, 0, 0, 1, 0, 1, 0, 2, 1])
ORIENTATIONS = 8
CLASSES = {"digit": 10, "parity": 2, "size": 2, "loops": 3, "patch": ORIENTATIONS}
"""The tasks that can be learned, with their number of classes; the primary first."""
TASKS = (*CLASSES, "noise")
RELATED = ("parity", "size", "loops")
UNRELATED = "patch"


def primary_tasks(primary: str) -> tuple[str, ...]:
    """What `digit` and `all` name; the noise is never among them."""
    return tuple(CLASSES) if primary == "all" else (primary,)


def check_sizes(train_size: int, batch_size: int) -> None:
    """A ValueError where there is no batch to train on, or no image left to test on."""
    if not batch_size <= train_size < IMAGES:
        raise ValueError(
            f"`train_size` should be at least `batch_size` and below {IMAGES}, the "
            f"number of images. Found {train_size} and {batch_size}."
        )


class Samples(NamedTuple):
    """Images with a target per task; leading axis samples."""

    images: jax.Array  # [n, 2 · SIDE²], the digit and beside it the patch
    targets: dict[str, jax.Array]  # [n] int; of the noise [n, SIDE²]


def load() -> tuple[jax.Array, jax.Array]:
    """The 1,797 images `[n, SIDE²]` in [0, 1], and their digits `[n]`."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
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
        **related(digits),
        "patch": orientation,
        "noise": jax.random.uniform(noise_key, images.shape),
    }
    return Samples(jnp.concatenate([images, patches], axis=1), targets)


def related(digits: jax.Array) -> dict[str, jax.Array]:
    """What the digits `[n]` say of the related tasks, each `[n]`."""
    return {
        "parity": digits % 2,
        "size": (digits >= 5).astype(jnp.int32),
        "loops": jnp.asarray(LOOPS, jnp.int32)[digits],
    }


def draw_patches(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Bars of random place and orientation: `[count, SIDE²]`, and which, `[count]`."""
    angle_key, place_key = jax.random.split(key)
    orientation = jax.random.randint(angle_key, (count,), 0, ORIENTATIONS)
    angle = (np.pi / ORIENTATIONS) * orientation.astype(jnp.float32)[:, None, None]
    offset = jax.random.uniform(place_key, (count, 1, 1), minval=-2, maxval=2)
    y, x = jnp.asarray(np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2, jnp.float32)
    distance = x[None] * jnp.sin(angle) - y[None] * jnp.cos(angle) - offset
    return jnp.exp(-(distance**2)).reshape(count, SIDE**2), orientation


def split(key: jax.Array, samples: Any, train_size: int) -> tuple[Any, Any]:
    """Training and test samples, at random: of `Samples` or the like."""
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


def keys_of_seed(seed: Any, number: int) -> jax.Array:
    """For what is drawn before training, whose own keys `lab.loop` splits off the seed.

    Returns:
      `[number]` keys.
    """
    return jax.random.split(jax.random.fold_in(jax.random.key(seed), IMAGES), number)
