"""What came of `celeba.py`: accuracies with their range, the time of an epoch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import mean_std
from lab.axes import BLUE, ORANGE, bare, rows_of_points
from lab.curves import Curves
from lab.primaries import MAIN, Results, Trained, draw_primaries, primary_rows
from lab.report import Report, number

TITLES = {"equal": "equal (Unit. Scal.)"}
BESIDE = ("equal", "autolambda-all")


def chosen(curves: Curves, metric: str = MAIN) -> np.ndarray:
    """`[seeds]`: the metric at the epoch that the validation images choose.

    The first of the best ones; the test images have no say.
    """
    best = curves.test["validation"].argmax(axis=1)
    return np.take_along_axis(curves.test[metric], best[:, None], axis=1)[:, 0]


def multi_table(results: Results) -> list[dict[str, str]]:
    """A row per method: the mean accuracy, its range, the time an epoch takes."""
    base = results.multi.get("equal")
    rows = []
    for method, curves in results.multi.items():
        accuracy = chosen(curves)
        row = {"method": TITLES.get(method, method)}
        row["accuracy, %"] = mean_std(accuracy, digits=2)
        row["range"] = f"{accuracy.min():.2f} to {accuracy.max():.2f}"
        if base is not None:
            gap = mean_std(accuracy - chosen(base), digits=2)
            row["− equal"] = "0" if method == "equal" else gap
        row["seconds per epoch"] = number(curves.seconds)
        if base is not None:
            row["× equal"] = number(curves.seconds / base.seconds)
        rows.append(row)
    return rows


def verdict(results: Results) -> list[str]:
    """The paper's statements, with the numbers that came out here."""
    base, lines = results.multi.get("equal"), []
    if base is None:
        return lines
    others = {m: chosen(c) for m, c in results.multi.items() if m != "equal"}
    above = [m for m, x in others.items() if np.all(x > chosen(base))]
    lines.append(
        f"Above equal weighting in every one of {len(chosen(base))} seeds: "
        f"{', '.join(above) or 'none'}; the paper: Auto-λ alone."
    )
    if "autolambda-all" in results.multi:
        ratio = results.multi["autolambda-all"].seconds / base.seconds
        lines.append(
            f"An epoch of Auto-λ takes {number(ratio)} times one of equal weighting; "
            "the paper: three times, and an order of magnitude less than PCGrad and "
            "CAGrad."
        )
    for method in dict.fromkeys(m for _, m in results.auxiliary):
        gaps = [
            chosen(c) - chosen(base, results.names[i])
            for (i, m), c in results.auxiliary.items()
            if m == method
        ]
        lines.append(
            f"{method} on its primary attributes − equal: "
            f"{mean_std(np.mean(gaps, axis=0), digits=2)} points."
        )
    return lines


def draw(results: Results, path: Path) -> None:
    """Figure 7: the mean and the range over seeds; the time of an epoch."""
    names = [TITLES.get(method, method) for method in results.multi]
    wide = 3 if results.auxiliary else 2
    size = (4.2 * wide + 1.6 * bool(results.auxiliary), 1.8 + 0.32 * len(names))
    figure = Figure(size, layout="constrained")
    left, middle, *right = figure.subplots(1, wide)
    rows = rows_of_points(left, names)
    for row, curves in zip(rows, results.multi.values(), strict=True):
        accuracy = chosen(curves)
        left.plot([accuracy.min(), accuracy.max()], [row] * 2, color=BLUE, lw=2)
        left.plot(accuracy.mean(), row, "o", color=BLUE)
    left.set(title="(a) Mean over attributes, range over seeds")
    left.set(xlabel="test accuracy, %")
    seconds = [curves.seconds for curves in results.multi.values()]
    rows = rows_of_points(middle, names)
    bars = middle.barh(rows, np.nan_to_num(seconds), color=ORANGE)
    middle.bar_label(bars, [number(s) for s in seconds], padding=3, fontsize=8)
    middle.set(title="(b) Time of an epoch", xlabel="seconds, all seeds")
    middle.margins(x=0.15)
    bare(left, middle)
    for axis in right:
        draw_primaries(axis, results, chosen, BESIDE)
        axis.set_title("Auxiliary: the primary attribute")
    figure.savefig(path, dpi=110)


def report(
    config: Any, names: tuple[str, ...], trained: Trained, described: str
) -> Report:
    """Accuracies, times and the figure."""
    results = Results(tuple(f"test {name}" for name in names), names, *trained)
    analogue = "" if config.source == "celeba" else "**An analogue of CelebA.** "
    about = (
        f"{analogue}{described}. {config.network}, {config.seeds} seeds, "
        f"{config.epochs} epochs, mean ± standard deviation over seeds of the test "
        "accuracy at the epoch that the validation images choose. Times are of all "
        "seeds together, compilation left out."
    )
    tables = {
        "Accuracy over all attributes, time of an epoch": multi_table(results),
        "Auxiliary: accuracy of the primary attribute, %": primary_rows(
            results, chosen, BESIDE, digits=2
        ),
    }
    return Report(
        stem="celeba",
        room="attributes",
        script="celeba.py",
        title="40 attributes with strong regularisation",
        about=about,
        tables={title: rows for title, rows in tables.items() if rows},
        numbers={"results": numbers(results)},
        figures={"": partial(draw, results)},
        verdicts=partial(verdict, results),
    )


def numbers(results: Results) -> list[dict[str, Any]]:
    """Of every training: seed by seed, and the weights at the end, mean over seeds."""
    trainings = [
        *((None, method, curves) for method, curves in results.multi.items()),
        *((i, method, curves) for (i, method), curves in results.auxiliary.items()),
    ]
    rows = []
    for i, method, curves in trainings:
        last = curves.weights[:, -1].mean(axis=0)
        weights = [None if np.isnan(x) else float(x) for x in last]
        seconds = curves.seconds if np.isfinite(curves.seconds) else None
        rows.append(
            {
                "method": method,
                "primary": None if i is None else results.titles[i],
                "accuracies": chosen(curves).tolist(),
                "seconds per epoch": seconds,
                "weights": dict(zip(curves.tasks, weights, strict=True)),
            }
        )
    return rows
