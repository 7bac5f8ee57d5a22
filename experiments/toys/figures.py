"""The papers' figures of their problems in the plane."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lab.axes import BLUE, GREEN, ORANGE, PINK, bare
from toys.words import CONVERGED, convergence_time

RED, GREY = "#C00000", "0.35"
SPAN = 2.4  # half the side of every map


def olaux(runs: Mapping[str, Any], main: Callable, path: Path) -> None:
    """Fixed weights' paths, OL-AUX's paths, and loss and weights over the steps."""
    figure = Figure((12.5, 4.2), layout="constrained")
    maps = figure.subplot_mosaic("ABL\nABW", width_ratios=(1, 1, 1.25))
    for axis, (name, run) in zip((maps["A"], maps["B"]), runs.items(), strict=True):
        _map(axis, main, name, 1.4)
        for line, colour in zip(run.path, (BLUE, ORANGE, GREEN, PINK), strict=True):
            axis.plot(*line.T, color=colour, linewidth=1.8)
            axis.plot(*line[0], "o", color=colour, markersize=7)
        axis.plot(0, 0, "k+", markersize=12, markeredgewidth=1.8)
        axis.plot(*run.path[:, -1].T, "k*", markersize=12)
    figure.legend(
        handles=_marks("end", optimum=True), loc="outside lower left", ncols=3
    )
    for (name, run), colour in zip(runs.items(), (GREY, BLUE), strict=True):
        for loss in run.loss:
            (line,) = maps["L"].semilogy(np.maximum(loss, 1e-12), color=colour)
        line.set_label(name)
    maps["L"].set(ylabel="main loss", title="four starts each", ylim=(1e-9, 1e1))
    maps["L"].legend(loc="lower left")
    weights = runs["OL-AUX"].weights
    names = {"$w_1$, the helpful loss": BLUE, "$w_2$, the adversary": ORANGE}
    for task, (name, colour) in enumerate(names.items(), start=1):
        lines = maps["W"].plot(weights[:, :, task].T, color=colour, linewidth=1.3)
        lines[0].set_label(name)
    maps["W"].axhline(0, color="0.8", linewidth=0.8, zorder=0)
    maps["W"].set(xlabel="step", ylabel="OL-AUX weights")
    maps["W"].legend(loc="upper right")
    for axis in (maps["L"], maps["W"]):
        axis.set_xlim(0, 300)
    bare(maps["L"], maps["W"])
    figure.savefig(path, dpi=130)


def gcs_grid(
    runs: Mapping[str, Mapping[str, Any]], mains: Mapping[str, Callable], path: Path
) -> None:
    """A row per problem; main loss only, plain sum, GCS."""
    columns = ("main only", "plain sum", "GCS")
    figure = Figure((10, 10.4), layout="constrained")
    axes = figure.subplots(len(runs), len(columns), squeeze=False)
    for row, (problem, methods) in zip(axes, runs.items(), strict=True):
        for axis, name in zip(row, columns, strict=True):
            run = methods[name]
            _map(axis, mains[problem], f"{_symbols(problem)}:  {name}", SPAN)
            time = convergence_time(run.loss)
            colours = (BLUE, ORANGE, GREEN, PINK)
            for line, stop, colour in zip(run.path, time, colours, strict=True):
                _trajectory(axis, line, stop, colour, 1.8)
            axis.set_xlabel(_outcome(run.loss))
    figure.legend(
        handles=_marks("main loss < 0.1"), loc="outside lower center", ncols=4
    )
    figure.savefig(path, dpi=110)


def gcs_random(
    runs: Mapping[str, Mapping[str, Any]],
    mains: Mapping[str, Callable],
    alignments: Mapping[str, Callable],
    path: Path,
    shown: int = 14,
) -> None:
    """A row per problem; a column per method over the cosines, then all times."""
    figure = Figure((17.5, 3.9 * len(runs) + 0.5), layout="constrained")
    axes = figure.subplots(len(runs), 5, squeeze=False)
    for row, (problem, methods) in zip(axes, runs.items(), strict=True):
        alone = convergence_time(methods["main only"].loss)
        slowed = np.isfinite(alone) & (convergence_time(methods["GCS"].loss) > alone)
        # Some that GCS slows down, if there are any, and the first of the others.
        picked = [*np.flatnonzero(slowed)[: shown // 3]]
        picked += [i for i in range(len(alone)) if not slowed[i]][: shown - len(picked)]
        for axis, (name, run) in zip(row, methods.items(), strict=False):
            image = _map(
                axis, mains[problem], f"{_symbols(problem)}:  {name}", SPAN,
                alignments[problem],
            )  # fmt: skip
            time = convergence_time(run.loss)
            for i in picked:
                colour = RED if slowed[i] else "black"
                _trajectory(axis, run.path[i], float(time[i]), colour, 1.2)
            axis.set_xlabel(_outcome(run.loss))
        _times(row[-1], methods, alone)
        label = r"cos(∇main, auxiliary)"
        figure.colorbar(image, ax=row[3], shrink=0.85, label=label)
    marks = _marks("main loss < 0.1")
    if slowed.any():
        marks += [Line2D([], [], color=RED, label="runs that GCS slows down")]
    figure.legend(handles=marks, loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=100)


def _times(axis: Any, methods: Mapping[str, Any], alone: np.ndarray) -> None:
    """Convergence time by every method against that of the main loss alone."""
    steps = methods["main only"].loss.shape[1] - 1
    never = 1.6 * steps
    styles = {
        "plain sum": ("x", ORANGE),
        "GCS": ("o", BLUE),
        "weighted GCS": ("+", GREEN),
    }
    for name, (marker, colour) in styles.items():
        time = convergence_time(methods[name].loss)
        x, y = (
            np.where(np.isfinite(t), np.maximum(t, 1), never) for t in (alone, time)
        )
        shape = {"facecolors": "none"} if marker == "o" else {}
        axis.scatter(
            x, y, s=26, marker=marker, **{"color": colour, **shape}, label=name,
            linewidths=1.1,
        )  # fmt: skip
    axis.plot([1, never], [1, never], color="0.6", linewidth=1, zorder=0)
    axis.set(
        xscale="log", yscale="log", xlim=(1, 2 * steps), ylim=(1, 2 * steps),
        xlabel="steps, main only", ylabel="steps, by each method",
        title="steps until main loss < 0.1", box_aspect=1,
    )  # fmt: skip
    ticks, labels = [1, 10, 100, never], ["1", "10", "100", "never"]
    axis.set_xticks(ticks, labels)
    axis.set_yticks(ticks, labels)
    axis.minorticks_off()
    axis.legend(loc="lower right", fontsize=8)


def _map(
    axis: Any, main: Callable, title: str, span: float, colour: Callable | None = None
) -> Any:
    """Contours of the main loss, its converged region, and cosines as the ground."""
    image = None
    if colour is not None:
        image = axis.imshow(
            _on_grid(colour, span), extent=(-span, span, -span, span), origin="lower",
            cmap="RdYlGn", vmin=-1, vmax=1, alpha=0.55, interpolation="bilinear",
        )  # fmt: skip
    loss = _on_grid(main, span)
    levels = [0.25, 0.5, 1, 2, 3, 4, 6, 8, 10]
    if loss[-1, -1] <= 1:  # the plain: its rim is near 1
        levels = [0.25, 0.5, 0.75, 0.9, 0.99, 2, 4, 6, 8, 10]
    ticks = np.linspace(-span, span, len(loss))
    axis.contour(ticks, ticks, loss, levels, colors="0.5", linewidths=0.5, alpha=0.8)
    axis.contourf(ticks, ticks, loss, [-1, CONVERGED], colors=["0.45"], alpha=0.6)
    axis.set(title=title, aspect="equal", xlim=(-span, span), ylim=(-span, span))
    return image


@functools.lru_cache(maxsize=16)
def _on_grid(f: Callable, span: float) -> np.ndarray:
    """The function's values on a square grid, rows from the bottom up."""
    ticks = np.linspace(-span, span, 160)  # even: the origin, V's pole, is no node
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    return np.asarray(jax.jit(jax.vmap(jax.vmap(f)))(jnp.asarray(grid)))


