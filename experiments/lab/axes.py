"""Axes that all figures share: no box around them, a grid in the background."""

from __future__ import annotations

from typing import Any

import numpy as np

from auxjax.run import line_styles, mean_and_std

BLUE, ORANGE, GREEN, PINK = (colour for colour, _ in line_styles("abcd").values())


def bare(*axes: Any, grid: str = "both") -> None:
    """Takes the top and right edges away, and draws a pale grid.

    Args:
      axes: of Matplotlib.
      grid: of which direction: "x", "y" or "both".
    """
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis=grid, color="0.92")
        axis.set_axisbelow(True)


def rows_of_points(axis: Any, names: list[str]) -> np.ndarray:
    """An axis with a row per name, the first on top; returns the rows' heights."""
    places = np.arange(len(names))
    axis.set_yticks(places, names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    return places


def over_seeds(axis: Any, x: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """A line: the mean over seeds `[seeds, n]`, a band of a deviation around it."""
    mean, std = mean_and_std(values)
    (line,) = axis.plot(x, mean, **style)
    colour = line.get_color()
    axis.fill_between(x, mean - std, mean + std, color=colour, alpha=0.12, lw=0)
