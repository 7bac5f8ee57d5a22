"""Tables and figures of `atari_a2c.py`, in the manner of OL-AUX's Figures 3 to 6."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from a2c.run import Curves
from auxjax.run import (
    frames_to_reach,
    line_styles,
    mean_std,
    plot_grid,
    plot_learning_curves,
    short_number,
)
from lab.report import Report

FAMILY = ("log_loss", "olaux", "olaux1", "olaux-ablation")
"""The methods of Figure 6."""

FINAL = 0.1
"""Final returns and weights are means over the last tenth of the frames."""


def report(config: Any, curves: dict[str, Curves]) -> Report:
    """Returns and weights at the end, and every figure that the runs allow."""
    smooth = {k: (c.frames, smoothed(c.returns)) for k, c in curves.items()}
    rows, weights = table(config, curves, smooth), weight_table(curves)
    seeds = "1 seed" if config.seeds == 1 else f"{config.seeds} seeds"
    title = f"{config.env}, {short_number(curves_end(curves))} frames, {seeds}"
    moving = {"Final weights": weights} if weights else {}
    return Report(
        stem="atari_a2c",
        room="a2c",
        script="atari_a2c.py",
        title=title,
        about=(
            "The final return is the mean over the last tenth of the frames, ± the "
            "standard deviation over seeds; final weights are means over both."
        ),
        tables={"": rows, **moving},
        numbers={
            "rows": rows,
            "weights": weights,
            "final returns": {k: final_returns(c) for k, c in curves.items()},
        },
        figures=figures(config, curves, smooth, title),
        shown={title: rows, **moving},
    )


def figures(
    config: Any, curves: dict[str, Curves], smooth: dict, title: str
) -> dict[str, Callable[[Path], Any]]:
    """What draws them, by name."""
    styles = line_styles(list(curves))

    def lines(names, title):
        some = {k: v for k, v in smooth.items() if k in names}
        return lambda path: plot_learning_curves(some, path, title=title, styles=styles)

    drawn = {"": lines(config.method, title)}
    if config.single_tasks:
        alone = [k for k in smooth if k not in FAMILY or k == "olaux"]
        named = f"One auxiliary task at a time, {title}"
        drawn["single_tasks"] = lines(alone, named)
    if sum(k.startswith("olaux") for k in smooth) > 1:
        drawn["ablation"] = lines(FAMILY, f"What the horizon does, {title}")
    drawn["weights"] = partial(_plot_weights, config, curves, title)
    return drawn


def _plot_weights(config: Any, curves: dict[str, Curves], title: str, path: Path):
    """The auxiliary weights over time of every method that has some."""
    shown = {k: c for k, c in curves.items() if k in config.method and k != "single"}
    moving = {k: c for k, c in shown.items() if k not in ("equal", "log_loss")}
    panels = {
        label: {
            task: (c.frames, _legible(label, c.weights[:, :, 1 + i]))
            for i, task in enumerate(c.tasks[1:])
        }
        for label, c in (moving or shown).items()
    }
    if len(panels) == 1:
        ((label, panel),) = panels.items()
        panels = {f"{label}: weights on {title}": panel}
        title = ""
    if panels:
        plot_grid(
            panels,
            path,
            columns=2,
            title=title and f"Weights on {title}",
            ylabel="weight",
        )


def _legible(label: str, weights: np.ndarray) -> np.ndarray:
    """A gate is open or shut: its mean over some chunks says how often it is open."""
    return smoothed(weights) if label == "gcs" else weights


def table(config: Any, curves: dict[str, Curves], smooth: dict) -> list[dict[str, Any]]:
    """One row per variant."""
    finals = {k: final_returns(c) for k, c in curves.items()}
    known = [np.nanmean(f) for f in finals.values() if np.isfinite(f).any()]
    score = config.score
    if score is None and known:
        score = half_as_good(float(max(known)))
    rows = []
    for label, c in curves.items():
        row: dict[str, Any] = {"method": label, "final return": "no episode ended"}
        if np.isfinite(finals[label]).any():
            row["final return"] = mean_std(finals[label])
        if score is not None:
            frames, returns = smooth[label]
            reached = frames_to_reach(frames, returns, score)
            row[f"frames to return {score:g}"] = reached and short_number(reached)
        row["frames/s"] = "-" if np.isnan(c.speed) else short_number(c.speed)
        rows.append(row)
    return rows


def half_as_good(best: float) -> float:
    """Half of the best return; where returns are negative, twice as far from zero."""
    return round(best / 2 if best > 0 else 2 * best, 1)


def weight_table(curves: dict[str, Curves]) -> list[dict[str, Any]]:
    """The final weights, a row per variant whose weights move."""
    moving = {k: c for k, c in curves.items() if np.ptp(c.weights) > 0}
    dashes = {task: "-" for c in moving.values() for task in c.tasks[1:]}
    rows = []
    for label, c in moving.items():
        last = max(1, round(FINAL * len(c.frames)))
        final = c.weights[:, -last:, 1:].mean(axis=(0, 1))
        named = zip(c.tasks[1:], final, strict=True)
        rows.append({"method": label} | dashes | {k: f"{w:.2f}" for k, w in named})
    return rows


def final_returns(c: Curves) -> np.ndarray:
    """Each seed's mean return over the last tenth of the run, `[seeds]`."""
    last = max(1, round(FINAL * len(c.frames)))
    counted = c.returns[:, -last:]
    some = np.sum(np.isfinite(counted), axis=1)
    return np.where(some > 0, np.nansum(counted, axis=1) / np.maximum(some, 1), np.nan)


def smoothed(returns: np.ndarray, window: int = 10) -> np.ndarray:
    """The mean over the last `window` chunks in which an episode ended."""
    known = np.isfinite(returns)
    zeros = np.zeros((len(returns), 1))
    total = np.cumsum(np.hstack([zeros, np.where(known, returns, 0.0)]), axis=1)
    count = np.cumsum(np.hstack([zeros, known]), axis=1)
    end = np.arange(1, returns.shape[1] + 1)
    begin = np.maximum(end - window, 0)
    some = count[:, end] - count[:, begin]
    mean = (total[:, end] - total[:, begin]) / np.maximum(some, 1)
    return np.where(some > 0, mean, np.nan)


def curves_end(curves: dict[str, Curves]) -> int:
    """The frames of the longest run."""
    return max(int(c.frames[-1]) for c in curves.values())
