"""What `rl_aux.py` learns: superclasses, and the finer classes that people named."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from auxjax import data
from auxjax.labelling import Hierarchy, LabelData, human_labels
from auxjax.run import reading
from lab.options import Options, free
from lab.sources import NAMES, load
from lab.sources import Source as Embedded

Source = Literal[
    "digits", "mnist_5000", "mnist", "fashion_mnist", "cifar100", "cifar10", "svhn"
]

DIGITS = {
    "even, small": (0, 2, 4),
    "even, large": (6, 8),
    "odd, small": (1, 3),
    "odd, large": (5, 7, 9),
}
"""Parity times size; the digit is what people would say."""
CLOTHES = {
    "tops": (0, 2, 6),  # T-shirt, pullover, shirt
    "dresses, coats": (3, 4),
    "shoes": (5, 7, 9),  # sandal, sneaker, ankle boot
    "trousers, bags": (1, 8),
}
GROUPS: dict[Embedded, Mapping[str, tuple[int, ...]]] = {
    "digits": DIGITS,
    "mnist_5000": DIGITS,
    "mnist": DIGITS,
    "fashion_mnist": CLOTHES,
}
CIFAR10_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
COLOUR_NAMES = {
    "cifar100": "CIFAR-100 in 20 superclasses",
    "cifar10": "CIFAR-10",
    "svhn": "SVHN",
}
PADDING, FLIPS = 4, ("cifar100", "cifar10")  # a mirrored digit is none


@dataclasses.dataclass(frozen=True)
class DataOptions(Options):
    """What the command line says of the data."""

    source: Source = "digits"
    """What to read: the first four in superclasses, CIFAR-100 in its own 20."""
    data_dir: Path | None = free(None)
    """Where the files of the sources lie that are downloaded: all but the first two."""
    train_size: int | None = None
    """Take only so many training images."""
    psi: int | None = None
    """Auxiliary labels of each superclass."""

    def __post_init__(self):
        """Checks it."""
        super().__post_init__()
        self.at_least_one("train_size", "psi")


class Problem(NamedTuple):
    """What there is to learn."""

    train: LabelData  # on the host
    test: data.Images  # likewise; `labels` are the superclasses
    hierarchy: Hierarchy
    names: tuple[str, ...]  # of the superclasses
    described: str
    mean: np.ndarray  # [channels], of the training images as 0 to 1
    std: np.ndarray  # [channels]
    augment: bool  # whether images are shifted at random
    flip: bool  # and mirrored


def read(
    source: Source, data_dir: Path | None, psi: int, train_size: int | None = None
) -> Problem:
    """The images of a source, with their superclasses.

    Args:
      source: which.
      data_dir: where the files of a downloaded source lie.
      psi: auxiliary labels of each superclass.
      train_size: take only so many training images; None: all.

    Returns:
      The problem; `train.human` is None where nobody named finer classes.

    Raises:
      RunError: the files are missing or malformed, or `psi` is below the number of
        finer classes that people named in a superclass.
    """
    names, (train, test) = _read(source, data_dir)
    if train_size is not None:
        kept = np.random.default_rng(0).permutation(len(train.labels))[:train_size]
        coarse = None if train.coarse is None else train.coarse[kept]
        train = data.Images(train.images[kept], train.labels[kept], coarse)
    main, main_test = train.labels, test.labels
    if train.coarse is not None and test.coarse is not None:
        main, main_test = train.coarse, test.coarse
    blocks, human = Hierarchy(len(names), psi), None
    with reading():
        if train.coarse is not None:
            human = human_labels(blocks, main, train.labels)
    scaled = train.images.reshape(-1, train.images.shape[-1])
    title = (NAMES | COLOUR_NAMES)[source]
    counts = f"{len(main):,} training and {len(main_test):,} test images"
    return Problem(
        train=LabelData(train.images, main.astype(np.int32), human),
        test=data.Images(test.images, main_test.astype(np.int32)),
        hierarchy=blocks,
        names=names,
        described=f"{title}, {len(names)} classes with psi = {psi}: {counts}",
        mean=(scaled.mean(axis=0) / 255).astype(np.float32),
        std=(scaled.std(axis=0) / 255 + 1e-6).astype(np.float32),
        augment=source in COLOUR_NAMES,
        flip=source in FLIPS,
    )


def few_to_test(problem: Problem, count: int = 200) -> Problem:
    """The problem with its first test images alone, for a small run."""
    images, labels = (part[:count] for part in problem.test[:2])
    return problem._replace(test=data.Images(images, labels))


def _read(
    source: Source, data_dir: Path | None
) -> tuple[tuple[str, ...], tuple[data.Images, data.Images]]:
    """The superclasses' names; the images, with `coarse` where classes are finer."""
    if source in GROUPS:
        groups = GROUPS[source]
        train, test = load(source, data_dir)
        return tuple(groups), (with_groups(train, groups), with_groups(test, groups))
    with reading():
        if source == "cifar100":
            return data.CIFAR100_COARSE_NAMES, data.cifar100(data_dir)
        if source == "cifar10":
            return CIFAR10_NAMES, data.cifar10(data_dir)
        return tuple(map(str, range(10))), data.svhn(data_dir)


def with_groups(
    images: data.Images, groups: Mapping[str, tuple[int, ...]]
) -> data.Images:
    """The same images with the number of their class's group as `coarse`.

    Example:
      >>> import numpy as np
      >>> images = data.Images(np.zeros((3, 1, 1, 1), np.uint8), np.array([7, 0, 3]))
      >>> with_groups(images, DIGITS).coarse.tolist()
      [3, 0, 2]
    """
    of = {label: i for i, members in enumerate(groups.values()) for label in members}
    coarse = np.array([of[int(label)] for label in images.labels], np.int32)
    return images._replace(coarse=coarse)
