"""A program that is compiled when first called, and how long each call takes."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from auxjax.run import write_json


class Timed:
    """Calls a function of `jax.jit`; counts the seconds until its results are there.

    Attributes:
      spent: seconds of each call, compilation left out.
    """

    def __init__(self, program: Any):
        """Wraps the function; nothing is compiled yet."""
        self._program, self._compiled = program, None
        self.spent: list[float] = []

    def compile(self, *args: Any) -> None:
        """Compiles it for such arguments, unless that was done."""
        if self._compiled is None:
            self._compiled = self._program.lower(*args).compile()

    def __call__(self, *args: Any) -> Any:
        """Calls it."""
        self.compile(*args)
        compiled: Any = self._compiled
        begin = time.perf_counter()
        result = jax.block_until_ready(compiled(*args))
        self.spent.append(time.perf_counter() - begin)
        return result


def median(spent: list[float], each: int) -> float:
    """Seconds of one of the `each` epochs of a call; NaN where none was made."""
    return float(np.median(spent)) / each if spent else np.nan


def remembered(folder: Path, what: str, value: float) -> float:
    """A time that was taken, or the one taken when the folder's run was made.

    Args:
      folder: of the run, whose `times.json` keeps it.
      what: its name there.
      value: NaN where nothing was run now.
    """
    kept = folder / "times.json"
    if math.isfinite(value):
        write_json(kept, {what: value})
    elif kept.exists():
        return json.loads(kept.read_text("utf-8"))[what]
    return value
