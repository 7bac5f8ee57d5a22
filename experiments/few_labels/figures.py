"""Accuracy against labels, and who is found over training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import line_styles, mean_and_std
from few_labels.data import GOOD, NOISE
from few_labels.methods import TITLES
from few_labels.run import Results
from lab.axes import BLUE, ORANGE, bare
from lab.digit_tasks import UNRELATED
from lab.training import SINGLE

FAMILIES = (
    SINGLE,
    "equal",
    "gcs",
    "autolambda-main",
    "log_loss",
    "olaux-log",
    "olaux-log-sum",
    "olaux-cosine",
    "select_then_train",
)
"""The lines of the figure; the best weights picked by hand are a band's edge."""
GREY = "0.6"


def draw_accuracy(config: Any, results: Results, path: Path) -> None:
    """Accuracy against the number of labels; a line per family."""
    methods = [name for name in FAMILIES if name in config.method] or [*config.method]
    figure = Figure((7.6, 4.6), layout="constrained")
    axis = figure.subplots()
    labels = sorted(config.labels)
    for method, (colour, dash) in line_styles(methods[:12]).items():
        values = np.stack([results[n, method].accuracy for n in labels], axis=1)
        mean, std = mean_and_std(values)
        error = std / np.sqrt(len(values))
        style = {"color": colour, "ls": dash, "marker": "o", "ms": 4, "capsize": 2}
        title = TITLES.get(method, method)
        axis.errorbar(labels, mean, yerr=error, lw=1.8, label=title, **style)
    hand = [m for m in config.method if m.startswith("hand-")]
    if hand:
        best = [max(np.nanmean(results[n, m].accuracy) for m in hand) for n in labels]
        title = "the good helpers by hand, best weight"
        axis.plot(labels, best, color="0.3", ls=":", lw=1.8, label=title, zorder=1)
    axis.set_xscale("log")
    axis.set_xticks(labels, [str(n) for n in labels])
    axis.minorticks_off()
    axis.set_xlabel(f"images with a label of the main task, of {config.train_size}")
    axis.set_ylabel("accuracy of the main task, %")
    bare(axis)
    figure.legend(loc="outside right center", frameon=False, fontsize=8.5)
    figure.suptitle(
        f"3 helpers that help among {5 + config.random_helpers}; mean and standard "
        f"error, {config.seeds} seeds",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)


def draw_weights(config: Any, results: Results, path: Path) -> None:
    """The weights over training: helpers that help in one colour, others in another."""
    wanted = ("olaux-log", "olaux-cosine", "autolambda-main", "gcs")
    labels = 50 if 50 in config.labels else config.labels[0]
    methods = [name for name in wanted if name in config.method]
    if not methods:
        return
    figure = Figure((3.6 * len(methods) + 0.8, 3.6), layout="constrained")
    steps = config.train_size // config.batch_size
    for axis, method in zip(
        figure.subplots(1, len(methods), squeeze=False)[0], methods, strict=True
    ):
        curves = results[labels, method].curves
        x = (curves.epochs - curves.epochs[0] / 2) * steps
        for task, values in zip(
            curves.tasks, np.moveaxis(curves.weights, 2, 0), strict=True
        ):
            if task == curves.tasks[0]:
                continue
            colour = BLUE if task in GOOD else ORANGE
            dash = {UNRELATED: "--", NOISE: ":"}.get(task, "-")
            low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
            axis.plot(x, middle, color=colour, ls=dash, lw=1.6)
            axis.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
        if method == "olaux-log":
            axis.set_yscale("symlog", linthresh=1)
            axis.set_ylim(bottom=0)
        axis.set(title=TITLES.get(method, method), xlabel="step")
        axis.title.set_fontsize(9.5)
        bare(axis)
    first = figure.axes[0]
    first.set_ylabel("weight")
    handles = [
        first.plot([], [], color=BLUE, label="parity, size, loops")[0],
        first.plot([], [], color=ORANGE, ls="--", label="the bar beside the digit")[0],
        first.plot([], [], color=ORANGE, ls=":", label="noise")[0],
        first.plot([], [], color=ORANGE, label="random labels")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"{labels} labels, median and middle half of {config.seeds} seeds")
    figure.savefig(path, dpi=110)
