"""Δ_MTL of every rule and, beside it, what its step costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import mean_and_std
from lab.axes import BLUE, GREEN, ORANGE, PINK, bare, rows_of_points
from lab.rules import BY_NAME, KINDS

COLOURS: dict[str, str] = dict(zip(KINDS, (BLUE, ORANGE, GREEN, PINK), strict=True))
LEFTMOST = -50.0  # percent; what is worse is written beside an arrow


def draw(
    deltas: Mapping[str, np.ndarray], ratios: Mapping[str, float], path: Path
) -> None:
    """A line per method.

    Args:
      deltas: Δ_MTL by method, `[seeds]`; the first on top.
      ratios: the time of its step, relative to equal weighting.
      path: where to.
    """
    names = [*deltas]
    colours = [COLOURS[BY_NAME[name].kind] for name in names]
    figure = Figure((10, 1.8 + 0.235 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.7, 1])
    places = rows_of_points(left, names)
    bare(left, right, grid="x")

    mean, std = mean_and_std(np.stack([*deltas.values()], axis=1))
    at = names.index("equal")
    left.axvspan(mean[at] - std[at], mean[at] + std[at], color="0.9", zorder=0)
    left.axvline(0, color="0.4", linewidth=1, zorder=1)
    for y, m, s, colour in zip(places, mean, std, colours, strict=True):
        text = {"color": colour, "va": "center", "fontsize": 8}
        if m < LEFTMOST:
            left.plot(LEFTMOST, y, "<", color=colour, ms=6, clip_on=False)
            left.text(LEFTMOST + 1, y, f" {m:,.0f} ± {s:,.0f}", **text)
        elif np.isnan(m):
            left.text(0, y, " diverged", **text)
        else:
            style = {"fmt": "o", "ms": 5, "capsize": 2, "lw": 1.3}
            left.errorbar(m, y, xerr=s, color=colour, **style)
    if np.any(mean - std < LEFTMOST):
        left.set_xlim(left=LEFTMOST)
    left.set_xlabel("Δ_MTL, %: right of the line better than single tasks")

    widths = [ratios[name] for name in names]
    right.barh(places, widths, color=colours, height=0.62)
    for y, width in zip(places, widths, strict=True):
        text = {"va": "center", "fontsize": 8, "color": "0.3"}
        right.text(width + 0.05, y, f"{width:.1f}", **text)
    right.axvline(1, color="0.4", linewidth=1)
    right.set(xlabel="time per step, relative to equal weighting")
    right.set_xlim(0, 1.12 * max(widths))
    right.tick_params(left=False)

    kinds = [
        kind for kind in KINDS if any(BY_NAME[name].kind == kind for name in names)
    ]
    handles = [left.plot([], [], "o", color=COLOURS[kind])[0] for kind in kinds]
    handles.append(left.axvspan(np.nan, np.nan, color="0.9"))
    labels = [*kinds, "equal weighting ± deviation"]
    place = {"loc": "outside lower center", "ncols": len(handles)}
    figure.legend(handles, labels, frameon=False, **place)
    seeds = len(deltas["equal"])
    figure.suptitle(
        f"All rules on five tasks of real digits, mean ± deviation, {seeds} seeds"
    )
    figure.savefig(path, dpi=110)
