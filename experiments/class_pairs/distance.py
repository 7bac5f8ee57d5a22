"""How far two classes are apart: Fréchet's distance between their features.

The paper takes the features of a ResNetV2-50 that learned all of ImageNet, and the
classes' lowest common ancestor in WordNet as well. Here the features are those of a
small network that learned to tell all the classes apart, on the training images.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax import sum_tasks
from auxjax.data import Images
from auxjax.models import cnn, linear_head
from auxjax.run import RunError
from auxjax.supervised import init_state, make_train
from class_pairs.data import Pair

FEATURES = 32


def features(
    images: np.ndarray, labels: np.ndarray, *, epochs: int = 5, batch_size: int = 128
) -> np.ndarray:
    """The last layer before the logits of a network that was trained on all classes.

    Args:
      images: `[n, H, W, C]` uint8.
      labels: `[n]`.
      epochs: passes over them; 0: the features of a network that learned nothing.
      batch_size: images per step.

    Returns:
      `[n, 32]` float64, after the ReLU.
    """
    classes = int(labels.max()) + 1
    trunk = cnn(FEATURES, channels=(16, 32), hidden=64, relu_out=True)
    head = linear_head(classes)
    keys = jax.random.split(jax.random.key(0), 3)
    tx = optax.chain(sum_tasks(), optax.adam(1e-3))

    @jax.jit
    def start(keys):
        params = {
            "trunk": trunk.init(keys[0], jnp.zeros((1, *images.shape[1:]))),
            "head": head.init(keys[1], jnp.zeros((1, FEATURES))),
        }
        return init_state(params, tx, keys[2])

    def embed(params, x):
        return trunk.apply(params["trunk"], x.astype(jnp.float32) / 255)

    def losses(params, batch):
        logits = head.apply(params["head"], embed(params, batch["images"]))
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        return {"class": jnp.mean(cross_entropy(logits, batch["labels"]))}

    batch_size = min(batch_size, len(labels))
    learn = make_train(losses, tx, batch_size=batch_size, num_epochs=max(epochs, 1))
    data = {"images": jnp.asarray(images), "labels": jnp.asarray(labels)}
    state = start(keys)
    if epochs:
        state, _ = jax.jit(learn)(state, data)
    embedded = jax.jit(lambda x: embed(state.params, x))
    pieces = np.array_split(np.asarray(images), -(-len(images) // 1000))
    return np.concatenate([np.asarray(embedded(x), np.float64) for x in pieces])


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """‖μₐ − μ_b‖² + tr(Σₐ + Σ_b − 2 (Σₐ Σ_b)^½) of two sets of features.

    Args:
      a: `[n, d]`.
      b: `[m, d]`.

    Returns:
      The squared distance of the two normal distributions with their moments
      (Heusel et al. 2017, arXiv 1706.08500, Eq. 6).

    Example:
      >>> a = np.array([[0.0], [2.0]])
      >>> frechet(a, a + 3.0)
      9.0
      >>> frechet(a, 2 * a)  # means 1 and 2, deviations √2 and √8
      3.0
    """
    gap = a.mean(axis=0) - b.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # The eigenvalues of ΣₐΣ_b are those of a positive semi-definite matrix.
    eigenvalues = np.linalg.eigvals(first @ second).real
    root = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    total = gap @ gap + np.trace(first) + np.trace(second) - 2 * root
    return float(round(max(total, 0.0), 9))


def distances(embedded: np.ndarray, labels: np.ndarray) -> dict[tuple[int, int], float]:
    """Of every pair of classes (the smaller number first), the nearest pair first."""
    between = {
        (a, b): frechet(embedded[labels == a], embedded[labels == b])
        for a in np.unique(labels).tolist()
        for b in np.unique(labels).tolist()
        if a < b
    }
    return dict(sorted(between.items(), key=lambda item: item[1]))


def choose(config: Any, data: Images) -> dict[str, list[tuple[Pair, float]]]:
    """The near and the far pairs, each with its distance.

    Args:
      config: names them, as `near` and `far`, or says how many there are: `pairs`.
      data: what to train on.

    Raises:
      RunError: a pair is named of a class that is not there.
    """
    labels = np.asarray(data.labels)
    embedded = features(data.images, labels, epochs=0 if config.smoke else 5)
    between = distances(embedded, labels)
    every = [(Pair(*pair), distance) for pair, distance in between.items()]

    def named(texts):
        wanted = [Pair.parse(text) for text in texts]
        for pair in wanted:
            if (min(pair), max(pair)) not in between:
                raise RunError(
                    f"the classes of a pair should be two of {labels.min()} to "
                    f"{labels.max()}. Found {pair}."
                )
        return [(pair, between[min(pair), max(pair)]) for pair in wanted]

    return {
        "near": named(config.near) or every[: config.pairs],
        "far": named(config.far) or every[-config.pairs :][::-1],
    }
