"""Tables and figures of `atari_a2c.py`, in the manner of OL-AUX's Figures 3 to 6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _a2c_run import Curves

from auxjax.run import (
    frames_to_reach,
    line_styles,
    machine,
    mean_std,
    plot_grid,
    plot_learning_curves,
    plot_weights,
    print_table,
    short_number,
    write_json,
)

FAMILY = ("balance", "olaux", "olaux1", "olaux-ablation")
"""The methods of Figure 6."""

FINAL = 0.1
"""The final return is the mean over the last tenth of the frames."""


def compare(config: Any, curves: dict[str, Curves], folder: Path) -> None:
    """Prints the table and draws every figure that the runs allow."""
    smooth = {k: (c.frames, smoothed(c.returns)) for k, c in curves.items()}
    rows = table(config, curves, smooth)
    seeds = "1 seed" if config.seeds == 1 else f"{config.seeds} seeds"
    title = f"{config.env}, {short_number(curves_end(curves))} frames, {seeds}"
    print_table(rows, title, missing="not reached")
    described = {"machine": machine(), "seeds": config.seeds, "env": config.env}
    write_json(folder / "results.json", described | {"rows": rows})

    styles = line_styles(list(curves))
    methods = {k: v for k, v in smooth.items() if k in config.methods}
    plot_learning_curves(
        methods, folder / "learning_curve.png", title=title, styles=styles
    )
    if config.single_tasks:
        alone = {k: v for k, v in smooth.items() if k not in FAMILY or k == "olaux"}
        plot_learning_curves(
            alone,
            folder / "single_tasks.png",
            title=f"One auxiliary task at a time, {title}",
            styles=styles,
        )
    family = {k: v for k, v in smooth.items() if k in FAMILY}
    if len(family) > 1 and any(k.startswith("olaux") for k in family):
        plot_learning_curves(
            family,
            folder / "ablation.png",
            title=f"What the horizon does, {title}",
            styles=styles,
        )
    _plot_weights(config, curves, folder, title)


def _plot_weights(config: Any, curves: dict[str, Curves], folder: Path, title: str):
    """The auxiliary weights over time of every method that has some."""
    shown = {k: c for k, c in curves.items() if k in config.methods and k != "none"}
    moving = {k: c for k, c in shown.items() if k not in ("balance",)}
    for_figure = moving or shown
    if not for_figure:
        return
    if len(for_figure) == 1:
        ((label, c),) = for_figure.items()
        plot_weights(
            c.frames,
            c.weights[:, :, 1:],
            c.tasks[1:],
            folder / "weights.png",
            title=f"{label}: weights on {title}",
        )
        return
    panels = {
        label: {
            task: (c.frames, c.weights[:, :, 1 + i])
            for i, task in enumerate(c.tasks[1:])
        }
        for label, c in for_figure.items()
    }
    plot_grid(
        panels,
        folder / "weights.png",
        columns=2,
        title=f"Weights on {title}",
        ylabel="weight",
    )


def table(config: Any, curves: dict[str, Curves], smooth: dict) -> list[dict[str, Any]]:
    """One row a variant."""
    finals = {k: final_returns(c) for k, c in curves.items()}
    best = max(float(np.nanmean(f)) for f in finals.values())
    score = config.score if config.score is not None else round(best / 2, 1)
    rows = []
    for label, c in curves.items():
        reached = frames_to_reach(*smooth[label], score)
        weights = zip(c.tasks[1:], c.weights[:, -1, 1:].mean(axis=0), strict=True)
        rows.append(
            {
                "method": label,
                "final return": mean_std(finals[label]),
                f"frames to return {score:g}": None
                if reached is None
                else short_number(reached),
                "frames/s": "-" if np.isnan(c.speed) else short_number(c.speed),
                "final weights": " ".join(f"{t} {w:.2f}" for t, w in weights) or "-",
            }
        )
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
