"""What came of `dense_prediction.py`: the table, λ over training, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from auxjax.run import (
    line_styles,
    machine,
    mean_and_std,
    mean_std,
    plot_grid,
    table_markdown,
    write_json,
)
from auxjax.supervised import delta_mtl
from dense.problem import METRICS, width_of
from dense.variants import NOISE, Variant
from lab.curves import Curves
from lab.problem import Problem
from lab.report import tell, verdicts, write_text

SHOWN = 3  # scenes that are drawn


class Result(NamedTuple):
    """One variant's curves, and what it predicts for some test scenes."""

    curves: Curves
    shown: dict[str, np.ndarray] | None


Results = Mapping[Variant, Result]


def predict(problem: Problem, state: Any) -> dict[str, np.ndarray]:
    """The first seed's predictions for the first scenes of the test set."""
    params, model_state = jax.tree.map(
        lambda x: x[0], (state.params, state.model_state)
    )
    images = problem.test.images[0][:SHOWN]
    found = jax.jit(problem.predict)(params, model_state, images)
    return {task: np.asarray(x) for task, x in found.items()}


class Line(NamedTuple):
    """A row of the table: one variant, or one for each main task."""

    setting: str
    architecture: str
    label: str
    metrics: dict[str, np.ndarray]  # {task: [seeds]}
    delta: np.ndarray  # [seeds], %; NaN where not all tasks are there


def full_label(variant: Variant) -> str:
    """The label, with the main task where only one counts."""
    if len(variant.counted) > 1:
        return variant.label
    return f"{variant.label} [{variant.counted[0]}]"


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
    found = []
    for (setting, architecture, label), metrics in merged.items():
        alone = merged["single", "split", "single"]
        tasks = [task for task in alone if task in metrics]
        delta = delta_mtl(
            np.stack([metrics[task] for task in tasks], axis=-1),
            np.stack([alone[task] for task in tasks], axis=-1),
            [METRICS[task][1] for task in tasks],
        )
        found.append(Line(setting, architecture, label, metrics, delta))
    return found


def table(found: Sequence[Line]) -> list[dict[str, str]]:
    """A row a line."""
    tasks = [task for task in METRICS if any(task in x.metrics for x in found)]
    rows = []
    for line in found:
        row = {"setting": line.setting, "network": line.architecture}
        row["method"] = line.label
        for task in tasks:
            name, more = METRICS[task]
            heading = f"{name} {'↑' if more else '↓'}"
            digits = 4 if task == "depth" else 2
            known = task in line.metrics
            row[heading] = mean_std(line.metrics[task], digits=digits) if known else ""
        whole = len(line.metrics) > 1 and line.setting != "single"
        row["Δ_MTL, %"] = mean_std(line.delta, digits=2) if whole else ""
        rows.append(row)
    return rows


def weight_table(results: Results) -> list[dict[str, str]]:
    """The weights at the end, a row per variant that has a noise task and weights."""
    rows = []
    for variant, (curves, _) in results.items():
        last = curves.weights[:, -1]
        if variant.setting == "single" or not np.isfinite(last).all():
            continue
        row = {"setting": variant.setting, "network": variant.architecture}
        row["method"] = full_label(variant)
        for name in (*METRICS, NOISE):
            if name in variant.tasks:
                row[name] = mean_std(last[:, variant.tasks.index(name)], digits=3)
            elif any(name in other.tasks for other in results):
                row[name] = ""
        rows.append(row)
    return rows


def verdict(results: Results) -> list[str]:
    """Whether the noise's weight ends lowest, seed by seed; how uncertainty's moved."""
    said = []
    for variant, (curves, _) in results.items():
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
    curves = {
        (v.architecture, v.label): r.curves
        for v, r in results.items()
        if v.label in ("our setting", "finite difference")
    }
    for (architecture, label), exact in curves.items():
        if label == "our setting" and (architecture, "finite difference") in curves:
            other = curves[architecture, "finite difference"].weights
            gap = np.abs(exact.weights - other).mean(axis=(0, 1))
            each = ", ".join(
                f"{t} {g:.3f}" for t, g in zip(exact.tasks, gap, strict=True)
            )
            said.append(
                f"{architecture}: exact and finite-difference λ are apart, on average "
                f"over training: {each} (the paper: below 0.05)."
            )
    return said


def draw_delta(found: Sequence[Line], path: Path) -> None:
    """Δ_MTL, a line per method."""
    shown = [x for x in found if x.setting != "single" and len(x.metrics) > 1][::-1]
    if not shown:
        return
    figure = Figure((8.4, 1.2 + 0.27 * len(shown)), layout="constrained")
    axis = figure.subplots()
    colours = {"multi-task": "#0072B2", "auxiliary": "#D55E00"}
    for y, line in enumerate(shown):
        mean, std = mean_and_std(line.delta)
        axis.errorbar(
            mean, y, xerr=std, fmt="o", color=colours[line.setting], capsize=2
        )
    several = len({x.architecture for x in shown}) > 1
    axis.set_yticks(
        range(len(shown)),
        [x.label + f" ({x.architecture})" * several for x in shown],
    )
    axis.axvline(0, color="0.5", linewidth=1)
    axis.set_xlabel("Δ_MTL, %: right of the line better than single tasks")
    for setting, colour in colours.items():
        if any(x.setting == setting for x in shown):
            name = {"auxiliary": "auxiliary, with a noise task"}.get(setting, setting)
            axis.plot([], [], "o", color=colour, label=name)
    axis.legend(frameon=False, loc="best")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="0.92")
    figure.savefig(path, dpi=110)


