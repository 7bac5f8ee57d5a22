"""The figure of `multi_domain.py`: weights as a matrix, accuracies below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import line_styles, mean_and_std
from lab.axes import bare, rows_of_points
from lab.curves import Curves
from lab.primaries import MAIN, Results, draw_primaries
from lab.training import SINGLE


def draw(
    results: Results,
    matrix: Mapping[str, np.ndarray],
    watched: tuple[str | None, str | None],
    path: Path,
) -> None:
    """The weights above, if there are any; the accuracies of both settings below."""
    count = len(results.names)
    tall = 0.42 * len(matrix) + 2.2 if matrix else 0
    figure = Figure((max(9.0, 0.62 * count + 2.8), tall + 4.2), layout="constrained")
    below: Any = figure
    if matrix:
        parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[tall, 4.2])
        _heat_map(parts[0, 0].subplots(), results, matrix, watched)
        below = parts[1, 0]
    axes = below.subplots(1, 2) if results.auxiliary else [below.subplots()]
    _means(axes[0], results)
    if results.auxiliary:
        beside = (SINGLE, "equal", "autolambda-all")
        draw_primaries(axes[1], results, Curves.last, beside)
        axes[1].set_title("Auxiliary: accuracy of the primary domain")
    figure.savefig(path, dpi=110)


def _heat_map(axis: Any, results: Results, matrix: Mapping, watched: Any) -> None:
    values = np.stack([seen.mean(axis=0) for seen in matrix.values()])
    low, high = min(values.min(), 0.0), max(values.max(), 1e-6)
    image = axis.imshow(values, cmap="Blues", vmin=low, vmax=high, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        dark = value - low > 0.6 * (high - low)
        colour = "white" if dark else "black"
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, size=8)
    axis.set_yticks(range(len(matrix)), matrix)
    axis.set_xticks(range(len(results.titles)), results.titles, rotation=40, ha="right")
    axis.set_ylabel("primary domain")
    shown = " and ".join(dict.fromkeys(m for m in watched[::-1] if m))
    axis.set_title(
        f"Learned weight of each domain at the end ({shown}, mean over seeds)"
    )
    axis.figure.colorbar(image, ax=axis, pad=0.01)


def _means(axis: Any, results: Results) -> None:
    """The mean accuracy over domains, a point per method of the multi-task setting."""
    styles = line_styles([*results.multi])
    rows = rows_of_points(axis, [*results.multi])
    for row, (method, curves) in zip(rows, results.multi.items(), strict=True):
        mean, std = mean_and_std(curves.last(MAIN))
        axis.errorbar(mean, row, xerr=std, fmt="o", capsize=3, color=styles[method][0])
    axis.set_title("Multi-task: mean over all domains")
    axis.set_xlabel("test accuracy, %")
    bare(axis)
