"""Pickles from the net, of which only arrays and plain containers are let in.

A pickle may name any function to be called, and may set the attributes of what it was
given, so a stranger's file is a stranger's program. CIFAR's files, as published or
pickled again by Python 3, need five names and nothing else. For these a pickle is given
stand-ins, which can do one thing and have no attributes, never a function or a type.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from auxjax.data._images import malformed


def read_pickle(content: bytes | memoryview, path: Path | str) -> dict[str, Any]:
    """A pickled dict of arrays, numbers, strings and lists of these, its keys as `str`.

    Args:
      content: the pickle.
      path: where it was, for the message.

    Returns:
      The dict.

    Raises:
      ValueError: it is truncated, corrupt, no dict, or asks for anything else.
    """
    try:
        value = _ArraysOnly(content).load()
    except Exception as error:  # a corrupt pickle fails in every possible way
        raise malformed(path, "be a whole pickle of plain arrays", error) from error
    if not isinstance(value, dict):
        raise malformed(path, "be a pickled dict", type(value).__name__)
    return {_key(path, key): _plain(path, key, item) for key, item in value.items()}


_SCALARS = (str, bytes, int, float, type(None))


def _key(path: Path | str, key: Any) -> str:
    if not isinstance(key, str | bytes):
        raise malformed(path, "have strings as keys", type(key).__name__)
    return key.decode(errors="replace") if isinstance(key, bytes) else key


def _plain(path: Path | str, key: Any, value: Any) -> Any:
    """An array, a number, a string, or a flat list of numbers and strings."""
    if isinstance(value, _Array):
        return value.array
    strange = {type(x) for x in (value if isinstance(value, list) else [value])}
    if strange := strange - set(_SCALARS) - {bool}:
        names = " and ".join(sorted(kind.__name__.strip("_") for kind in strange))
        raise malformed(
            path, f"hold an array, or numbers and strings, as {key!r}", names
        )
    return value


class _ArraysOnly(pickle.Unpickler):
    """Finds no name outside the list."""

    def __init__(self, content: bytes | memoryview):
        super().__init__(io.BytesIO(content), encoding="bytes")
        # Nothing in it knows the unpickler: it goes, with all it has read, at once.
        self._allowed: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy", "ndarray"): _no_call,
            ("numpy", "dtype"): _DType,
            ("_codecs", "encode"): _latin1(len(content)),
        }
        # Of NumPy 1 and of NumPy 2.
        for core in ("numpy.core", "numpy._core"):
            self._allowed[core + ".multiarray", "_reconstruct"] = _empty
            self._allowed[core + ".numeric", "_frombuffer"] = _of_buffer

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _Function(f"{module}.{name}", self._allowed[module, name])
        except KeyError:
            raise pickle.UnpicklingError(f"a call of {module}.{name}") from None


def _latin1(bytes_left: int) -> Callable[[str, str], bytes]:
    """How Python 3 writes bytes in Python 2's protocols: each of them once."""

    def encode(text: str, encoding: str) -> bytes:
        nonlocal bytes_left
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"the encoding {encoding[:20]!r}")
        bytes_left -= len(text)
        if bytes_left < 0:
            raise pickle.UnpicklingError("more bytes than the file has")
        return text.encode("latin1")

    return encode


class _Function:
    """What a pickle gets for a name: it can be called, and has no state to be set."""

    __slots__ = ("_call", "_name")

    def __init__(self, name: str, call: Callable[..., Any]):
        self._name, self._call = name, call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"a state that is set in {self._name}")


class _DType:
    """Stands for a `np.dtype` of numbers; NumPy's own ones are shared by everybody."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: str | bytes, align: Any = 0, copy: Any = 0):
        del align, copy
        code = code.decode() if isinstance(code, bytes) else code
        if not re.fullmatch("[biuf][1248]", code):
            raise pickle.UnpicklingError(f"the dtype {code[:20]!r}")
        self._code, self._order = code, "="

    def __setstate__(self, state: Any) -> None:
        version, order, *rest = state
        order = order.decode() if isinstance(order, bytes) else order
        # No fields, no shape, no size of its own, no flags.
        is_plain = version == 3 and rest == [None, None, None, -1, -1, 0]
        if not is_plain or order not in tuple("<>|="):
            raise pickle.UnpicklingError("a dtype that is more than numbers")
        self._order = order

    def of(self, content: Any, shape: Any, order: str) -> np.ndarray:
        """The numbers in some bytes: a view of them."""
        if not isinstance(content, bytes | bytearray):
            raise pickle.UnpicklingError(f"an array of {type(content).__name__}")
        flat = np.frombuffer(content, np.dtype(self._order + self._code))
        return flat.reshape(shape, order="F" if order == "F" else "C")


class _Array:
    """Stands for an array, which is in it once its state is set."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray | None = None):
        self.array = array

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        self.array = dtype.of(content, shape, "F" if is_fortran else "C")


def _no_call(*args: Any) -> None:
    """Of an array's type, which a pickle has to name and need not call."""
    del args
    raise pickle.UnpicklingError("a call of numpy.ndarray")


def _empty(kind: Any, shape: Any, code: Any) -> _Array:
    """As NumPy starts an array up to protocol 4."""
    del kind, shape, code
    return _Array()


def _of_buffer(
    content: Any, dtype: _DType, shape: Any, order: str, axes: Any = None
) -> _Array:
    """As NumPy makes an array in protocol 5."""
    array = dtype.of(content, shape, order)
    return _Array(array if axes is None else array.transpose(axes))
