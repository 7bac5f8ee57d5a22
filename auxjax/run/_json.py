"""Values as strict JSON: dataclasses, arrays, paths, and floats that are not finite."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from auxjax.run._errors import writing

# JSON has no word for these three, and strict readers refuse the ones Python writes.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(value: Any) -> Any:
    """The value in dicts, lists, strings and finite numbers.

    A dataclass becomes a dict with its class's name under "class"; NaN and the
    infinities become the strings "NaN", "Infinity" and "-Infinity".

    Args:
      value: a dataclass, a mapping, a sequence, an array, a number, a path, an enum or
        a function (written as its name).

    Returns:
      What `json.dumps(..., allow_nan=False)` accepts.

    Raises:
      ValueError: the value, or one inside it, is of another kind.

    Example:
      >>> to_json({"loss": float("nan"), "weights": np.array([1.0, 0.5])})
      {'loss': 'NaN', 'weights': [1.0, 0.5]}
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _array(np.asarray(value))
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **to_json(fields)}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    raise ValueError(
        "A value should be a number, an array, a string, a path, a dataclass, or a "
        f"collection of these. Found {type(value).__name__}."
    )


def from_json(value: Any) -> Any:
    """Undoes the three strings of `to_json`; everything else stays as it is.

    Example:
      >>> from_json({"loss": "-Infinity", "rule": "olaux"})
      {'loss': -inf, 'rule': 'olaux'}
    """
    if isinstance(value, dict):
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def write_json(path: str | Path, value: Any) -> None:
    """Writes the value, sorted by key, all or nothing.

    Args:
      path: the file.
      value: what `to_json` accepts.

    Raises:
      RunError: the file cannot be written; the message has the system's reason.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_json(f"{folder}/found.json", {"weights": np.array([1.0, np.nan])})
      ...     print(Path(folder, "found.json").read_text())
      {
        "weights": [
          1.0,
          "NaN"
        ]
      }
    """
    path = Path(path)
    text = json.dumps(to_json(value), indent=2, sort_keys=True, allow_nan=False)
    replace_file(path, (text + "\n").encode())


def replace_file(path: Path, content: bytes) -> None:
    """Puts `content` in place of the file in one step: readers see old or new."""
    temporary = path.with_name(path.name + ".tmp")
    with writing(path):
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except OSError:
            # On a full disk the half-written copy must not keep what is left of it.
            if temporary.is_file():
                temporary.unlink()
            raise


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _array(value: np.ndarray) -> Any:
    # bfloat16 and its small relatives are no numpy numbers: `tolist` leaves them be.
    if jax.numpy.issubdtype(value.dtype, jax.numpy.floating):
        value = value.astype(np.float64)
    elif jax.numpy.issubdtype(value.dtype, jax.numpy.integer):
        value = value.astype(object)
    return to_json(value.tolist())
