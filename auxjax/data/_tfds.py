"""TensorFlow Datasets, prepared before, read without TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from auxjax._extras import absent, require
from auxjax.data._find import find
from auxjax.data._images import Images, as_labels, malformed
from auxjax.data._visible import visible_below

_FORMATS = "array_record or parquet"


def tfds(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    *,
    image: str = "image",
    label: str = "label",
) -> Images:
    """Images with labels from TensorFlow Datasets, by `tfds.data_source`.

    Nothing is downloaded: the data has to be prepared, as array_record or parquet.

    Args:
      name: of the data set, such as `"cifar10"` or `"cifar10:3.0.2"`.
      split: `"train"`, `"test[:10%]"`, or whatever else it knows.
      data_dir: what holds the folder `name`; see `find` for where else it is looked
        for.
      image: the feature that is the picture.
      label: the feature that is the class.

    Returns:
      The images, `[n, H, W, C]`, all of one size.

    Raises:
      FileNotFoundError: the data set is not there.
      ValueError: it has another format, no such split or features, pictures of several
        sizes, or a file is truncated or malformed.
      ModuleNotFoundError: tensorflow-datasets or what it needs is not installed.

    Example:
      >>> images = tfds("cifar10", "train", "no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: The data was not found. Tried:
        no/such/folder (`data_dir`, which is no folder)
      Expected: the folder cifar10 with its dataset_info.json ...

    References:
      https://www.tensorflow.org/datasets/data_source
    """
    folder_name = name.partition(":")[0].partition("/")[0]
    hint = (
        f"Expected: the folder {folder_name} with its dataset_info.json and {_FORMATS} "
        "files in the folder of its version.\n"
        "Prepare it where TensorFlow Datasets can download: "
        f'tfds.data_source("{name}"). '
        f"https://www.tensorflow.org/datasets/catalog/{folder_name}"
    )
    folder = find(
        [folder_name],
        data_dir,
        hint,
        accept=lambda path: bool(visible_below(path, "dataset_info.json")),
    )
    with _installed(name):
        source = _open(name, split, folder)
        return _read(source, folder, image, label)


@contextlib.contextmanager
def _installed(name: str) -> Iterator[None]:
    """Says what to install where an import inside the block fails."""
    wanted = f"`tfds({name!r})`"
    require("tensorflow_datasets", "data", wanted)
    try:
        yield
    except ImportError as error:  # it imports what it needs for a format late
        raise absent(error, "data", wanted) from error


def _open(name: str, split: str, folder: Path) -> Any:
    """The data source, its errors put in terms of the folder."""
    library = require("tensorflow_datasets", "data", "`tfds`")
    try:
        return library.data_source(
            name, split=split, data_dir=str(folder.parent), download=False
        )
    except ImportError:
        raise
    except NotImplementedError as error:
        # It says so of another format, and also where that version is absent.
        versions = [p.parent.name for p in visible_below(folder, "dataset_info.json")]
        raise malformed(
            folder, f"hold {_FORMATS} files of {name!r}", f"versions {versions}"
        ) from error
    except Exception as error:
        text = str(error).strip().split("\n")[0]
        raise malformed(folder, f"have a split {split!r} of {name!r}", text) from error


def _read(source: Any, folder: Path, image: str, label: str) -> Images:
    """All examples of a source."""
    count = len(source)
    if count == 0:
        raise malformed(folder, "hold at least one example", "none")
    first, _ = _example(source, 0, folder, image, label)
    pictures = np.empty((count, *first.shape), np.uint8)
    labels = np.empty(count, np.int64)
    for i in range(count):
        pixels, labels[i] = _example(source, i, folder, image, label)
        if pixels.shape != first.shape:
            raise malformed(
                folder,
                f"have pictures of one size, {list(first.shape)}",
                list(pixels.shape),
            )
        pictures[i] = pixels
    feature = source.dataset_info.features[label]
    classes = getattr(feature, "num_classes", None) or np.iinfo(np.int32).max
    return Images(pictures, as_labels(folder, labels, count, classes))


def _example(
    source: Any, i: int, folder: Path, image: str, label: str
) -> tuple[np.ndarray, int]:
    """The picture and the class of one example."""
    try:
        example = source[i]
    except ImportError:
        raise
    except Exception as error:  # a corrupt record fails in every possible way
        raise malformed(folder, f"hold example {i}", error) from error
    if not isinstance(example, dict) or not {image, label} <= set(example):
        found = sorted(example) if isinstance(example, dict) else type(example)
        raise malformed(folder, f"have the features {image!r} and {label!r}", found)
    pixels, value = np.asarray(example[image]), np.asarray(example[label])
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise malformed(
            folder,
            f"have pictures [H, W, C] uint8 as {image!r}",
            f"{list(pixels.shape)} {pixels.dtype}",
        )
    if value.ndim or value.dtype.kind not in "iu":
        raise malformed(
            folder,
            f"have whole numbers as {label!r}",
            f"{list(value.shape)} {value.dtype}",
        )
    return pixels, int(value)
