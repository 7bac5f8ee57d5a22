"""Who makes the auxiliary labels: the interface, and those who learn nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from auxjax._types import Array, Float, Shaped
from auxjax.labelling._hierarchy import Hierarchy, check_labels, check_range
from auxjax.labelling._kmeans import kmeans, nearest_centre
from auxjax.labelling._main import MainState


class LabelData(NamedTuple):
    """A training set."""

    images: Any  # [n, ...]
    labels: Any  # [n] int, the main task's
    human: Any = None  # [n] int, auxiliary labels made by humans, in their blocks


class Made(NamedTuple):
    """Auxiliary labels of some images."""

    targets: jax.Array  # [B] int32, or [B, K] distributions
    factors: Any = None  # [B] float, of each sample's auxiliary loss; None: 1
    chances: Any = None  # [B, K], of each label when an agent draws; None: no agent


class Labeller(NamedTuple):
    """Makes the labels, and may learn to.

    Attributes:
      init: `(key, data) -> state`.
      label: `(state, images, labels, human, train) -> Made`; `train` is whether
        statistics are those of the batch.
      learn: `(state, task, main, data, key) -> (state, main, reward)`, an epoch in
        which the labeller learns, with the mean reward `[]`; None: it never does.
      learns_first: whether it does so before the main network's epoch, or after.
    """

    init: Callable[[jax.Array, LabelData], Any]
    label: Callable[..., Made]
    learn: Callable[..., tuple[Any, MainState, jax.Array]] | None = None
    learns_first: bool = False


def human_labeller() -> Labeller:
    """Labels as the data have them.

    Raises:
      ValueError: from `init` and `label`, where there are none.

    Example:
      >>> data = LabelData(jnp.zeros((2, 3)), jnp.array([0, 1]), jnp.array([1, 2]))
      >>> labeller = human_labeller()
      >>> state = labeller.init(jax.random.key(0), data)
      >>> labeller.label(state, *data, False).targets.tolist()
      [1, 2]
    """

    def init(key, data):
        del key
        _need_human(data.human)
        return ()

    def label(state, images, labels, human, train):
        del state, images, labels, train
        _need_human(human)
        return Made(jnp.asarray(human).astype(jnp.int32))

    return Labeller(init, label)


def random_labeller(hierarchy: Hierarchy) -> Labeller:
    """A label of the block for each image, drawn once.

    It is a hash of the image's bits with random multipliers: integers only, so the
    same image has the same label in every batch, on every device and after a restart,
    and images that were never seen have one too.

    Example:
      >>> data = LabelData(jnp.eye(4), jnp.array([0, 0, 1, 1]))
      >>> labeller = random_labeller(Hierarchy(2, 3))
      >>> state = labeller.init(jax.random.key(0), data)
      >>> targets = labeller.label(state, *data, False).targets
      >>> (targets // 3).tolist()  # each in its class's block of three
      [0, 0, 1, 1]
    """

    def init(key, data):
        size = int(np.prod(data.images.shape[1:]))
        return jax.random.bits(key, (size + 1,), jnp.uint32)

    def label(state, images, labels, human, train):
        del human, train
        words = _as_words(images)
        mixed = jnp.sum(words * (state[1:] | 1)[None], axis=1, dtype=jnp.uint32)
        mixed = _finish(mixed + state[0])
        choice = jnp.mod(mixed, jnp.uint32(hierarchy.psi)).astype(jnp.int32)
        return Made(hierarchy.inside(choice, labels))

    return Labeller(init, label)


def kmeans_labeller(
    hierarchy: Hierarchy,
    *,
    iterations: int = 20,
    features: Callable[[Array], Array] | None = None,
) -> Labeller:
    """The nearest of ψ cluster centres of the image's own class.

    Args:
      hierarchy: the blocks.
      iterations: of Lloyd's algorithm.
      features: from images `[B, ...]` to points `[B, ...]`; None: the pixels.

    Returns:
      The labeller; its state are the centres `[K, D]`.

    Example:
      >>> images = jnp.array([[0.0], [0.1], [0.9], [1.0]])
      >>> data = LabelData(images, jnp.zeros(4, int))
      >>> labeller = kmeans_labeller(Hierarchy(1, 2))
      >>> state = labeller.init(jax.random.key(0), data)
      >>> a, b, c, d = labeller.label(state, *data, False).targets.tolist()
      >>> a == b, b == c, c == d
      (True, False, True)
    """

    def points(images):
        numbers = images if features is None else features(images)
        numbers = numbers.reshape(numbers.shape[0], -1)
        is_float = jnp.issubdtype(numbers.dtype, jnp.floating)
        return numbers if is_float else numbers.astype(jnp.float32) / 255

    def init(key, data):
        images, labels = jnp.asarray(data.images), jnp.asarray(data.labels)
        return kmeans(key, points(images), labels, hierarchy, iterations=iterations)

    def label(state, images, labels, human, train):
        del human, train
        return Made(nearest_centre(points(images), labels, state, hierarchy))

    return Labeller(init, label)


def count_labels(
    targets: Shaped[Array, ...], hierarchy: Hierarchy
) -> Float[Array, " K"]:
    """How often each label was given, or the sum of its probabilities."""
    if jnp.issubdtype(targets.dtype, jnp.integer):
        return jnp.sum(jax.nn.one_hot(targets, hierarchy.num_labels), axis=0)
    return jnp.sum(targets.astype(jnp.float32), axis=0)


def check_data(data: LabelData, hierarchy: Hierarchy) -> None:
    """Refuses data that a method cannot learn from.

    Values are looked at where they are at hand: not inside `jax.jit`, where only the
    shapes are known.

    Raises:
      ValueError: leaves of unequal length, labels that are out of range or leave a
        class empty, human labels outside their block.
    """
    samples = data.images.shape[0]
    for name in ("labels", "human"):
        values = getattr(data, name)
        if values is not None and values.shape != (samples,):
            raise ValueError(
                f"`{name}` should be one number per image, {(samples,)}. "
                f"Found {values.shape}."
            )
    if isinstance(data.labels, jax.core.Tracer):
        return
    labels = check_labels(hierarchy, data.labels)
    if data.human is None or isinstance(data.human, jax.core.Tracer):
        return
    human = np.asarray(data.human)
    if not np.issubdtype(human.dtype, np.integer):
        raise ValueError(f"`human` should be integers. Found {human.dtype}.")
    check_range("human", human, hierarchy.num_labels)
    wrong = np.flatnonzero(human // hierarchy.psi != labels)
    if wrong.size:
        i = wrong[0]
        first = hierarchy.psi * labels[i]
        raise ValueError(
            f"`human` should lie in its class's block, {first} to "
            f"{first + hierarchy.psi - 1} for class {labels[i]} of sample {i}. "
            f"Found {human[i]}."
        )


def _need_human(human: Any) -> None:
    if human is None:
        raise ValueError(
            "`human` should be given for the method `human`, one auxiliary label an "
            "image; `human_labels` makes them. Found None."
        )


def _as_words(images: Array) -> jax.Array:
    """An image as uint32 numbers, `[B, size]`, floats by their bits."""
    flat = images.reshape(images.shape[0], -1)
    if jnp.issubdtype(flat.dtype, jnp.floating):
        # −0 and 0 are one number, and should be one image.
        flat = flat.astype(jnp.float32) + jnp.float32(0)
        return jax.lax.bitcast_convert_type(flat, jnp.uint32)
    return flat.astype(jnp.uint32)


def _finish(x: Array) -> jax.Array:
    """MurmurHash3's last steps: every bit of x moves every bit of the result."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
