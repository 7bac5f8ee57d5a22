"""The weights over training, as in Auto-λ's Figure 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from auxjax.run import line_styles
from lab.axes import bare, over_seeds
from lab.curves import Curves
from lab.digit_tasks import RELATED, TASKS, UNRELATED
from noise.methods import DIFFERENCE, EXACT, LEARNED, SUM, TITLES, UNCERTAINTY

COLOURS = {task: colour for task, (colour, _) in line_styles(TASKS).items()}
COLOURS["noise"] = "black"
YLABELS = {UNCERTAINTY: "weight 1 / (2σ²)", SUM: "λ, before its mean is made 1"}
DASHES = {UNRELATED: "--", "noise": "-."}


def draw(
    curves: Mapping[str, Curves], primaries: Sequence[str], epoch_steps: int, path: Path
) -> None:
    """A panel per method that learns its weights, each a mean between two evaluations.

    Args:
      curves: of every method.
      primaries: the primary tasks.
      epoch_steps: in a pass over the training images.
      path: where to.
    """
    methods = [method for method in LEARNED if method in curves]
    if not methods:
        return
    figure = Figure((max(12.5, 4.2 * len(methods)), 4.1), layout="constrained")
    axes = figure.subplots(1, len(methods), squeeze=False)[0]
    if {EXACT, DIFFERENCE} <= {*methods}:
        axes[1].sharey(axes[0])
    for axis, method in zip(axes, methods, strict=True):
        epochs, weights = curves[method].epochs, curves[method].weights
        middle = (epochs - epochs[0] / 2) * epoch_steps
        for task, values in zip(TASKS, weights.transpose(2, 0, 1), strict=True):
            style = {"color": COLOURS[task], "linestyle": DASHES.get(task, "-")}
            label = legend(task, primaries)
            over_seeds(axis, middle, values, label=label, lw=1.8, **style)
        axis.set(title=TITLES.get(method, method), xlabel="step")
        axis.set(xlim=(0, epochs[-1] * epoch_steps))
        axis.set(ylabel=YLABELS.get(method, "λ"))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    bare(*axes)
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        lines, labels, loc="outside lower center", ncols=len(TASKS), frameon=False
    )
    seeds = len(curves[methods[0]].weights)
    figure.suptitle(f"Task weights, mean ± standard deviation over {seeds} seeds")
    figure.savefig(path, dpi=110)


def legend(task: str, primaries: Sequence[str]) -> str:
    """The task, and what it is to the primary ones."""
    kinds = dict.fromkeys(RELATED, "related") | {UNRELATED: "unrelated"}
    kinds |= dict.fromkeys(primaries, "primary")
    return f"{task} ({kinds[task]})" if task in kinds else task
