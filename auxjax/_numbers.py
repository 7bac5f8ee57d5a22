"""Whole numbers, whoever made them: Python, NumPy or JAX."""

from __future__ import annotations

import operator
from typing import Any


def integer(name: str, value: Any, least: int | None = None) -> int:
    """The number as Python's own, which prints, hashes and promotes as one expects.

    Args:
      name: what the message calls it.
      value: `3`, `np.int64(3)`, `jnp.int32(3)`.
      least: what it should be at least, if anything.

    Returns:
      The number.

    Raises:
      ValueError: it is no whole number, or below the least.

    Example:
      >>> import numpy as np
      >>> integer("epochs", np.int64(3), 1)
      3
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"`{name}` should be an integer. Found {value!r}.") from error
    if least is not None and number < least:
        raise ValueError(f"`{name}` should be at least {least}. Found {number}.")
    return number
