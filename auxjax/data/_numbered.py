"""Folders of numbered files: `image/0.npy`, `image/1.npy`, … and the same for depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auxjax.data._images import malformed
from auxjax.data._visible import visible

UNKNOWN = 255
"""How labels say that nothing is known where they cannot be negative."""


class Kind(NamedTuple):
    """One of the things known about each scene.

    Attributes:
      folder: of its files.
      suffix: of its files.
      read: makes an array of a file, in its final shape and dtype.
    """

    folder: str
    suffix: str
    read: Callable[[Path], np.ndarray]


def read_splits(
    root: Path,
    splits: tuple[str, ...],
    kinds: Mapping[str, Kind],
    hint: str,
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, np.ndarray]]:
    """Everything about all scenes of each split.

    Args:
      root: the folder of the splits.
      splits: their folders.
      kinds: what is read, by the name it gets.
      hint: the layout expected, for the messages.
      progress: called with the number of files read and of all of them.

    Returns:
      For each split, `[n, ...]` by name.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is truncated or malformed, or of another size than the others.
    """
    counts = [_count(root / split, kinds, hint) for split in splits]
    total, done = sum(counts) * len(kinds), 0
    results = []
    for split, count in zip(splits, counts, strict=True):
        result: dict[str, np.ndarray] = {}
        for name, kind in kinds.items():
            folder = root / split / kind.folder
            for i in range(count):
                path = folder / f"{i}{kind.suffix}"
                array = kind.read(path)
                if i == 0:
                    result[name] = np.empty((count, *array.shape), array.dtype)
                    size = next(iter(result.values())).shape[1:3]
                if array.shape[:2] != size:
                    raise malformed(
                        path,
                        f"be {size[0]} × {size[1]} pixels, as the others",
                        " × ".join(map(str, array.shape[:2])),
                    )
                result[name][i] = array
                done += 1
                if progress is not None:
                    progress(done, total)
        results.append(result)
    return results


def _count(folder: Path, kinds: Mapping[str, Kind], hint: str) -> int:
    """How many scenes there are, all of them complete and numbered from 0."""
    numbers = {kind: _numbers(folder, kind, hint) for kind in kinds.values()}
    everything = set().union(*numbers.values())
    count = next(i for i in range(len(everything) + 1) if i not in everything)
    for kind, there in numbers.items():
        # A number beyond the first gap shows that the one in the gap is missing.
        expected = range(count + (count < len(everything)))
        missing = [i for i in expected if i not in there]
        if missing:
            more = f" and {len(missing) - 1} more" * (len(missing) > 1)
            raise FileNotFoundError(
                f"`{folder / kind.folder / f'{missing[0]}{kind.suffix}'}`{more} "
                f"should be there, as {len(there)} others are. {hint}"
            )
    return count


def _numbers(folder: Path, kind: Kind, hint: str) -> set[int]:
    """The numbers of the files of one kind."""
    path = folder / kind.folder
    if not path.is_dir():
        raise FileNotFoundError(f"`{path}` is missing. {hint}")
    numbers = set()
    for item in visible(path):
        stem = item.name.removesuffix(kind.suffix)
        if not stem.isdecimal() or item.name != f"{int(stem)}{kind.suffix}":
            raise malformed(
                path, f"hold only 0{kind.suffix}, 1{kind.suffix}, …", item.name
            )
        if item.is_file():  # else the file of that number is missing
            numbers.add(int(stem))
    if not numbers:
        raise malformed(path, f"hold 0{kind.suffix}, 1{kind.suffix}, …", "no file")
    return numbers


def read_image(path: Path) -> np.ndarray:
    """`[H, W, 3]` float32 in [0, 1], of floats in that range or of uint8."""
    return as_image(path, _load(path, 3, 3))


def as_image(path: Path, image: np.ndarray) -> np.ndarray:
    """As `read_image`, of what was read."""
    if image.dtype == np.uint8:
        return (image / np.float32(255)).astype(np.float32)
    low, high = image.min(), image.max()
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # rounding; a NaN fails as well
        raise malformed(path, "hold values from 0 to 1", f"{low:g} to {high:g}")
    return np.clip(image, 0, 1).astype(np.float32)


def read_label(path: Path, num_classes: int) -> np.ndarray:
    """`[H, W]` int32, from −1, of any dtype with whole numbers; 255 becomes −1."""
    return as_label(path, _load(path, 2), num_classes)


def as_label(path: Path, label: np.ndarray, num_classes: int) -> np.ndarray:
    """As `read_label`, of what was read."""
    if num_classes <= UNKNOWN:
        label = np.where(label == UNKNOWN, -1, label.astype(np.float64))
    low, high = label.min(), label.max()
    if not (low >= -1 and high < num_classes):
        raise malformed(
            path, f"hold labels from -1 to {num_classes - 1}", f"{low:g} to {high:g}"
        )
    whole = label.astype(np.int32)
    if not np.array_equal(whole, label):
        raise malformed(path, "hold whole numbers", "fractions")
    return whole


def read_finite(path: Path, channels: int) -> np.ndarray:
    """`[H, W, channels]` float32, of finite numbers."""
    values = _load(path, 3, channels).astype(np.float32)
    if not np.isfinite(values).all():
        raise malformed(path, "hold finite numbers", "NaN or infinity")
    return values


def _load(path: Path, axes: int, channels: int | None = None) -> Any:
    """The array of numbers in a `.npy` file."""
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a corrupt file fails in every possible way
        raise malformed(path, "be a whole .npy file of numbers", error) from error
    expected = "[H, W]" if channels is None else f"[H, W, {channels}]"
    is_right = array.ndim == axes and array.size > 0
    if not is_right or (channels is not None and array.shape[-1] != channels):
        raise malformed(path, f"have the shape {expected}", list(array.shape))
    if array.dtype.kind not in "iuf":
        raise malformed(path, "hold numbers", f"dtype {array.dtype}")
    return array
