"""What came of `class_pairs.py`: the table, the curves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import mean_and_std, mean_std
from lab.axes import BLUE, ORANGE, bare, over_seeds
from lab.curves import Curves
from lab.report import Report
from lab.training import SINGLE

COLOURS = {"near": BLUE, "far": ORANGE}
DASHES = {SINGLE: ":", "equal": "--", "gcs": "-"}
TITLES = {SINGLE: "single task", "equal": "multi task", "gcs": "gated"}
ANALOGUE = "**An analogue** of the paper's pairs of ImageNet's classes. "


class Result(NamedTuple):
    """One method on one pair."""

    distance: float
    curves: Curves


Results = Mapping[tuple[str, Any, str], Result]


def table(results: Results, *, early: bool = False) -> list[dict[str, str]]:
    """A row per pair: its distance, its mean cosine, every method's accuracy.

    Args:
      results: of every kind, pair and method.
      early: the accuracies' mean over the first fifth of training, not the last ones.
    """
    rows: dict[tuple[str, Any], dict[str, str]] = {}
    for (kind, pair, method), (distance, curves) in results.items():
        row = rows.setdefault((kind, pair), {"pair": f"{kind} {pair}"})
        row["distance"] = f"{distance:.1f}"
        if method == _watched(results):
            cosine = curves.test["cosine"].mean(axis=1)
            row["cosine"] = mean_std(cosine, digits=3)
        accuracies = _early(curves) if early else curves.last("accuracy")
        row[TITLES.get(method, method)] = mean_std(accuracies, digits=2)
    return list(rows.values())


def _early(curves: Curves) -> np.ndarray:
    """`[seeds]`, the mean accuracy over the first fifth of training."""
    count = max(len(curves.epochs) // 5, 1)
    return curves.test["accuracy"][:, :count].mean(axis=1)


def _watched(results: Results) -> str:
    """The method along whose training the cosine is shown: multi-task, as in 3(a)."""
    methods = [method for _, _, method in results]
    return "equal" if "equal" in methods else methods[0]


def verdict(results: Results) -> list[str]:
    """The paper's two statements, with the numbers."""
    watched = _watched(results)
    cosines: dict[str, list] = {"near": [], "far": []}
    for (kind, _, method), result in results.items():
        if method == watched:
            cosines[kind].append(result.curves.test["cosine"].mean(axis=1))
    near, far = (np.mean(cosines[kind], axis=0) for kind in ("near", "far"))
    ahead = int(np.sum(near > far))
    lines = [
        f"Mean cosine over training: near {mean_std(near, digits=3)}, far "
        f"{mean_std(far, digits=3)}; near above far in {ahead} of {len(near)} seeds."
    ]
    kinds = list(dict.fromkeys(kind for kind, _, _ in results))
    for kind in kinds:
        for method in dict.fromkeys(m for _, _, m in results if m != SINGLE):
            gaps = [
                results[k, pair, m].curves.last("accuracy")
                - results[k, pair, SINGLE].curves.last("accuracy")
                for k, pair, m in results
                if (k, m) == (kind, method) and (k, pair, SINGLE) in results
            ]
            if gaps:
                gap = np.mean(gaps, axis=0)
                title = TITLES.get(method, method)
                lines.append(
                    f"{kind} pairs, {title} − single-task at the end: "
                    f"{mean_std(gap, digits=2)} points of accuracy."
                )
    return lines


def draw(results: Results, path: Path) -> None:
    """The cosine; the accuracies on near pairs; those on far pairs."""
    figure = Figure((11, 3.6), layout="constrained")
    left, *others = figure.subplots(1, 3)
    for (kind, _, method), result in results.items():
        if method == _watched(results):
            mean, _ = mean_and_std(result.curves.test["cosine"])
            left.plot(result.curves.epochs, mean, color=COLOURS[kind], alpha=0.5)
    for kind, colour in COLOURS.items():
        left.plot([], [], color=colour, label=f"{kind} pairs")
    left.axhline(0, color="0.5", linewidth=0.8)
    left.set(title="Cosine of the two gradients", xlabel="epoch")
    left.legend(frameon=False)
    for axis, kind in zip(others, COLOURS, strict=True):
        _draw_accuracies(axis, results, kind)
    bare(left, *others)
    figure.savefig(path, dpi=110)


def _draw_accuracies(axis: Any, results: Results, kind: str) -> None:
    """A line per method: the mean over all pairs of the kind."""
    for method in dict.fromkeys(m for _, _, m in results):
        runs = [
            r.curves for (k, _, m), r in results.items() if (k, m) == (kind, method)
        ]
        if not runs:
            continue
        accuracies = np.mean([curves.test["accuracy"] for curves in runs], axis=0)
        style = {"color": COLOURS[kind], "label": TITLES.get(method, method)}
        style["linestyle"] = DASHES.get(method, "-.")
        over_seeds(axis, runs[0].epochs, accuracies, **style)
    axis.set(title=f"Test accuracy, {kind} pairs, %", xlabel="epoch")
    axis.legend(frameon=False, loc="lower right")


def report(config: Any, results: Results, described: str) -> Report:
    """Accuracies at the end and early on, the cosines, and the figure."""
    about = (
        f"{'' if config.folder else ANALOGUE}{described}; {config.network}, "
        f"{config.seeds} seeds, {config.epochs} epochs, mean ± standard deviation over "
        "seeds. Test accuracy of the main task in percent; Fréchet distance of the "
        "classes; cosine of the two gradients, mean over training."
    )
    numbers = [
        {
            "kind": kind,
            "pair": list(pair),
            "method": method,
            "distance": distance,
            "accuracies": curves.last("accuracy").tolist(),
            "cosines": curves.test["cosine"].mean(axis=1).tolist(),
        }
        for (kind, pair, method), (distance, curves) in results.items()
    ]
    return Report(
        stem="class_pairs",
        room="class_pairs",
        script="class_pairs.py",
        title="Near and far pairs of classes",
        about=about,
        tables={
            "Accuracy of the main task at the end": table(results),
            "Its mean over the first fifth of training": table(results, early=True),
        },
        numbers={"results": numbers},
        figures={"": partial(draw, results)},
        verdicts=partial(verdict, results),
    )
