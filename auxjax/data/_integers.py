"""Whole numbers, whoever made them: Python, NumPy or JAX."""

from __future__ import annotations

import operator
from typing import Any


def integer(name: str, value: Any, least: int | None = None) -> int:
    """The number as Python's own, which prints, hashes and promotes as one expects.

    Args:
      name: of the argument, for the messages.
      value: `3`, `np.int64(3)`, `jnp.int32(3)`.
      least: what it should be at least, if anything.

    Returns:
      The number.

    Raises:
      ValueError: it is no whole number, or below the least.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"`{name}` should be an integer. Found {value!r}.") from error
    if least is not None and number < least:
        raise ValueError(f"`{name}` should be at least {least}. Found {number}.")
    return number
