"""Images with a main task of few labels, helpers that help, and helpers that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from auxjax import data
from auxjax.run import reading
from lab import digit_tasks, sources
from lab.digit_tasks import RELATED, SIDE, UNRELATED

Source = Literal["digits", "mnist_5000", "mnist", "fashion_mnist", "cifar10"]
MAIN, NOISE, RANDOM = "digit", "noise", "random"
GOOD = {name: digit_tasks.CLASSES[name] for name in RELATED}
"""Helpers that say something of the class, with their number of classes."""
CLASSES = digit_tasks.CLASSES[MAIN]
TEST_SIZE = 2000  # at most; of the images that are not trained on


class Samples(NamedTuple):
    """Images with the helpers' targets, and as many with a label of the main task."""

    images: jax.Array  # [n, H, W, C] in [0, 1], the patch beside what is to be read
    targets: dict[str, jax.Array]  # of the helpers: [n] int; of the noise [n, SIDE²]
    labelled: jax.Array  # [n, H, W, C]: the few that have one, again and again
    labels: jax.Array  # [n] int


def bad_helpers(random_helpers: int) -> dict[str, int]:
    """Those that have nothing to do with the class, with their number of outputs."""
    drawn = {f"{RANDOM} {i + 1}": CLASSES for i in range(random_helpers)}
    return {UNRELATED: digit_tasks.CLASSES[UNRELATED], NOISE: SIDE**2, **drawn}


def load(source: Source, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """All images `[n, H, W, C]` uint8, and their classes `[n]`; seeds split them."""
    if source == "cifar10":
        with reading():
            parts = data.cifar10(data_dir)
    else:
        parts = sources.load(source, data_dir)
    images = np.concatenate([part.images for part in parts])
    return images, np.concatenate([part.labels for part in parts]).astype(np.int32)


def draw_seed(
    images: jax.Array, classes: jax.Array, config: Any
) -> Callable[[Any], tuple[Samples, dict[str, jax.Array]]]:
    """`seed -> (train, test)`: one seed is one draw of split, patches, noise, labels.

    Args:
      images: `[n, H, W, C]`, uint8.
      classes: `[n]`.
      config: `train_size`, `random_helpers`, and of `labels` the first.
    """

    def draw(seed):
        keys = digit_tasks.keys_of_seed(seed, 4)
        patches, orientation = digit_tasks.draw_patches(keys[0], len(classes))
        targets = {
            **digit_tasks.related(classes),
            UNRELATED: orientation,
            NOISE: jax.random.uniform(keys[1], (len(classes), SIDE**2)),
        }
        for i in range(config.random_helpers):
            key = jax.random.fold_in(keys[2], i)
            drawn = jax.random.randint(key, classes.shape, 0, CLASSES)
            targets[f"{RANDOM} {i + 1}"] = drawn
        # Indices are shuffled, and images taken at once where they are wanted.
        everything = Samples(jnp.arange(len(classes)), targets, patches, classes)
        train, test = digit_tasks.split(keys[3], everything, config.train_size)
        beside = with_patches(images, train.images, train.labelled)
        again = jnp.arange(config.train_size) % config.labels[0]
        own = Samples(beside, train.targets, beside[again], train.labels[again])
        kept = jax.tree.map(lambda x: x[:TEST_SIZE], test)
        seen = with_patches(images, kept.images, kept.labelled)
        return own, {"images": seen, "labels": kept.labels}

    return draw


def with_patches(images: jax.Array, at: jax.Array, patches: jax.Array) -> jax.Array:
    """Some images in [0, 1], a patch `[n, SIDE²]` on the right of each, in all colours.

    Returns:
      `[n, H, W + SIDE, C]`.
    """
    chosen = images[at].astype(jnp.float32) / 255
    _, height, _, colours = chosen.shape
    above = (height - SIDE) // 2
    squares = patches.reshape(-1, SIDE, SIDE, 1)
    frame = ((0, 0), (above, height - SIDE - above), (0, 0), (0, 0))
    beside = jnp.repeat(jnp.pad(squares, frame), colours, axis=-1)
    return jnp.concatenate([chosen, beside], axis=2)
