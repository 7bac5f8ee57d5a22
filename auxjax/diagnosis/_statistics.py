"""Means over a window in which not every task is there in every batch.

For NumPy and for JAX alike: `xp` is the one or the other. `empty` stands where too
little was seen.
"""

from __future__ import annotations

import math
from typing import Any


def mean_of(xp: Any, values: Any, counted: Any, empty: float = math.nan) -> Any:
    """The mean over the first axis of what counts."""
    number = counted.sum(0).astype(values.dtype)
    total = xp.where(counted, values, 0).sum(0)
    return xp.where(number > 0, total / xp.maximum(number, 1), empty)


def std_of(xp: Any, values: Any, counted: Any, empty: float = math.nan) -> Any:
    """The standard deviation of what counts, by n − 1; it needs two of them."""
    number = counted.sum(0).astype(values.dtype)
    away = values - mean_of(xp, values, counted, 0.0)[None]
    total = xp.where(counted, away * away, 0).sum(0)
    return xp.where(number > 1, xp.sqrt(total / xp.maximum(number - 1, 1)), empty)


def signal_to_noise(xp: Any, values: Any, counted: Any, empty: float = math.nan) -> Any:
    """Mean over standard deviation: ±∞ without noise, 0 without a signal."""
    mean, std = mean_of(xp, values, counted, 0.0), std_of(xp, values, counted, 0.0)
    ratio = mean / xp.where(std == 0, 1, std)
    exact = xp.where(mean == 0, 0, xp.where(mean > 0, xp.inf, -xp.inf))
    return xp.where(counted.sum(0) > 1, xp.where(std == 0, exact, ratio), empty)


def share_of(xp: Any, flags: Any, counted: Any, empty: float = math.nan) -> Any:
    """How often a flag is up where it counts."""
    number = counted.sum(0)
    up = xp.where(counted, flags, False).sum(0)
    return xp.where(number > 0, up / xp.maximum(number, 1), empty)
