"""What came of `compare_rules.py`: Δ_MTL and the table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auxjax.run import mean_and_std, mean_std
from auxjax.supervised import delta_mtl
from compare_rules.figure import draw
from compare_rules.problem import ERRORS, METRICS
from lab.curves import Curves
from lab.report import Report
from lab.rules import BY_NAME
from lab.training import SINGLE

BASELINE = "single tasks"  # what the table calls them
Record = Mapping[str, Any]
Records = Mapping[str, Record]


def measured(curves: Curves) -> dict[str, Any]:
    """What is kept of a training: the metrics at its end, NaN where a seed diverged."""
    return {"metrics": {name: curves.last(name).tolist() for name in METRICS}}


def deltas(records: Records) -> dict[str, np.ndarray]:
    """Every rule's Δ_MTL `[seeds]`, NaN where it diverged; the best on average first.

    A rule of which no seed is left is last.
    """
    higher = [name not in ERRORS for name in METRICS]
    alone = metrics_of(records[SINGLE])
    gains = {
        name: delta_mtl(metrics_of(record), alone, higher)
        for name, record in records.items()
        if name != SINGLE
    }

    def worth(name):
        mean = float(mean_and_std(gains[name])[0])
        return -np.inf if np.isnan(mean) else mean

    return {name: gains[name] for name in sorted(gains, key=worth, reverse=True)}


def metrics_of(record: Record) -> np.ndarray:
    """`[seeds, T]`, in the order of `METRICS`."""
    columns = [record["metrics"][name] for name in METRICS]
    return np.array(columns, np.float64).T


def table(records: Records) -> list[dict[str, str]]:
    """A row per method, sorted; the single-task networks stand where Δ_MTL is 0."""
    gains = deltas(records)
    rows = [row_of(name, records[name], x, gains["equal"]) for name, x in gains.items()]
    above = sum(mean_and_std(x)[0] > 0 for x in gains.values())
    alone = {"method": BASELINE, "kind": "baseline", **cells_of(records[SINGLE])}
    rows.insert(int(above), {**alone, "Δ_MTL, %": "0"})
    return rows


def row_of(
    name: str, record: Record, delta: np.ndarray, equal: np.ndarray
) -> dict[str, str]:
    """Of one rule."""
    left = np.isfinite(delta)
    lost = f" (diverged in {np.sum(~left)} of {left.size})" if not left.all() else ""
    ahead = "–" if name == "equal" else f"{np.sum(delta > equal)} of {left.size}"
    return {
        "method": name + lost,
        "kind": BY_NAME[name].kind,
        **cells_of(record),
        "Δ_MTL, %": mean_std(delta) if left.any() else "–",
        "above equal": ahead,
        "time per step": f"{record['time ratio']:.2f}×",
    }


def cells_of(record: Record) -> dict[str, str]:
    """The metrics, mean ± deviation."""
    cells = {}
    for name, values in zip(METRICS, metrics_of(record).T, strict=True):
        heading, digits = (f"{name} ↓", 4) if name in ERRORS else (f"{name} ↑", 1)
        left = np.isfinite(values).any()
        cells[heading] = mean_std(values, digits=digits) if left else "–"
    return cells


def luck(records: Records) -> list[str]:
    """How many rules are ahead of equal weighting in every seed, and how many by luck.

    A rule that is no better and no worse is above it in all n seeds once in 2ⁿ times.
    """
    gains = deltas(records)
    equal = gains.pop("equal")
    above = sum(bool(np.all(delta > equal)) for delta in gains.values())
    below = sum(bool(np.all(delta < equal)) for delta in gains.values())
    chance = len(gains) / 2 ** len(equal)
    return [
        f"In every seed above equal weighting: {above} of {len(gains)} methods; in "
        f"every seed below it: {below}. Were all equally good, {chance:.1f} of either "
        "would be so by chance. Two methods whose deviations overlap are not told "
        "apart here."
    ]


def report(config: Any, records: Records) -> Report:
    """The table, what is needed to judge it, and the figure."""
    rows, gains = table(records), deltas(records)
    steps = config.train_size // config.batch_size
    noise = " A sixth task of pure noise was learned too." if config.noise else ""
    about = (
        f"{config.seeds} seeds, {config.epochs * steps:,} steps of {config.batch_size} "
        f"images, {config.train_size:,} training images with noise of deviation "
        f"{config.pixel_noise}; a trunk of two layers of {config.hidden} ReLUs, a "
        f"linear head per task.{noise} Mean ± standard deviation over seeds."
    )

    def figure(path: Path) -> None:
        draw(gains, {name: records[name]["time ratio"] for name in gains}, path)

    shown = ("method", "digit ↑", "slant ↓", "Δ_MTL, %", "above equal", "time per step")
    short = [{name: row.get(name, "") for name in shown} for row in rows]
    return Report(
        stem="compare_rules",
        room="compare_rules",
        script="compare_rules.py",
        title="All rules on five tasks of real digits",
        about=about,
        tables={"": rows},
        numbers={
            "records": records,
            "Δ_MTL": {name: delta.tolist() for name, delta in gains.items()},
        },
        figures={"": figure},
        verdicts=lambda: luck(records),
        notes=["\n".join(f"- {line}" for line in notes(config, steps))],
        shown={f"Mean ± deviation, {config.seeds} seeds": short},
    )


def notes(config: Any, epoch_steps: int) -> list[str]:
    """What the columns mean."""
    return [
        "**Metrics**: test accuracy in percent (↑, higher is better) and, of the "
        "slant, the root mean square error in pixels per pixel (↓, lower is better).",
        "**Δ_MTL** is the mean over the tasks of the relative gain over networks that "
        "learn one task each (Auto-λ, Eq. 8): each seed against their mean over seeds. "
        "Main + auxiliary rules do not try for it: for them the digit counts alone.",
        f"**Optimizer**: Adam, {config.learning_rate:g}, for every rule; chosen on "
        "equal weighting. Nothing was tuned for any other rule. Rules whose gradient "
        "is a mean of the tasks' have it multiplied by their number, which for SGD "
        "would be a learning rate times that number; Adam's steps do not depend on it.",
        f"**Time per step**: one seed, an epoch of {epoch_steps} steps as one compiled "
        f"program, relative to equal weighting; median over {config.turns} turns, in "
        "each of which all rules are timed in a shuffled order. The network is tiny: "
        "with a large one, passes over the model are what counts.",
    ]
