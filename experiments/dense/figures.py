"""The figures of `dense_prediction.py`: Δ_MTL, weights over training, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from auxjax.run import line_styles, mean_and_std, plot_grid
from dense.problem import METRICS
from dense.variants import NOISE, Variant, full_label
from lab.axes import BLUE, ORANGE, bare, rows_of_points
from lab.curves import Curves
from lab.problem import Problem

SHOWN = 3  # scenes that are drawn
COLOURS = {"multi-task": BLUE, "auxiliary": ORANGE}
LEGEND = {"multi-task": "multi-task", "auxiliary": "auxiliary, with a noise task"}


def predict(problem: Problem, state: Any) -> dict[str, np.ndarray]:
    """The first seed's predictions for the first scenes of the test set."""
    params, model_state = jax.tree.map(
        lambda x: x[0], (state.params, state.model_state)
    )
    images = problem.test.images[0][:SHOWN]
    assert problem.predict is not None  # as of `dense.problem.make`
    predictions = jax.jit(problem.predict)(params, model_state, images)
    return {task: np.asarray(x) for task, x in predictions.items()}


def draw_delta(lines: Sequence[Any], path: Path) -> None:
    """Δ_MTL, a line per method."""
    shown = [x for x in lines if x.whole]
    if not shown:
        return
    figure = Figure((8.4, 1.2 + 0.27 * len(shown)), layout="constrained")
    axis = figure.subplots()
    several = len({x.architecture for x in shown}) > 1
    names = [x.label + f" ({x.architecture})" * several for x in shown]
    for row, line in zip(rows_of_points(axis, names), shown, strict=True):
        mean, std = mean_and_std(line.delta)
        colour = COLOURS[line.setting]
        axis.errorbar(mean, row, xerr=std, fmt="o", color=colour, capsize=2)
    axis.axvline(0, color="0.5", linewidth=1)
    axis.set_xlabel("Δ_MTL, %: right of the line better than single tasks")
    for setting, name in LEGEND.items():
        if any(x.setting == setting for x in shown):
            axis.plot([], [], "o", color=COLOURS[setting], label=name)
    axis.legend(frameon=False, loc="best")
    bare(axis, grid="x")
    figure.savefig(path, dpi=110)


def draw_weights(trained: Mapping[Variant, Curves], path: Path) -> None:
    """The weights over training, a panel per variant whose weights move."""
    several, panels = len({v.architecture for v in trained}) > 1, {}
    for variant, curves in trained.items():
        weights = curves.weights
        moved = np.isfinite(weights).all() and np.ptp(weights) > 0
        if variant.setting == "single" or not moved:
            continue
        title = full_label(variant) + " + noise" * (NOISE in variant.tasks)
        panels[title + f", {variant.architecture}" * several] = {
            task: (curves.epochs, weights[:, :, i])
            for i, task in enumerate(variant.tasks)
        }
    if panels:
        styles = line_styles([*METRICS, NOISE])
        plot_grid(
            panels, path, columns=3, xlabel="epoch", ylabel="weight", styles=styles
        )


def draw_predictions(
    shown: Mapping[Variant, Mapping[str, np.ndarray]], test: Any, path: Path
) -> None:
    """Images, the truth beside what was predicted."""
    truths = {
        "segmentation": test.label,
        "depth": test.depth,
        "normal": test.normal,
        "part": test.part,
    }
    truths = {task: truth for task, truth in truths.items() if truth is not None}
    if not shown:
        return
    several = len({v.architecture for v in shown}) > 1
    names = {v: v.label + f" ({v.architecture})" * several for v in shown}
    columns: list[tuple[str, Any]] = [("image", None)]
    for task in truths:
        columns.append((f"{task}\ntruth", (task, None)))
        columns += [(f"{task}\n{name}", (task, v)) for v, name in names.items()]
    count = len(next(iter(next(iter(shown.values())).values())))
    figure = Figure((1.25 * len(columns), 1.3 * count + 0.5), layout="constrained")
    axes = figure.subplots(count, len(columns), squeeze=False)
    for row in range(count):
        for axis, (title, what) in zip(axes[row], columns, strict=True):
            if what is None:
                axis.imshow(test.images[row])
            else:
                task, variant = what
                truth = truths[task][row]
                seen = truth if variant is None else shown[variant][task][row]
                _show(axis, task, seen, truth)
            axis.set_axis_off()
            if row == 0:
                axis.set_title(title, fontsize=7)
    figure.savefig(path, dpi=110)


def _show(axis: Any, task: str, seen: np.ndarray, truth: np.ndarray) -> None:
    if task in ("segmentation", "part"):
        if seen.ndim == 3:
            seen = seen.argmax(axis=-1)
        seen = np.ma.masked_less(seen, 0)
        top = max(int(truth.max()), 4)
        axis.imshow(seen, cmap="tab10", vmin=0, vmax=max(top, 9), interpolation="none")
    elif task == "depth":
        known = truth[truth > 0]
        high = known.max() if known.size else 1
        masked = np.ma.masked_less_equal(seen[..., 0], 0)
        axis.imshow(masked, cmap="viridis", vmin=0, vmax=high)
    else:
        length = np.linalg.norm(seen, axis=-1, keepdims=True)
        axis.imshow(np.where(length > 0, (seen + 1) / 2, 1))