def _trajectory(axis: Any, line: Any, stop: float, colour: str, width: float) -> None:
    axis.plot(*line.T, color=colour, linewidth=width)
    axis.plot(*line[0], "o", color=colour, markersize=5)
    if np.isfinite(stop):
        axis.plot(
            *line[int(stop)], "*", color=colour, markersize=11, markeredgecolor="white",
            markeredgewidth=0.6, zorder=5,
        )  # fmt: skip
    axis.plot(*line[-1], "s", color=colour, markersize=4, markerfacecolor="white")


def _marks(star: str, optimum: bool = False) -> list[Line2D]:
    """The legend of the markers."""

    def mark(marker, label, **options):
        return Line2D(
            [], [], color="k", linestyle="", marker=marker, label=label, **options
        )

    if optimum:
        return [
            mark("o", "start"),
            mark("*", star, markersize=11),
            mark("+", "main optimum", markersize=10),
        ]
    return [
        mark("o", "start"),
        mark("*", star, markersize=11),
        mark("s", "last step", markerfacecolor="white"),
    ]


def _outcome(loss: np.ndarray) -> str:
    time = convergence_time(loss)
    stayed = int((loss[:, -1] < CONVERGED).sum())
    text = f"{stayed} of {len(loss)} converge"
    there = time[loss[:, -1] < CONVERGED]
    return f"{text}, in {there.mean():.0f} steps" if stayed else text


def _symbols(problem: str) -> str:
    """`L1 + V` as mathematics."""
    return "$" + problem.replace("L", "L_") + "$"
