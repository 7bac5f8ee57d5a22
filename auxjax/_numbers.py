"""Numbers that users give: Python's or NumPy's, whole where they have to be."""

from __future__ import annotations

import operator
from typing import Any


def whole(name: str, value: Any) -> int:
    """A count of Python's or NumPy's as Python's own.

    Args:
      name: what the message calls it.
      value: the count.

    Returns:
      The count, at least 1.

    Raises:
      ValueError: it is no integer, or below 1.

    Example:
      >>> import numpy as np
      >>> whole("epochs", np.int64(3))
      3
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"`{name}` should be an integer. Found {value!r}.") from error
    if number < 1:
        raise ValueError(f"`{name}` should be at least 1. Found {number}.")
    return number
