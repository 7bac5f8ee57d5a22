"""Claims, and the words for what was measured of them."""

from __future__ import annotations

from typing import Any

import numpy as np

CONVERGED = 0.1  # the main loss below which GCS's paper calls a run converged
HOLDS, DISAGREES, FAILS = "holds", "disagrees with the paper", "FAILS"

Claims = list[dict[str, str]]


def claim(source: str, text: str, measured: str, holds: Any) -> dict[str, str]:
    """A claim that our rules have to reproduce."""
    verdict = HOLDS if holds else FAILS
    return {"claim": f"{source}: {text}", "measured": measured, "verdict": verdict}


def disputed(source: str, text: str, measured: str, holds: Any) -> dict[str, str]:
    """A claim that the paper's own formulas contradict: told, but no failure."""
    verdict = HOLDS if holds else DISAGREES
    return {"claim": f"{source}: {text}", "measured": measured, "verdict": verdict}


def convergence_time(loss: np.ndarray) -> np.ndarray:
    """Steps until the main loss is first below 0.1; infinite where it never is.

    Example:
      >>> convergence_time(np.array([[0.3, 0.2, 0.05], [0.3, 0.3, 0.3]]))
      array([ 2., inf])
    """
    below = loss < CONVERGED
    return np.where(below.any(axis=1), below.argmax(axis=1), np.inf)


def settled(loss: np.ndarray) -> int:
    """How many runs are below 0.1 at their last step, not only on their way."""
    return int((loss[:, -1] < CONVERGED).sum())


def compare(time: np.ndarray, other: np.ndarray) -> str:
    """How many runs take fewer steps than by the other method, as many, more."""
    faster, slower = np.sum(time < other), np.sum(time > other)
    return f"{faster} faster, {len(time) - faster - slower} equal, {slower} slower"


def span(values: np.ndarray, digits: int = 2) -> str:
    """The lowest and the highest.

    Example:
      >>> span(np.array([0.5, 2.0, 1.0])), span(np.array([3, 3]))
      ('0.50…2.00', '3')
    """
    if not len(values):
        return "nothing"
    low, high = (f"{float(f(values)):.{digits}f}" for f in (np.min, np.max))
    if np.asarray(values).dtype.kind == "i":
        low, high = f"{np.min(values)}", f"{np.max(values)}"
    return low if low == high else f"{low}…{high}"


def place(points: np.ndarray) -> str:
    """Where runs end, when they all end in one place."""
    return f"({span(points[:, 0])}, {span(points[:, 1])})"
