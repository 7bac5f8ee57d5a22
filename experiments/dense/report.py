"""What came of `dense_prediction.py`: the metrics, Δ_MTL, and how the weights end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from auxjax.run import mean_std
from auxjax.supervised import delta_mtl
from dense.figures import draw_delta, draw_predictions, draw_weights
from dense.network import width_of
from dense.problem import METRICS
from dense.variants import NOISE, STUDIES, Variant, full_label
from lab.curves import Curves
from lab.report import Report


class Result(NamedTuple):
    """One variant's curves, and what it predicts for some test scenes."""

    curves: Curves
    shown: dict[str, np.ndarray] | None


Results = Mapping[Variant, Result]


class Line(NamedTuple):
    """A row of the table: one variant, or one for each main task."""

    setting: str
    architecture: str
    label: str
    metrics: dict[str, np.ndarray]  # {task: [seeds]}
    delta: np.ndarray  # [seeds], %, over the tasks that are there

    @property
    def whole(self) -> bool:
        """Whether there is more than one task, so that Δ_MTL says something."""
        return len(self.metrics) > 1 and self.setting != "single"


def lines(results: Results) -> list[Line]:
    """Every variant, those for one main task put together; Δ against single tasks."""
    merged: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
    for variant, (curves, _) in results.items():
        label = variant.label
        if len(variant.counted) == 1 and variant.setting != "single":
            label += " [1 task]"
        key = (variant.setting, variant.architecture, label)
        own = {task: curves.last(task) for task in variant.counted if task != NOISE}
        merged.setdefault(key, {}).update(own)
    alone = merged["single", "split", "single"]

    def delta(metrics):
        tasks = [task for task in alone if task in metrics]
        return delta_mtl(
            np.stack([metrics[task] for task in tasks], axis=-1),
            np.stack([alone[task] for task in tasks], axis=-1),
            [METRICS[task][1] for task in tasks],
        )

    return [Line(*key, metrics, delta(metrics)) for key, metrics in merged.items()]


def table(rows: Sequence[Line]) -> list[dict[str, str]]:
    """A row per line."""
    tasks = [task for task in METRICS if any(task in x.metrics for x in rows)]
    cells = []
    for line in rows:
        row = {"setting": line.setting, "network": line.architecture}
        row["method"] = line.label
        for task in tasks:
            name, more = METRICS[task]
            heading = f"{name} {'↑' if more else '↓'}"
            digits = 4 if task == "depth" else 2
            known = task in line.metrics
            row[heading] = mean_std(line.metrics[task], digits=digits) if known else ""
        row["Δ_MTL, %"] = mean_std(line.delta, digits=2) if line.whole else ""
        cells.append(row)
    return cells


def weight_table(trained: Mapping[Variant, Curves]) -> list[dict[str, str]]:
    """The weights at the end, a row per variant that has weights."""
    names = [x for x in (*METRICS, NOISE) if any(x in v.tasks for v in trained)]
    rows = []
    for variant, curves in trained.items():
        last = curves.weights[:, -1]
        if variant.setting == "single" or not np.isfinite(last).all():
            continue
        row = {"setting": variant.setting, "network": variant.architecture}
        row["method"] = full_label(variant)
        weights = dict(zip(variant.tasks, last.T, strict=True))
        for name in names:
            known = name in weights
            row[name] = mean_std(weights[name], digits=3) if known else ""
        rows.append(row)
    return rows


def verdict(trained: Mapping[Variant, Curves]) -> list[str]:
    """Whether the noise's weight ends lowest, seed by seed; how near exact λ are."""
    said = []
    for variant, curves in trained.items():
        weights = curves.weights
        if NOISE not in variant.tasks or not np.isfinite(weights).all():
            continue
        place = variant.tasks.index(NOISE)
        others = np.delete(weights[:, -1], place, axis=1)
        lowest = int(np.sum(weights[:, -1, place] < others.min(axis=1)))
        first, last = weights[:, 0, place].mean(), weights[:, -1, place].mean()
        said.append(
            f"{variant.architecture}, {full_label(variant)}: the noise's weight goes "
            f"from {first:.3f} to {last:.3f}; it is the lowest at the end in {lowest} "
            f"of {len(weights)} seeds."
        )
    named = {(v.architecture, v.label): curves for v, curves in trained.items()}
    for architecture in dict.fromkeys(v.architecture for v in trained):
        exact = named.get((architecture, "our setting"))
        other = named.get((architecture, "finite difference"))
        if exact is None or other is None:
            continue
        gaps = np.abs(exact.weights - other.weights).mean(axis=(0, 1))
        pairs = zip(exact.tasks, gaps, strict=True)
        each = ", ".join(f"{task} {gap:.3f}" for task, gap in pairs)
        said.append(
            f"{architecture}: exact and finite-difference λ are apart, on average over "
            f"training: {each} (the paper: below 0.05)."
        )
    return said


def report(config: Any, results: Results, described: str, test: Any) -> Report:
    """The tables, the figures and whether the noise was seen through."""
    trained = {variant: result.curves for variant, result in results.items()}
    shown = {variant: x.shown for variant, x in results.items() if x.shown}
    about = (
        f"{described}; {config.backbone} backbone × {width_of(config):g}, "
        f"{' and '.join(config.architecture)}, {config.seeds} seeds, {config.epochs} "
        "epochs, mean ± standard deviation over seeds; Δ_MTL against the mean of the "
        "single-task networks."
    )
    title, rows = STUDIES[config.study], lines(results)
    tables = {"": table(rows), "Weights at the end": weight_table(trained)}
    tables = {name: cells for name, cells in tables.items() if cells}
    return Report(
        stem="dense" if config.study == "methods" else f"dense_{config.study}",
        room="dense",
        script="dense_prediction.py",
        title=title,
        about=about,
        tables=tables,
        numbers={"results": [numbers(v, curves) for v, curves in trained.items()]},
        figures={
            "": partial(draw_delta, rows),
            "weights": partial(draw_weights, trained),
            "predictions": partial(draw_predictions, shown, test),
        },
        verdicts=partial(verdict, trained),
        shown={name or f"{title}: {described}": x for name, x in tables.items()},
    )


def numbers(variant: Variant, curves: Curves) -> dict[str, Any]:
    """What a variant ends with, seed by seed."""
    own = ("label", "method", "setting", "architecture", "tasks")
    return {
        **{name: getattr(variant, name) for name in own},
        "test": {name: x[:, -1].tolist() for name, x in curves.test.items()},
        "weights": curves.weights[:, -1].tolist(),
        "seconds per epoch": curves.seconds,
    }
