"""What came of `rotated_mnist.py`: the table beside the paper's, the figure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import line_styles, mean_and_std, mean_std
from lab.axes import bare
from lab.curves import Curves
from lab.report import Report
from lab.training import SINGLE

PAPER = {
    0: {SINGLE: (2.14, 0.16), "equal": (2.19, 0.19), "gcs": (2.11, 0.13)},
    45: {SINGLE: (2.15, 0.15), "equal": (2.36, 0.17), "gcs": (2.10, 0.14)},
    90: {SINGLE: (2.17, 0.19), "equal": (2.41, 0.22), "gcs": (2.26, 0.08)},
    135: {SINGLE: (2.11, 0.12), "equal": (2.50, 0.19), "gcs": (2.37, 0.12)},
    180: {SINGLE: (2.20, 0.16), "equal": (2.23, 0.12), "gcs": (2.21, 0.16)},
}
"""Table 1: error ± deviation in percent, on all of MNIST."""
TITLES = {SINGLE: "single task", "equal": "multi task"}
Results = Mapping[tuple[int, str], Curves]


def table(results: Results) -> list[dict[str, str]]:
    """A row per rotation, and below it the paper's."""
    rotations = list(dict.fromkeys(degrees for degrees, _ in results))
    methods = list(dict.fromkeys(method for _, method in results))
    rows = []
    for degrees in rotations:
        row = {"rotation": f"{degrees}°"}
        for method in methods:
            error = results[degrees, method].last("error")
            row[TITLES.get(method, method)] = mean_std(error, digits=2)
        rows.append(row)
        known = {m: x for m, x in PAPER.get(degrees, {}).items() if m in methods}
        if known:
            row = {"rotation": f"{degrees}°, the paper"}
            for method in methods:
                mean, std = known.get(method, (None, None))
                text = "" if mean is None else f"{mean:.2f} ± {std:.2f}"
                row[TITLES.get(method, method)] = text
            rows.append(row)
    return rows


def verdict(results: Results) -> list[str]:
    """Each method against single-task, seed by seed: the seeds share their network."""
    lines = []
    for (degrees, method), curves in results.items():
        alone = results.get((degrees, SINGLE))
        if alone is None or method == SINGLE:
            continue
        gap = curves.last("error") - alone.last("error")
        mean, std = mean_and_std(gap)
        error = std / np.sqrt(len(gap))
        lines.append(
            f"{degrees}°, {TITLES.get(method, method)} − single-task: {mean:+.2f} ± "
            f"{error:.2f} (mean ± its standard error)"
        )
    for (degrees, method), curves in results.items():
        weights = curves.weights.mean(axis=1)
        if method != SINGLE and np.isfinite(weights).all() and np.ptp(weights[:, 0]):
            main, other = (mean_std(x, digits=3) for x in weights.T)
            lines.append(
                f"{degrees}°, {TITLES.get(method, method)}: weights {main} (main task) "
                f"and {other} (auxiliary), mean over training"
            )
    return lines


def draw(results: Results, path: Path) -> None:
    """The error against the rotation; the auxiliary weight over training beside it."""
    rotations = list(dict.fromkeys(degrees for degrees, _ in results))
    methods = list(dict.fromkeys(method for _, method in results))
    styles = line_styles(methods)
    figure = Figure((9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    shift = np.linspace(-4, 4, len(methods))
    for method, offset in zip(methods, shift, strict=True):
        colour, dash = styles[method]
        errors = [mean_and_std(results[d, method].last("error")) for d in rotations]
        mean, std = np.transpose(errors)
        title = TITLES.get(method, method)
        style = {"fmt": "o", "linestyle": dash, "color": colour, "capsize": 2, "ms": 4}
        left.errorbar(
            np.array(rotations) + offset, mean, yerr=std, label=title, **style
        )
    left.set(xlabel="rotation of the auxiliary task, degrees", xticks=rotations)
    left.set(ylabel="test error of the main task, %")
    shown = [m for m in methods if np.isfinite(results[rotations[0], m].weights).all()]
    for method in shown:
        colour, dash = styles[method]
        ends = [results[d, method].weights[:, :, -1].mean(axis=1) for d in rotations]
        mean, std = mean_and_std(np.transpose(ends))
        style = {"fmt": "o", "linestyle": dash, "color": colour, "capsize": 2, "ms": 4}
        right.errorbar(rotations, mean, yerr=std, **style)
    right.set(xlabel="rotation of the auxiliary task, degrees", xticks=rotations)
    right.set(ylabel="auxiliary weight, mean over training")
    bare(left, right)
    figure.legend(loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)


def report(config: Any, results: Results, described: str) -> Report:
    """The table beside the paper's, the errors seed by seed, and the figure."""
    about = (
        f"{described}; {config.seeds} seeds, {config.epochs} epochs. Test error of the "
        "main task in percent, mean ± standard deviation over seeds. The paper's rows "
        "are on all of MNIST."
    )
    numbers = [
        {
            "rotation": degrees,
            "method": method,
            "errors": curves.last("error").tolist(),
            "weights": curves.weights[:, -1].tolist(),
            "seconds per epoch": curves.seconds,
        }
        for (degrees, method), curves in results.items()
    ]
    return Report(
        stem="rotated_mnist",
        room="rotated",
        script="rotated_mnist.py",
        title="RotatedMNIST",
        about=about,
        tables={"Test error of the main task, %": table(results)},
        numbers={"results": numbers},
        figures={"": partial(draw, results)},
        verdicts=partial(verdict, results),
    )
