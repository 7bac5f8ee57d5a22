"""A program that is compiled when first called, and how long each call takes."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np


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
