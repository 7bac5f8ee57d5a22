"""CIFAR-100's coarse classes, as problems of their own."""

from __future__ import annotations

import numpy as np

from auxjax.data._images import Images

CIFAR100_COARSE_NAMES = (
    "aquatic_mammals",
    "fish",
    "flowers",
    "food_containers",
    "fruit_and_vegetables",
    "household_electrical_devices",
    "household_furniture",
    "insects",
    "large_carnivores",
    "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores",
    "medium_mammals",
    "non-insect_invertebrates",
    "people",
    "reptiles",
    "small_mammals",
    "trees",
    "vehicles_1",
    "vehicles_2",
)
"""The 20 coarse classes of CIFAR-100, in the order of their numbers."""

# The coarse class of each of the 100 fine ones, which are in alphabetical order.
# fmt: off
_COARSE = np.array([
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11,
    6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5,
    5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
    10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13,
    16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
], np.int32)
# fmt: on


def cifar100_domains(images: Images) -> list[Images]:
    """CIFAR-100 as 20 problems of 5 classes each, one a coarse class.

    Args:
      images: the training or the test images of `cifar100`.

    Returns:
      The images of each coarse class in the order of `CIFAR100_COARSE_NAMES`; their
      labels are 0 to 4, in the order of the fine labels.

    Raises:
      ValueError: a coarse class has no image, or is not that of the fine one.

    Example:
      >>> fine = np.arange(100, dtype=np.int32)
      >>> all_classes = Images(np.zeros((100, 32, 32, 3), np.uint8), fine, _COARSE)
      >>> domains = cifar100_domains(all_classes)
      >>> len(domains), domains[1].labels  # fish
      (20, array([0, 1, 2, 3, 4], dtype=int32))

    References:
      Liu et al., Auto-λ, arXiv 2202.03091, Section 5.1.
    """
    coarse = _COARSE[images.labels]
    if images.coarse is None or not np.array_equal(coarse, images.coarse):
        raise ValueError("`images` should have the coarse classes of CIFAR-100.")
    domains = []
    for k, name in enumerate(CIFAR100_COARSE_NAMES):
        is_here = coarse == k
        if not is_here.any():
            raise ValueError(f"`images` should have all classes. Found no {name}.")
        its_fine_labels = np.flatnonzero(k == _COARSE)
        labels = np.searchsorted(its_fine_labels, images.labels[is_here])
        pictures = images.images[is_here]
        domains.append(Images(pictures, labels.astype(np.int32), coarse[is_here]))
    return domains
