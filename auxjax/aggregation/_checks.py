"""The checks that aggregators make of their numbers.

A number may be an array that is known only while a program runs: under `jax.vmap`, or
`optax.inject_hyperparams`, which makes one of every number. Those are let through.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from auxjax.jacobian import is_traced


def check_number(
    name: str, value: Any, wanted: str, holds: Callable[[Any], Any]
) -> None:
    """A ValueError where a number is not what is wanted of it.

    Args:
      name: of the argument.
      value: what was given.
      wanted: in words.
      holds: from a NumPy scalar to whether it is so; False for NaN.
    """
    if not is_traced(value) and not holds(np.asarray(value)):
        raise ValueError(f"`{name}` should be {wanted}. Found {value}.")


def check_integer(name: str, value: Any, least: int = 1) -> int:
    """An integer of at least `least`, or a ValueError: shapes and loops need it."""
    if is_traced(value):
        raise ValueError(
            f"`{name}` should be an integer that is known before the program runs: "
            f'with `optax.inject_hyperparams` pass `static_args=("{name}", ...)`. '
            f"Found {value}."
        )
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"`{name}` should be an integer. Found {value!r}.") from error
    if number < least:
        raise ValueError(f"`{name}` should be at least {least}. Found {value}.")
    return number
