"""The figures of `rl_aux.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from auxjax.run import plot_grid, plot_learning_curves
from labelling.data import Problem
from labelling.run import Trained
from labelling.variants import AGENTS, Variant

CLASSES, COLUMNS = 4, 10  # superclasses and images per label that are drawn
GAP = 2  # pixels between two images

Results = Mapping[Variant, Trained]


def draw_curves(results: Results, path: Path) -> None:
    """The test accuracy over epochs, and how evenly labels are used."""
    accuracy = {
        variant.label: (curves.epochs, curves.test["accuracy"])
        for variant, (curves, _, _) in results.items()
    }
    use = {
        variant.label: (curves.epochs, curves.train["label_use"])
        for variant, (curves, _, _) in results.items()
        if variant.method != "single"
    }
    drawn = {
        variant.label: (curves.epochs, curves.train["drawn_label_use"])
        for variant, (curves, _, _) in results.items()
        if variant.method in AGENTS
    }
    panels = {"Test accuracy, %": accuracy}
    if use:
        panels["Label use (entropy, 1: even)"] = use
    if drawn:
        panels["Label use, agents' chances"] = drawn
    plot_grid(panels, path, columns=len(panels), xlabel="epoch", ylabel="")


def draw_ablation(results: Results, path: Path) -> None:
    """The test accuracy at the end against λ; `single`, which has none, is a level."""
    curves: dict[str, Any] = {}
    alone, weights = results.get(Variant("single")), {v.aux_weight for v in results}
    if alone is not None:
        last = alone.curves.test["accuracy"][:, -1:]
        curves["single"] = sorted(weights), np.repeat(last, len(weights), axis=1)
    for method in dict.fromkeys(v.method for v in results if v.method != "single"):
        for restore in dict.fromkeys(v.restore for v in results if v.method == method):
            own = sorted(
                (v for v in results if (v.method, v.restore) == (method, restore)),
                key=lambda v: v.aux_weight,
            )
            last = [results[v].curves.test["accuracy"][:, -1] for v in own]
            label = Variant(method, restore=restore).label
            curves[label] = [v.aux_weight for v in own], np.stack(last, axis=1)
    if curves:
        plot_learning_curves(
            curves, path, xlabel="auxiliary weight λ", ylabel="test accuracy, %"
        )


def draw_labels(problem: Problem, learned: Results, path: Path) -> None:
    """Test images of the first superclasses, a row per label, a column a training."""
    psi = problem.hierarchy.psi
    classes = min(problem.hierarchy.classes, CLASSES)
    height, width = problem.test.images.shape[1:3]
    size = (classes * psi * (height + GAP), COLUMNS * (width + GAP))
    inches = 3.2 * size[0] / size[1]
    figure = Figure((3.2 * len(learned) + 1.6, inches + 0.6), layout="constrained")
    axes = figure.subplots(1, len(learned), squeeze=False)[0]
    for axis, (variant, trained) in zip(axes, learned.items(), strict=True):
        labels = labels_of(problem, trained)
        axis.imshow(mosaic(problem, labels, classes), cmap="gray_r", vmin=0, vmax=255)
        axis.set(title=variant.label, xticks=[])
        shares = _shares(problem, labels)[: classes * psi]
        axis.set_yticks(
            [(i + 0.5) * (height + GAP) for i in range(classes * psi)],
            [f"{share:.0%}" for share in shares],
            fontsize=7,
        )
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        for c in range(1, classes):
            axis.axhline(c * psi * (height + GAP) - GAP / 2, color="0.3", lw=1)
    for c in range(classes):
        place = 1 - (c + 0.5) / classes
        axes[0].text(
            -0.16, place, problem.names[c], transform=axes[0].transAxes,
            rotation=90, ha="right", va="center", fontsize=8,
        )  # fmt: skip
    figure.savefig(path, dpi=110)


def labels_of(problem: Problem, trained: Trained) -> np.ndarray:
    """The labels `[n]` that the first seed's labeller gives to the test images."""
    state = jax.tree.map(lambda x: x[0], trained.state)
    test, labels = problem.test, []
    name = jax.jit(trained.method.labels)
    for at in range(0, len(test.labels), 500):
        part = slice(at, at + 500)
        labels.append(name(state, test.images[part], test.labels[part]))
    return np.concatenate(labels)


def mosaic(problem: Problem, labels: np.ndarray, classes: int) -> np.ndarray:
    """The first images of each label side by side, a row per label; white where none.

    Args:
      problem: the test images.
      labels: the label of each.
      classes: how many superclasses to show.

    Returns:
      uint8 `[rows, columns]`, or with three channels behind. One channel is ink, which
      is drawn black on white: there white is 0.
    """
    images = problem.test.images
    _, height, width, channels = images.shape
    rows = classes * problem.hierarchy.psi
    blank = 0 if channels == 1 else 255
    shape = (rows * (height + GAP), COLUMNS * (width + GAP), channels)
    canvas = np.full(shape, blank, np.uint8)
    for row in range(rows):
        for column, index in enumerate(np.flatnonzero(labels == row)[:COLUMNS]):
            top, left = row * (height + GAP), column * (width + GAP)
            canvas[top : top + height, left : left + width] = images[index]
    return canvas[..., 0] if channels == 1 else canvas


def _shares(problem: Problem, labels: np.ndarray) -> np.ndarray:
    """Of each superclass's test images, the part that has each label, `[K]`."""
    blocks = problem.hierarchy
    table = np.bincount(labels, minlength=blocks.num_labels)
    table = table.reshape(blocks.classes, blocks.psi)
    return (table / np.maximum(table.sum(axis=1, keepdims=True), 1)).reshape(-1)
