"""Pickles from the net, of which only arrays and plain containers are let in.

A pickle may name any function to be called, so a stranger's file is a stranger's
program. The published CIFAR files need three names of NumPy's and nothing else.
"""

from __future__ import annotations

import codecs
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from auxjax.data._images import malformed


def read_pickle(content: bytes, path: Path | str) -> dict[str, Any]:
    """A pickled dict of arrays, lists, numbers and strings, its keys as `str`.

    Args:
      content: the pickle.
      path: where it was, for the message.

    Returns:
      The dict.

    Raises:
      ValueError: it is truncated, corrupt, no dict, or asks for anything else.
    """
    try:
        value = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a corrupt pickle fails in every possible way
        raise malformed(path, "be a whole pickle of plain arrays", error) from error
    if not isinstance(value, dict):
        raise malformed(path, "be a pickled dict", type(value).__name__)
    return {
        k.decode(errors="replace") if isinstance(k, bytes) else k: v
        for k, v in value.items()
    }


def _dtype(name: Any, align: Any = False, copy: Any = False) -> np.dtype:
    """`np.dtype` as Python 2 wrote it: with 0 and 1, which NumPy 2.4 deprecates."""
    return np.dtype(name, align=bool(align), copy=bool(copy))


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in Python 2's protocols."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"the encoding {encoding!r}")
    return codecs.encode(text, "latin1")


def _allowed() -> dict[tuple[str, str], Any]:
    """What a pickle may name, and what it gets for it."""
    # NumPy's own way of taking an array apart; where it puts the function together
    # again has moved (`numpy.core` to `numpy._core`), the function has not.
    reconstruct = np.zeros(0).__reduce__()[0]
    allowed = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _dtype,
        ("_codecs", "encode"): _latin1,
    }
    for core in ("numpy.core", "numpy._core"):
        allowed[core + ".multiarray", "_reconstruct"] = reconstruct
    return allowed


class _ArraysOnly(pickle.Unpickler):
    """Finds no name outside the list."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _allowed()[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"a call of {module}.{name}") from None
