"""What came of `compare_rules.py`: Δ_MTL, the table, the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import (
    machine,
    mean_and_std,
    mean_std,
    table_markdown,
    write_json,
)
from compare_rules.problem import ERRORS, METRICS
from compare_rules.run import SINGLE
from lab.report import tell, verdicts, write_text
from lab.rules import AGGREGATOR, AUXILIARY, COMPOSITION, KINDS, RULES, WEIGHTING

COLOURS = {
    WEIGHTING: "#0072B2",
    AGGREGATOR: "#D55E00",
    COMPOSITION: "#009E73",
    AUXILIARY: "#CC79A7",
}
LEFTMOST = -50.0  # percent; what is worse is written beside an arrow
Records = Mapping[str, Mapping[str, Any]]


def delta_mtl(
    metrics: Mapping[str, Any], baseline: Mapping[str, Any], errors: Sequence[str]
) -> np.ndarray:
    """Δ_MTL in percent, `[seeds]`: 100/T Σᵢ (−1)^lᵢ (Mᵢ − Bᵢ) / Bᵢ, lᵢ = 1 for errors.

    Each seed against the single-task networks of the same seed, which had the same
    split, noise and first weights.

    Args:
      metrics: `[seeds]` a task, the Mᵢ.
      baseline: `[seeds]` a task, the Bᵢ.
      errors: the tasks whose metric is better when it is lower.

    Example:
      >>> delta_mtl({"a": [90.0], "b": [3.0]}, {"a": [80.0], "b": [2.0]}, ["b"])
      array([-18.75])
    """
    gains = []
    for name, base in baseline.items():
        base = np.asarray(base, np.float64)
        gain = (np.asarray(metrics[name], np.float64) - base) / base
        gains.append(-gain if name in errors else gain)
    return 100 * np.mean(gains, axis=0)


def deltas(records: Records) -> dict[str, np.ndarray]:
    """Every rule's Δ_MTL `[seeds]`, NaN where it diverged; the best on average first.

    A rule of which no seed is left is last.
    """
    baseline = records[SINGLE]["metrics"]
    found = {
        name: np.where(
            record["diverged"], np.nan, delta_mtl(record["metrics"], baseline, ERRORS)
        )
        for name, record in records.items()
        if name != SINGLE
    }

    def worth(name):
        mean = float(mean_and_std(found[name])[0])
        return -np.inf if np.isnan(mean) else mean

    return {name: found[name] for name in sorted(found, key=worth, reverse=True)}


def table(records: Records) -> list[dict[str, str]]:
    """A row per method, sorted; the single-task networks stand where Δ_MTL is 0."""
    found = deltas(records)
    rows = [_row(name, records[name], d, found["equal"]) for name, d in found.items()]
    above = sum(mean_and_std(d)[0] > 0 for d in found.values())
    alone = {"method": SINGLE, "kind": "baseline", **_metrics(records[SINGLE])}
    rows.insert(int(above), {**alone, "Δ_MTL, %": "0"})
    return rows


def _row(name: str, record: Mapping, delta: np.ndarray, equal: np.ndarray) -> dict:
    there = np.isfinite(delta)
    lost = f" (diverged in {np.sum(~there)} of {there.size})" if not there.all() else ""
    ahead = "–" if name == "equal" else f"{np.sum(delta > equal)} of {there.size}"
    return {
        "method": name + lost,
        "kind": RULES[name].kind,
        **_metrics(record),
        "Δ_MTL, %": mean_std(delta) if there.any() else "–",
        "above equal": ahead,
        "time per step": f"{record['time ratio']:.2f}×",
    }


def _metrics(record: Mapping) -> dict[str, str]:
    cells = {}
    for name in METRICS:
        values = np.where(
            record["diverged"], np.nan, np.float64(record["metrics"][name])
        )
        heading, digits = (f"{name} ↓", 4) if name in ERRORS else (f"{name} ↑", 1)
        there = np.isfinite(values).any()
        cells[heading] = mean_std(values, digits=digits) if there else "–"
    return cells


def luck(records: Records) -> list[str]:
    """How many rules are ahead of equal weighting in every seed, and how many by luck.

    A rule that is no better and no worse is above it in all n seeds once in 2ⁿ times.
    """
    found = deltas(records)
    equal, others = found["equal"], [n for n in found if n != "equal"]
    above = sum(bool(np.all(found[n] > equal)) for n in others)
    below = sum(bool(np.all(found[n] < equal)) for n in others)
    chance = len(others) / 2 ** len(equal)
    return [
        f"In every seed above equal weighting: {above} of {len(others)} methods; in "
        f"every seed below it: {below}. Were all equally good, {chance:.1f} of either "
        "would be so by chance. Two methods whose deviations overlap are not told "
        "apart here."
    ]


def draw(records: Records, path: Path) -> None:
    """Δ_MTL and the time per step beside it, a line per method."""
    found = deltas(records)
    names = [*found][::-1]  # the best on top
    places = np.arange(len(names))
    colours = [COLOURS[RULES[name].kind] for name in names]
    figure = Figure((10, 1.8 + 0.235 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.7, 1])

    mean, std = np.transpose([mean_and_std(found[name]) for name in names])
    low, high = (lambda m, s: (m - s, m + s))(*mean_and_std(found["equal"]))
    left.axvspan(low, high, color="0.9", zorder=0)
    left.axvline(0, color="0.4", linewidth=1, zorder=1)
    for y, m, s, colour in zip(places, mean, std, colours, strict=True):
        if m < LEFTMOST:
            left.plot(LEFTMOST, y, "<", color=colour, ms=6, clip_on=False)
            text = f" {m:,.0f} ± {s:,.0f}"
            left.text(LEFTMOST + 1, y, text, color=colour, va="center", fontsize=8)
            continue
        left.errorbar(m, y, xerr=s, fmt="o", color=colour, ms=5, capsize=2, lw=1.3)
        if np.isnan(m):
            left.text(0, y, " diverged", color=colour, va="center")
    left.set_yticks(places, names)
    if np.nanmin(mean - std) < LEFTMOST:
        left.set_xlim(left=LEFTMOST)
    left.set_xlabel("Δ_MTL, %: right of the line better than single tasks")

    ratios = [records[name]["time ratio"] for name in names]
    right.barh(places, ratios, color=colours, height=0.62)
    for y, ratio in zip(places, ratios, strict=True):
        right.text(
            ratio + 0.05, y, f"{ratio:.1f}", va="center", fontsize=8, color="0.3"
        )
    right.axvline(1, color="0.4", linewidth=1)
    right.set(xlabel="time per step, relative to equal weighting")
    right.set_xlim(0, 1.12 * max(ratios))
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", color="0.93", linewidth=0.8)
        axis.set_axisbelow(True)
    left.set_ylim(-0.7, len(names) - 0.3)
    right.tick_params(left=False)
    there = [kind for kind in KINDS if kind in {RULES[name].kind for name in names}]
    handles = [left.plot([], [], "o", color=COLOURS[kind])[0] for kind in there]
    handles.append(left.axvspan(np.nan, np.nan, color="0.9"))
    figure.legend(
        handles,
        [*there, "equal weighting ± deviation"],
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
    )
    seeds = len(found["equal"])
    figure.suptitle(
        f"All rules on five tasks of real digits, mean ± deviation, {seeds} seeds"
    )
    figure.savefig(path, dpi=110)


def write(config: Any, records: Records, stem: Path) -> None:
    """Writes `stem.md`, `.json` and `.png`, and prints the table."""
    rows, lines = table(records), verdicts(config, luck, records)
    facts = machine()
    draw(records, stem.with_suffix(".png"))
    delta = {name: values.tolist() for name, values in deltas(records).items()}
    results = {"config": config, "machine": facts, "records": records, "Δ_MTL": delta}
    write_json(stem.with_suffix(".json"), results)
    write_text(stem.with_suffix(".md"), _markdown(config, facts, rows, lines))
    shown = ("method", "digit ↑", "slant ↓", "Δ_MTL, %", "above equal", "time per step")
    short = [{name: row.get(name, "") for name in shown} for row in rows]
    title = f"Mean ± deviation, {config.seeds} seeds"
    tell(config, {title: short}, lines, f"{stem}.md, .json and .png")


def _markdown(config: Any, facts: Mapping, rows: list, lines: list[str]) -> str:
    """The table, and what is needed to judge it."""
    steps = config.epochs * config.epoch_steps
    noise = " A sixth task of pure noise was learned too." if config.noise else ""
    text = [
        "# All rules on five tasks of real digits\n",
        f"{config.seeds} seeds, {steps:,} steps of {config.batch_size} images, "
        f"{config.train_size:,} training images with noise of deviation "
        f"{config.pixel_noise}; a trunk of two layers of {config.hidden} ReLUs, a "
        f"linear head per task.{noise} Mean ± standard deviation over seeds. "
        f"{facts['cores']} cores of {facts['cpu']}, jax {facts['jax']}.\n",
        "![Δ_MTL and time per step](compare_rules.png)\n",
        table_markdown(rows),
        *(f"{line}\n" for line in lines),
        "- **Metrics**: test accuracy in percent (↑, higher is better) and, of the "
        "slant, the root mean square error in pixels per pixel (↓, lower is better).\n"
        "- **Δ_MTL** is the mean over the tasks of the relative gain over networks "
        "that learn one task each (Auto-λ, Eq. 8), seed by seed. Main + auxiliary "
        "rules do not try for it: for them the digit counts alone.\n"
        f"- **Optimizer**: Adam, {config.learning_rate:g}, for every rule; chosen on "
        "equal weighting. Nothing was tuned for any other rule. Rules whose gradient "
        "is a mean of the tasks' have it multiplied by their number, which for SGD "
        "would be a learning rate times that number; Adam's steps do not depend on "
        "it.\n"
        f"- **Time per step**: one seed, an epoch of {config.epoch_steps} steps as one "
        f"compiled program, relative to equal weighting; median over {config.turns} "
        "turns, in each of which all rules are timed in a shuffled order. The network "
        "is tiny: with a large one, passes over the model are what counts.\n",
    ]
    return "\n".join(text)
