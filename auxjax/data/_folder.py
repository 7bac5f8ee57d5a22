"""ImageNet and its like: a folder of pictures for each class."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from auxjax._numbers import integer
from auxjax.data._images import Images, hinted, malformed
from auxjax.data._pixels import centre, open_rgb, pillow
from auxjax.data._visible import visible

_SUFFIXES = (".jpeg", ".jpg", ".png")


_HINT = (
    "Expected: a folder with a folder for each class, JPEG or PNG files in them, such "
    "as ImageNet's train/n01440764. "
    "Download it from https://www.image-net.org/download.php."
)


@hinted(_HINT)
def image_folder(
    folder: str | Path,
    classes: Sequence[str | SupportsIndex],
    size: SupportsIndex,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Pictures of some classes, each class a folder of JPEG or PNG files.

    Of each picture the largest square in its middle is kept and resized; 16 bits per
    channel become 8. Hidden files and folders, and those that operating systems leave
    behind (`__MACOSX`, `Thumbs.db`, `desktop.ini`), do not count.

    Args:
      folder: what holds the classes' folders, such as ImageNet's `train`.
      classes: folders' names, such as `"n01440764"`, or their numbers in the sorted
        list of all of them, from 0: ImageNet's own numbers where all 1,000 are there.
      size: height and width of the images.
      progress: called with the number of pictures read and of all of them.

    Returns:
      The images, `[n, size, size, 3]`, one class after the other; a label is the
      place of its class in `classes`.

    Raises:
      FileNotFoundError: the folder or a class is missing.
      ValueError: a class is empty, asked for twice or not in the list; a file is
        corrupt or no picture; `size` is below 1.
      ModuleNotFoundError: Pillow is not installed.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for name in ("n01440764", "n01443537"):
      ...         Path(folder, name).mkdir()
      ...         red = pillow().new("RGB", (5, 4), (255, 0, 0))
      ...         red.save(Path(folder, name, "0.png"))
      ...     pictures = image_folder(folder, ["n01443537", 0], size=2)
      >>> pictures.images.shape, pictures.labels
      ((2, 2, 2, 3), array([0, 1], dtype=int32))

    References:
      Deng et al., ImageNet: a large-scale hierarchical image database, 2009.
    """
    size = integer("size", size, 1)
    pillow()
    root = Path(os.path.expanduser(folder))
    chosen = _choose(root, classes)
    files = [(label, file) for label, c in enumerate(chosen) for file in _files(c)]
    images = np.empty((len(files), size, size, 3), np.uint8)
    labels = np.empty(len(files), np.int32)
    for i, (label, file) in enumerate(files):
        images[i] = centre(open_rgb(file, file.read_bytes()), size)
        labels[i] = label
        if progress is not None:
            progress(i + 1, len(files))
    return Images(images, labels)


def _choose(root: Path, classes: Sequence[str | SupportsIndex]) -> list[Path]:
    """The folders of the classes asked for."""
    if not root.is_dir():
        raise FileNotFoundError(f"`{root}` is missing. {_HINT}")
    names = [item.name for item in visible(root) if item.is_dir()]
    if not names:
        raise malformed(root, "hold a folder for each class", "none")
    chosen = []
    for wanted in classes:
        if isinstance(wanted, str):
            if wanted not in names:
                raise FileNotFoundError(
                    f"`{root / wanted}` is missing. Found {len(names)} other classes, "
                    f"such as {names[0]}."
                )
            chosen.append(root / wanted)
        elif 0 <= (number := integer("classes", wanted)) < len(names):
            chosen.append(root / names[number])
        else:
            raise ValueError(
                f"`classes` should be from 0 to {len(names) - 1}, the number of the "
                f"last folder in `{root}`. Found {number}."
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"`classes` should name some classes, each once. Found {list(classes)}."
        )
    return chosen


def _files(folder: Path) -> list[Path]:
    """The pictures of a class, sorted."""
    files = visible(folder)
    if not files:
        raise malformed(folder, "hold pictures", "none")
    for file in files:
        if not file.is_file() or file.suffix.lower() not in _SUFFIXES:
            raise malformed(file, f"be a picture ({', '.join(_SUFFIXES)})", "another")
    return files
