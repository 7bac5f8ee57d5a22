"""What came of the cosines: is the sign of a batch's that of all images'?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import mean_std
from lab.axes import BLUE, ORANGE, bare
from lab.report import Report
from rotated.cosines import DRAWN, Cosines, agreement, negative

Measured = Mapping[int, Cosines]


def by_chance(cosines: Cosines) -> np.ndarray:
    """`[seeds]`, percent: the agreement of signs that know nothing of one another."""
    full, drawn = negative(cosines.full) / 100, negative(cosines.drawn) / 100
    return 100 * (full * drawn + (1 - full) * (1 - drawn))


def table(measured: Measured) -> list[dict[str, str]]:
    """A row per rotation."""
    rows = []
    for degrees, found in measured.items():
        spread = found.drawn.std(axis=2).mean(axis=1)
        rows.append(
            {
                "rotation": f"{degrees}°",
                "cosine, all images": mean_std(found.full.mean(axis=1), digits=3),
                "batches around it, ±": mean_std(spread, digits=3),
                "below 0, all images, %": mean_std(negative(found.full)),
                "below 0, batches, %": mean_std(negative(found.drawn)),
                "same sign, %": mean_std(agreement(found)),
                "by chance, %": mean_std(by_chance(found)),
            }
        )
    return rows


def draw(measured: Measured, path: Path) -> None:
    """A panel per rotation, its first seed: all images' cosine, batches around it."""
    figure = Figure((2.6 * len(measured) + 0.8, 3.7), layout="constrained")
    axes = figure.subplots(1, len(measured), sharey=True, squeeze=False)[0]
    for axis, (degrees, found) in zip(axes, measured.items(), strict=True):
        low, high = np.quantile(found.drawn[0], (0.05, 0.95), axis=-1)
        axis.plot(found.batch[0], ".", color="0.8", ms=1.5, label="the step's batch")
        label = "nine in ten batches, same parameters"
        axis.fill_between(found.steps, low, high, color=ORANGE, alpha=0.35, label=label)
        axis.plot(found.steps, found.full[0], color=BLUE, lw=1.8, label="all images")
        axis.axhline(0, color="black", lw=0.8)
        share = agreement(found).mean()
        axis.set(title=f"{degrees}°: same sign {share:.0f} %", xlabel="step")
    axes[0].set(ylabel="cosine of main and rotated gradient")
    bare(*axes)
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def report(config: Any, measured: Measured, described: str) -> Report:
    """The table, the numbers seed by seed, and the figure."""
    points = len(next(iter(measured.values())).steps)
    about = (
        f"{described}; {config.seeds} seeds, {config.epochs} epochs with equal "
        f"weights. At {points} places of a training: the cosine of the main and the "
        "rotated gradient in the trunk, on all training images and on each of "
        f"{DRAWN} batches of {config.batch_size} drawn there, at the same parameters. "
        "Mean ± standard deviation over seeds. By chance: how often two signs agree "
        "that are below 0 as often as these, but know nothing of one another."
    )
    numbers = [
        {
            "rotation": degrees,
            "steps": found.steps.tolist(),
            "cosine, all images": found.full.tolist(),
            "mean cosine of batches": found.drawn.mean(axis=2).tolist(),
            "deviation of batches": found.drawn.std(axis=2).tolist(),
            "same sign, %": agreement(found).tolist(),
            "below 0, steps' own batches, %": negative(found.batch).tolist(),
        }
        for degrees, found in measured.items()
    ]
    return Report(
        stem="rotated_cosines",
        room="rotated",
        script="rotated_mnist.py",
        title="RotatedMNIST: cosines of a batch and of all images",
        about=about,
        tables={"Cosines": table(measured)},
        numbers={"results": numbers},
        figures={"": partial(draw, measured)},
    )
