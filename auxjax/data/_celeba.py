"""CelebA: faces with 40 attributes."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from auxjax._numbers import integer
from auxjax.data._decoded import cache_folder, decode_once, fingerprint
from auxjax.data._find import find, require_file
from auxjax.data._images import Attributes, hinted, malformed
from auxjax.data._pixels import open_rgb, pillow, squeeze

_ATTRIBUTES, _PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
_PICTURES, _ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
# Where each lies in the folder, or else in the published archive's own folders.
_PLACES = {_ATTRIBUTES: "Anno", _PARTITION: "Eval", _PICTURES: "Img", _ARCHIVE: "Img"}
_COUNT = 40
_LARGEST = 16 * 2**20  # bytes of a picture; the published ones have 10,000
_HINT = (
    f"Expected in one folder: {_ATTRIBUTES}, {_PARTITION}, and the folder {_PICTURES} "
    f"or {_ARCHIVE}; or, as published, in its folders Anno, Eval and Img.\n"
    "Download them from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (aligned)."
)


@hinted(_HINT)
def celeba(
    data_dir: str | Path | None = None,
    size: SupportsIndex = 64,
    *,
    cache_dir: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Attributes, Attributes, Attributes]:
    """The 202,599 faces of CelebA with their 40 attributes.

    Each whole picture is squeezed into a square. All are decoded once, into a file that
    is mapped from then on (2.5 GB at 64 × 64).

    Args:
      data_dir: the folder of the files (or of `Anno/`, `Eval/` and `Img/`), or one with
        `celeba/` in it; see `find` for where else they are looked for.
      size: height and width of the images.
      cache_dir: the folder of the decoded pictures; by default `AUXJAX_CACHE`, or
        `auxjax` in `XDG_CACHE_HOME` or `~/.cache`. A file whose size or date is
        another is decoded again.
      progress: called with the number of pictures decoded and of all of them.

    Returns:
      The training, validation and test images, `[n, size, size, 3]`, attributes
      `[n, 40]`.

    Raises:
      FileNotFoundError: a file or a picture is missing.
      ValueError: a file or a picture is truncated or malformed, or a picture is listed
        twice; `size` is below 1.
      ModuleNotFoundError: Pillow is not installed.

    Example:
      >>> train, validation, test = celeba("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: The data was not found. Tried:
        no/such/folder (`data_dir`, which is no folder)
      Expected in one folder: list_attr_celeba.txt, list_eval_partition.txt, ...

    References:
      Liu et al., Deep learning face attributes in the wild, arXiv 1411.7766.
    """
    size = integer("size", size, 1)
    pillow()
    folder = find(
        ["celeba", "CelebA", ""],
        data_dir,
        _HINT,
        accept=lambda path: any(_part(path, name) is not None for name in _PLACES),
    )
    table, parts = (_table(folder, name) for name in (_ATTRIBUTES, _PARTITION))
    names, files, values = _read_attributes(table)
    partition = _read_partition(parts, files)
    pictures = _part(folder, _PICTURES) or _table(folder, _ARCHIVE)
    content = [pictures]
    if pictures.is_dir():
        content = [require_file(pictures / name, _HINT) for name in files]

    # In the order of the parts, each of them is a slice of one array.
    order = np.argsort(partition, kind="stable")
    key = fingerprint(folder, [table, parts, *content], size)
    cache = cache_folder(cache_dir)
    with _reader(pictures) as read:
        images = decode_once(
            None if cache is None else cache / f"celeba-{size}-{key}.npy",
            [files[i] for i in order],
            read,
            lambda name, content: squeeze(open_rgb(pictures / name, content), size),
            (size, size, 3),
            progress,
        )
    ends = np.searchsorted(partition[order], [1, 2])
    train, validation, test = (
        Attributes(part_images, part_values, names)
        for part_images, part_values in zip(
            np.split(images, ends), np.split(values[order], ends), strict=True
        )
    )
    return train, validation, test


def _part(folder: Path, name: str) -> Path | None:
    """Where one of the parts lies, if it is there and is what it should be."""
    for path in (folder / name, folder / _PLACES[name] / name):
        if path.is_dir() if name == _PICTURES else path.is_file():
            return path
    return None


def _table(folder: Path, name: str) -> Path:
    """A part that has to be there, and has to be a file."""
    return _part(folder, name) or require_file(folder / name, _HINT)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise malformed(path, "be a text file", error) from error


def _read_attributes(path: Path) -> tuple[tuple[str, ...], list[str], np.ndarray]:
    """The attributes' names, the pictures' names, `[n, 40]` of 0 and 1."""
    lines = _lines(path)
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise malformed(
            path, "begin with the number of pictures", repr("\n".join(lines[:1]))
        )
    names = tuple(lines[1].split())
    if len(names) != _COUNT:
        raise malformed(path, f"name {_COUNT} attributes in line 2", len(names))
    if len(lines) - 2 != int(lines[0]):
        raise malformed(path, f"list {lines[0].strip()} pictures", len(lines) - 2)
    files, rows = {}, []
    for line in lines[2:]:
        file, *row = line.split()
        if len(row) != _COUNT or not set(row) <= {"1", "-1"}:
            raise malformed(path, f"give {file} {_COUNT} times 1 or -1", repr(line))
        if file in files:
            raise malformed(path, "list each picture once", f"{file} twice")
        files[file] = None  # a set that keeps its order
        rows.append(row)
    return names, list(files), (np.array(rows) == "1").astype(np.int32)


def _read_partition(path: Path, files: list[str]) -> np.ndarray:
    """The part of each picture: 0 to train on, 1 to validate, 2 to test."""
    parts = {}
    for line in _lines(path):
        file, *part = line.split()
        if part not in (["0"], ["1"], ["2"]):
            raise malformed(path, f"give {file} a 0, 1 or 2", repr(line))
        if file in parts:
            raise malformed(path, "list each picture once", f"{file} twice")
        parts[file] = int(part[0])
    if apart := sorted(parts.keys() ^ set(files)):
        raise malformed(
            path,
            f"list the same pictures as {_ATTRIBUTES}",
            f"{len(apart)} in only one of them, such as {apart[0]}",
        )
    partition = np.array([parts[file] for file in files])
    if absent := sorted({0, 1, 2} - set(partition.tolist())):
        raise malformed(
            path, "have pictures in the parts 0, 1 and 2", f"no {absent[0]}"
        )
    return partition


@contextlib.contextmanager
def _reader(pictures: Path) -> Iterator[Callable[[str], bytes]]:
    """What reads a picture by its name, from the folder or the archive."""
    if pictures.is_dir():
        yield lambda name: require_file(pictures / name, _HINT).read_bytes()
        return
    broken = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)
    try:
        archive = zipfile.ZipFile(pictures)
    except broken as error:
        raise malformed(pictures, "be a whole zip file", error) from error

    def read(name: str) -> bytes:
        try:
            info = archive.getinfo(f"{_PICTURES}/{name}")
            if info.file_size > _LARGEST:
                raise malformed(
                    pictures / name, f"unpack to at most {_LARGEST:,} bytes", "more"
                )
            return archive.read(info)
        except KeyError:
            raise FileNotFoundError(
                f"`{_PICTURES}/{name}` is missing in `{pictures}`. {_HINT}"
            ) from None
        except broken as error:
            raise malformed(pictures / name, "be whole", error) from error

    with archive:
        yield read
