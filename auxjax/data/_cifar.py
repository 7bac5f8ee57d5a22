"""CIFAR-10 and CIFAR-100, from the published archives or the folders in them."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auxjax.data._find import find, require_file
from auxjax.data._images import Images, as_labels, hinted, malformed
from auxjax.data._pickles import read_pickle
from auxjax.data._unzip import unzipped

_PAGE = "Download it from https://www.cs.toronto.edu/~kriz/cifar.html (python version)."


def _hint(folder: str, stem: str) -> str:
    return f"Expected: {stem}-python.tar.gz, or the folder {folder} in it. {_PAGE}"


@hinted(_hint("cifar-10-batches-py", "cifar-10"))
def cifar10(data_dir: str | Path | None = None) -> tuple[Images, Images]:
    """The 60,000 photographs of CIFAR-10, 32 × 32, in 10 classes.

    Args:
      data_dir: the folder of `cifar-10-python.tar.gz`, which is read as it is, or of
        the `cifar-10-batches-py` extracted from it; see `find` for where else.

    Returns:
      The training and the test images, `[n, 32, 32, 3]`, labels 0 to 9: airplane,
      automobile, bird, cat, deer, dog, frog, horse, ship, truck.

    Raises:
      FileNotFoundError: the archive, or a file in it, is missing.
      ValueError: a file is truncated or malformed, or asks for code to be run; the
        archive has links in it, or unpacks to more than the published one could.

    Example:
      >>> train, test = cifar10("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: The data was not found. Tried:
        no/such/folder (`data_dir`, which is no folder)
      Expected: cifar-10-python.tar.gz, or the folder cifar-10-batches-py ...

    References:
      Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    batches = [
        Images(_pixels(path, batch), _labels(path, batch, "labels", 10))
        for path, batch in _load("cifar-10-batches-py", "cifar-10", names, data_dir)
    ]
    images = np.concatenate([batch.images for batch in batches[:-1]])
    labels = np.concatenate([batch.labels for batch in batches[:-1]])
    return Images(images, labels), batches[-1]


@hinted(_hint("cifar-100-python", "cifar-100"))
def cifar100(data_dir: str | Path | None = None) -> tuple[Images, Images]:
    """The 60,000 photographs of CIFAR-100, 32 × 32, in 100 classes and 20 coarse ones.

    Args:
      data_dir: the folder of `cifar-100-python.tar.gz`, which is read as it is, or of
        the `cifar-100-python` extracted from it; see `find` for where else.

    Returns:
      The training and the test images, `[n, 32, 32, 3]`, labels 0 to 99, and in
      `coarse` those of `CIFAR100_COARSE_NAMES`.

    Raises:
      FileNotFoundError: the archive, or a file in it, is missing.
      ValueError: a file is truncated or malformed, or asks for code to be run; the
        archive has links in it, or unpacks to more than the published one could.

    Example:
      >>> train, test = cifar100("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: The data was not found. Tried:
        no/such/folder (`data_dir`, which is no folder)
      Expected: cifar-100-python.tar.gz, or the folder cifar-100-python ...

    References:
      Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    train, test = (
        Images(
            _pixels(path, batch),
            _labels(path, batch, "fine_labels", 100),
            _labels(path, batch, "coarse_labels", 20),
        )
        for path, batch in _load(
            "cifar-100-python", "cifar-100", ["train", "test"], data_dir
        )
    )
    return train, test


def _load(
    folder: str, stem: str, names: Sequence[str], data_dir: str | Path | None
) -> list[tuple[str, dict[str, Any]]]:
    """The pickles of a folder, or of the archive of that folder, with their paths."""
    archive = f"{stem}-python.tar.gz"
    hint = _hint(folder, stem)
    path = find(
        [folder, archive],
        data_dir,
        hint,
        accept=lambda p: p.is_file() if p.name == archive else p.is_dir(),
    )
    if path.is_dir():
        files = [require_file(path / name, hint) for name in names]
        contents = {str(file): file.read_bytes() for file in files}
    else:
        contents = _members(path, [f"{folder}/{name}" for name in names], hint)
    return [(where, read_pickle(content, where)) for where, content in contents.items()]


def _members(path: Path, names: Sequence[str], hint: str) -> dict[str, memoryview]:
    """The contents of some files in an archive, in the order asked for.

    Nothing is extracted, and no link followed: what is in the archive is all there is.
    """
    whole = "be a whole .tar.gz archive"
    content = unzipped(path, whole)
    try:
        with tarfile.open(fileobj=content, mode="r:") as archive:
            members = archive.getmembers()
    except Exception as error:  # a corrupt archive fails in every possible way
        raise malformed(path, whole, error) from error
    contents: dict[str, memoryview] = {}
    for member in members:
        if not (member.isdir() or member.isreg()) or member.issparse():
            kind = "a link" if member.issym() or member.islnk() else "another thing"
            raise malformed(f"{path}/{member.name}", "be a file or a folder", kind)
        if (name := member.name.removeprefix("./")) in names and member.isreg():
            end = member.offset_data + member.size
            contents[name] = content.getbuffer()[member.offset_data : end]
    for name in names:
        if name not in contents:
            raise FileNotFoundError(f"`{name}` is missing in `{path}`. {hint}")
    return {f"{path}/{name}": contents[name] for name in names}


def _get(path: str, batch: dict[str, Any], key: str) -> Any:
    if key not in batch:
        raise malformed(path, f"have the key {key!r}", sorted(map(str, batch)))
    return batch[key]


def _pixels(path: str, batch: dict[str, Any]) -> np.ndarray:
    """`[n, 3072]`, all of red first, as `[n, 32, 32, 3]`."""
    data = _get(path, batch, "data")
    if not isinstance(data, np.ndarray):
        raise malformed(path, "hold images as [n, 3072] uint8", type(data).__name__)
    is_right = data.ndim == 2 and data.shape[1] == 3072 and data.dtype == np.uint8
    if not is_right or not len(data):
        raise malformed(
            path, "hold images as [n, 3072] uint8", f"{list(data.shape)} {data.dtype}"
        )
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _labels(path: str, batch: dict[str, Any], key: str, classes: int) -> np.ndarray:
    count = len(batch["data"])
    return as_labels(path, _get(path, batch, key), count, classes, key)