def draw_weights(results: Results, path: Path) -> None:
    """The weights over training, a panel per variant whose weights move."""
    panels = {}
    for variant, (curves, _) in results.items():
        weights = curves.weights
        if variant.setting == "single" or not np.isfinite(weights).all():
            continue
        if np.ptp(weights) == 0:
            continue
        title = full_label(variant) + " + noise" * (NOISE in variant.tasks)
        several = len({v.architecture for v in results}) > 1
        panels[title + f", {variant.architecture}" * several] = {
            task: (curves.epochs, weights[:, :, i])
            for i, task in enumerate(variant.tasks)
        }
    if panels:
        styles = line_styles([*METRICS, NOISE])
        plot_grid(
            panels, path, columns=3, xlabel="epoch", ylabel="weight", styles=styles
        )


def draw_predictions(results: Results, test: Any, path: Path) -> None:
    """Images, the truth beside what was predicted."""
    from_truth = {
        "segmentation": test.label,
        "depth": test.depth,
        "normal": test.normal,
        "part": test.part,
    }
    shown = {v: r.shown for v, r in results.items() if r.shown}
    if not shown:
        return
    tasks = [t for t, x in from_truth.items() if x is not None]
    several = len({v.architecture for v in shown}) > 1
    count = len(next(iter(next(iter(shown.values())).values())))
    columns = [("image", None)] + [
        (f"{task}\n{name}", (task, key))
        for task in tasks
        for name, key in [
            ("truth", None),
            *((v.label + f" ({v.architecture})" * several, v) for v in shown),
        ]
    ]
    figure = Figure((1.25 * len(columns), 1.3 * count + 0.5), layout="constrained")
    axes = figure.subplots(count, len(columns), squeeze=False)
    for row in range(count):
        for axis, (title, what) in zip(axes[row], columns, strict=True):
            if what is None:
                axis.imshow(test.images[row])
            else:
                task, variant = what
                truth = from_truth[task][row]
                found = truth if variant is None else shown[variant][task][row]
                _show(axis, task, found, truth)
            axis.set_axis_off()
            if row == 0:
                axis.set_title(title, fontsize=7)
    figure.savefig(path, dpi=110)


def _show(axis: Any, task: str, found: np.ndarray, truth: np.ndarray) -> None:
    if task in ("segmentation", "part"):
        if found.ndim == 3:
            found = found.argmax(axis=-1)
        found = np.ma.masked_less(found, 0)
        top = max(int(truth.max()), 4)
        axis.imshow(found, cmap="tab10", vmin=0, vmax=max(top, 9), interpolation="none")
    elif task == "depth":
        known = truth[truth > 0]
        high = known.max() if known.size else 1
        masked = np.ma.masked_less_equal(found[..., 0], 0)
        axis.imshow(masked, cmap="viridis", vmin=0, vmax=high)
    else:
        length = np.linalg.norm(found, axis=-1, keepdims=True)
        axis.imshow(np.where(length > 0, (found + 1) / 2, 1))


def write(
    config: Any, title: str, results: Results, described: str, folder: Path, test: Any
) -> None:
    """Writes the tables, the numbers and the figures, and prints the tables."""
    found, said = lines(results), verdicts(config, verdict, results)
    rows, weights = table(found), weight_table(results)
    draw_delta(found, folder / "dense.png")
    draw_weights(results, folder / "weights.png")
    draw_predictions(results, test, folder / "predictions.png")
    facts = ", ".join(f"{key} {value}" for key, value in machine().items())
    pictures = [
        f"![{name}]({name}.png)"
        for name in ("dense", "weights", "predictions")
        if (folder / f"{name}.png").exists()
    ]
    parts = [
        f"# {title}",
        f"{described}; {config.backbone} backbone × {width_of(config):g}, "
        f"{' and '.join(config.architecture)}, {config.seeds} seeds, "
        f"{config.epochs} epochs, mean ± standard deviation over seeds; Δ_MTL against "
        f"the mean of the single-task networks. Machine: {facts}.",
        *pictures,
        table_markdown(rows),
        "## Weights at the end" if weights else "",
        table_markdown(weights) if weights else "",
        "\n".join(f"- {line}" for line in said),
    ]
    write_text(folder / "dense.md", *parts)
    numbers = [
        {
            **{
                k: getattr(v, k) for k in ("label", "method", "setting", "architecture")
            },
            "tasks": v.tasks,
            "test": {name: x[:, -1].tolist() for name, x in r.curves.test.items()},
            "weights": r.curves.weights[:, -1].tolist(),
            "seconds per epoch": r.curves.seconds,
        }
        for v, r in results.items()
    ]
    write_json(folder / "dense.json", {"config": config, "results": numbers})
    tables = {f"{title}: {described}": rows}
    tables |= {"Weights at the end": weights} if weights else {}
    tell(config, tables, said, folder)
