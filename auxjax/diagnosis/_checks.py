"""The checks of this room's static arguments."""

from __future__ import annotations

import math
import operator
from typing import Any

from auxjax.jacobian import is_traced


def check_at_least(name: str, value: Any, least: int) -> None:
    """An integer argument's lower bound."""
    try:
        operator.index(value)
    except TypeError as error:
        what = "one that is traced" if is_traced(value) else repr(value)
        raise ValueError(f"`{name}` should be an integer. Found {what}.") from error
    if value < least:
        raise ValueError(f"`{name}` should be at least {least}. Found {value}.")


def check_positive(name: str, value: Any) -> None:
    """A finite number above 0; a traced one is let through."""
    if not is_traced(value) and not (value > 0 and math.isfinite(value)):
        raise ValueError(f"`{name}` should be above 0 and finite. Found {value}.")
