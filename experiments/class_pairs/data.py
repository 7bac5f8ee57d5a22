"""Pairs of classes, and the images of one: of it, and of the background."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from auxjax import data
from auxjax.run import Progress, RunError, reading
from lab.sources import describe, load


class Pair(NamedTuple):
    """Two classes: whom the main task tells from the others, and the auxiliary task."""

    main: int
    auxiliary: int

    @staticmethod
    def parse(text: str) -> Pair:
        """From `871-484`.

        Example:
          >>> Pair.parse("871-484")
          Pair(main=871, auxiliary=484)
        """
        parts = text.split("-")
        if len(parts) != 2 or not all(x.isdecimal() for x in parts):
            raise ValueError(
                f"a pair should be two classes' numbers, as `871-484`. Found {text!r}."
            )
        if parts[0] == parts[1]:
            raise ValueError(f"a pair should be of two classes. Found {text!r}.")
        return Pair(int(parts[0]), int(parts[1]))

    def __str__(self) -> str:
        return f"{self.main}-{self.auxiliary}"


class Task(NamedTuple):
    """The images of a pair and of the background."""

    images: np.ndarray  # [n, H, W, C] uint8
    kind: np.ndarray  # [n] int32: 0 background, 1 the main class, 2 the auxiliary one


def select(images: data.Images, pair: Pair, seed: int, most: int) -> Task:
    """At most so many images of either class, and as many of the others, shuffled.

    The paper says nothing of how it balances one class against the 998 others.
    """
    random = np.random.default_rng(seed)
    labels = images.labels
    kind = np.where(labels == pair.main, 1, np.where(labels == pair.auxiliary, 2, 0))
    of = [random.permutation(np.flatnonzero(kind == k)) for k in range(3)]
    inside = np.concatenate([of[1][:most], of[2][:most]])
    chosen = random.permutation(np.concatenate([inside, of[0][: len(inside)]]))
    return Task(images.images[chosen], kind[chosen].astype(np.int32))


def check_pairs(config: Any) -> None:
    """Raises a ValueError where the pairs, or the images, are not what can be had."""
    if config.pairs > 22:
        raise ValueError(
            "`pairs` should be at most 22 of the 45 of ten classes: near and far "
            f"would overlap. Found {config.pairs}."
        )
    if config.size < 8:
        raise ValueError(f"`size` should be at least 8. Found {config.size}.")
    for text in (*config.near, *config.far):
        Pair.parse(text)
    if config.folder is not None and not (config.near and config.far):
        raise ValueError(
            "`near` and `far` should name classes where `folder` is given: as "
            "`--near 871-484 --far 920-62`. Found none."
        )


def read(config: Any) -> tuple[data.Images, data.Images, str]:
    """Images to train and to test on, and what they are, in words."""
    if config.folder is not None:
        return read_folder(config)
    train, test = load(config.source, config.data_dir)
    return train, test, describe(config.source, train, test)


def read_folder(config: Any) -> tuple[data.Images, data.Images, str]:
    """The named classes and 20 others of a folder of folders; a fifth is for testing.

    Labels stay the numbers of the sorted folders.
    """
    named = {c for text in (*config.near, *config.far) for c in Pair.parse(text)}
    if not config.folder.is_dir():
        raise RunError(
            f"`folder` should hold a folder per class. Found none at {config.folder}."
        )
    available = [
        path
        for path in sorted(config.folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    ]
    others = [i for i in range(len(available)) if i not in named]
    chosen = [*sorted(named), *np.random.default_rng(0).permutation(others)[:20]]
    numbers = [int(i) for i in chosen]
    with Progress("reading", unit="images", quiet=config.quiet) as bar, reading():
        images = data.image_folder(
            config.folder,
            numbers,
            config.size,
            progress=lambda done, total: bar.update(done, total=total),
        )
    labels = np.asarray(numbers, np.int32)[images.labels]
    order = np.random.default_rng(0).permutation(len(labels))
    cut = len(order) // 5
    test, train = (
        data.Images(images.images[at], labels[at]) for at in (order[:cut], order[cut:])
    )
    described = (
        f"{len(numbers)} classes of {config.folder.name}, {config.size}x{config.size}: "
        f"{len(train.labels):,} training and {len(test.labels):,} test images"
    )
    return train, test, described
