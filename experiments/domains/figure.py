"""The figure of `multi_domain.py`: weights as a matrix, accuracies below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import line_styles, mean_and_std
from lab.training import SINGLE


def draw(
    results: Any,
    matrix: Mapping[str, np.ndarray],
    watched: tuple[str | None, str | None],
    path: Path,
) -> None:
    """The weights above, if there are any; the accuracies of both settings below."""
    count = len(results.names)
    tall = 0.42 * len(matrix) + 2.2 if matrix else 0
    figure = Figure((max(9.0, 0.62 * count + 2.8), tall + 4.2), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=[tall, 4.2]) if matrix else None
    if parts is not None:
        _heat_map(parts[0].subplots(), results, matrix, watched)
    below = figure if parts is None else parts[1]
    axes = below.subplots(1, 2) if results.auxiliary else [below.subplots()]
    _means(axes[0], results)
    if results.auxiliary:
        _primaries(axes[1], results)
    figure.savefig(path, dpi=110)


def _heat_map(axis: Any, results: Any, matrix: Mapping, watched: Any) -> None:
    values = np.stack([found.mean(axis=0) for found in matrix.values()])
    low, high = min(values.min(), 0.0), max(values.max(), 1e-6)
    image = axis.imshow(values, cmap="Blues", vmin=low, vmax=high, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        dark = value - low > 0.6 * (high - low)
        colour = "white" if dark else "black"
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, size=8)
    axis.set_yticks(range(len(matrix)), matrix)
    names = [f"{i + 1} {name}" for i, name in enumerate(results.names)]
    axis.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axis.set_ylabel("primary domain")
    shown = " and ".join(dict.fromkeys(m for m in watched[::-1] if m))
    axis.set_title(
        f"Learned weight of each domain at the end ({shown}, mean over seeds)"
    )
    axis.figure.colorbar(image, ax=axis, pad=0.01)


def _means(axis: Any, results: Any) -> None:
    """The mean accuracy over domains, a point per method of the multi-task setting."""
    found = {m: c.last("accuracy") for m, c in results.multi.items()}
    styles = line_styles(list(found))
    for place, (method, values) in enumerate(found.items()):
        mean, std = mean_and_std(values)
        axis.errorbar(
            mean, place, xerr=std, fmt="o", capsize=3, color=styles[method][0]
        )
    axis.set_yticks(range(len(found)), found)
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set_title("Multi-task: mean over all domains")
    axis.set_xlabel("test accuracy, %")
    _dress(axis)


def _primaries(axis: Any, results: Any) -> None:
    """The accuracy of each primary domain: alone, with all, and helped by all."""
    found: dict[str, list] = {}
    for i in results.primaries:
        for method, curves in results.multi.items():
            if method in (SINGLE, "equal", "autolambda-all"):
                title = method if method == SINGLE else f"{method} (multi-task)"
                found.setdefault(title, []).append(curves.last(results.names[i]))
        for (j, method), curves in results.auxiliary.items():
            if j == i:
                found.setdefault(method, []).append(curves.last("accuracy"))
    styles, count = line_styles(list(found)), len(found)
    for place, (method, values) in enumerate(found.items()):
        mean, std = np.transpose([mean_and_std(x) for x in values])
        at = np.arange(len(values)) + 0.12 * (place - (count - 1) / 2)
        axis.errorbar(
            at, mean, yerr=std, fmt="o", ms=5, capsize=2, color=styles[method][0],
            label=method,
        )  # fmt: skip
    axis.set_xticks(
        range(len(results.primaries)),
        [f"{i + 1} {results.names[i]}" for i in results.primaries],
        rotation=20,
        ha="right",
    )
    axis.set_title("Auxiliary: accuracy of the primary domain")
    axis.set_ylabel("test accuracy, %")
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    _dress(axis)


def _dress(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
