"""The figure of `meta_gradients.py`: a row per model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import line_styles
from lab.axes import bare
from meta_gradients.methods import (
    BASELINE,
    DIFFERENCE,
    EXACT,
    FIRST,
    FIRST_ORDER,
    FORWARD,
    LAST,
    META_BATCH,
    TRUTH,
)
from meta_gradients.networks import SMOOTH

# Number of steps (1 or more) and method, from the top down.
LINES = (
    *((False, EXACT), (False, TRUTH), (False, DIFFERENCE)),
    *((True, FORWARD), (True, TRUTH), (True, FIRST), (True, LAST)),
    *((True, META_BATCH), (True, FIRST_ORDER)),
)
FLOOR = 1e-17  # where an error of 0 is drawn


def draw(rows: dict[str, list[dict]], path: Path) -> None:
    """Error by method, time and memory against T, the difference's error against ε."""
    costs = rows["costs"]
    models = list(dict.fromkeys(row["model"] for row in costs))
    figure = Figure((17, 4.3 * len(models) + 0.7), layout="constrained")
    axes = figure.subplots(
        len(models), 4, squeeze=False, width_ratios=(1.25, 1, 1, 1.1)
    )
    for line, model in zip(axes, models, strict=True):
        measured = [row for row in costs if row["model"] == model]
        name = model.upper()
        draw_errors(line[0], measured, f"{name}: error of method, steps")
        dtype = measured[-1]["dtype"]  # the coarsest
        timed = [row for row in measured if row["dtype"] == dtype]
        draw_ratios(line[1], timed, "time ratio", f"{name}: time ({dtype})")
        draw_ratios(line[2], timed, "memory ratio", f"{name}: temporaries ({dtype})")
        shown = [model, *([SMOOTH] if model == "mlp" else [])]
        swept = [row for row in rows["epsilons"] if row["model"] in shown]
        draw_epsilons(line[3], swept, f"{name}: finite difference")
        bare(*line)
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=100)


def draw_errors(axis, rows: Sequence[dict], title: str) -> None:
    """A line per method, a colour a number of tasks, hollow for float32."""
    counts = sorted({row["tasks"] for row in rows})
    colours = line_styles([str(count) for count in counts])
    for row in rows:
        line = (row["steps"] > 1, row["method"])
        if line not in LINES:
            continue
        shift = 0.22 * (counts.index(row["tasks"]) - (len(counts) - 1) / 2)
        colour = colours[str(row["tasks"])][0]
        double = row["dtype"] == "float64"
        axis.plot(
            max(row["error"], FLOOR),
            LINES.index(line) + shift,
            "o",
            markersize=5 if double else 6.5,
            color=colour,
            markerfacecolor=colour if double else "none",
            label=f"T = {row['tasks']}" if double and line == LINES[0] else None,
        )
    longest = max(row["steps"] for row in rows)
    names = [f"{method}, {longest if many else 1}" for many, method in LINES]
    axis.set_yticks(range(len(LINES)), names)
    axis.axhline(2.5, color="0.7", linewidth=0.8)
    axis.set_ylim(len(LINES) - 0.5, -0.5)
    axis.plot([], [], "ko", label="float64")
    axis.plot([], [], "ko", markerfacecolor="none", label="float32")
    axis.set(xscale="log", title=title, xlabel="relative error (0 drawn at 1e-17)")
    axis.set_xticks([10.0**power for power in range(-16, 3, 4)])
    axis.legend(fontsize=8, loc="lower left")


def draw_ratios(axis, rows: Sequence[dict], quantity: str, title: str) -> None:
    """A line per method; dashed over N steps."""
    shown = [line for line in LINES if line[1] not in (FIRST, LAST)]
    styles = line_styles(list(dict.fromkeys(method for _, method in shown)))
    counts = sorted({row["tasks"] for row in rows})
    axis.axhline(1, color="0.6", linewidth=1)
    for many, method in shown:
        y = [
            row[quantity]
            for row in rows
            if (row["steps"] > 1, row["method"]) == (many, method)
        ]
        label = f"{method}, {'N steps' if many else '1 step'}"
        dash = "--" if many else "-"
        width = 4.5 if method == EXACT else 1.5  # the same as reverse over reverse
        axis.plot(
            counts,
            y,
            dash,
            color=styles[method][0],
            marker="o",
            ms=4,
            label=label,
            linewidth=width,
            alpha=0.5 if method == EXACT else 1,
        )
    axis.set(xscale="log", yscale="log", title=title, xlabel="tasks")
    axis.set_ylabel(f"relative to {BASELINE}")
    axis.set_xticks(counts, counts)
    top = max(row[quantity] for row in rows)
    ticks = [t for t in (1, 2, 3, 5, 10, 20, 50, 100, 200) if t <= 1.5 * top]
    axis.set_yticks(ticks, ticks)
    axis.minorticks_off()


def draw_epsilons(axis, rows: Sequence[dict], title: str) -> None:
    """Error against ε where it was swept; ε and ε² in grey."""
    swept = [row for row in rows if _is_swept(row, rows)]
    curves: dict[tuple, list[dict]] = {}
    for row in swept:
        curves.setdefault((row["model"], row["dtype"]), []).append(row)
    styles = line_styles(list(dict.fromkeys(row["model"] for row in swept)))
    for (model, dtype), curve in curves.items():
        activation = "tanh" if model == SMOOTH else "ReLU"
        axis.plot(
            [row["epsilon"] for row in curve],
            [max(row["error"], FLOOR) for row in curve],
            "-" if dtype == "float64" else ":",
            color=styles[model][0],
            marker="o",
            ms=4,
            label=f"{activation}, {dtype}",
        )
    epsilons = np.geomspace(1e-5, 1, 30)
    for power, text in ((1, "ε"), (2, "ε²")):
        axis.plot(epsilons, epsilons**power, color="0.75", linewidth=1, zorder=0)
        axis.annotate(text, (2e-5, 2e-5**power), color="0.5", va="bottom")
    axis.axvline(0.01, color="0.75", linewidth=1, zorder=0)
    axis.annotate("the paper's ε", (0.0105, 1e-10), color="0.5", rotation=90)
    axis.set(xscale="log", yscale="log", xlabel="ε", ylabel="relative error")
    axis.set_title(f"{title}, {swept[0]['tasks']} tasks" if swept else title)
    axis.set_ylim(1e-11, None)
    axis.legend(fontsize=8, loc="upper left")


def _is_swept(row: dict, rows: Sequence[dict]) -> bool:
    """Whether ε takes its every value with this row's number of tasks."""
    most = max(rows, key=lambda r: sum(x["tasks"] == r["tasks"] for x in rows))
    return row["tasks"] == most["tasks"]
