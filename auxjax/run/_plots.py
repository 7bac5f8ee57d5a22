"""Figures: learning curves with their spread, weights over time, small multiples."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auxjax._extras import extra
from auxjax.run._errors import writing
from auxjax.run._table import mean_and_std

# Okabe and Ito's colours, told apart by nearly every eye; the yellow is left out, for
# it is lost on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", ":", "-.")

Curves = Mapping[str, tuple[Any, Any]]


def plot_learning_curves(
    curves: Curves,
    path: str | Path,
    *,
    title: str = "",
    xlabel: str = "frames",
    ylabel: str = "return",
    styles: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Draws the mean over seeds as a line and ± one standard deviation as a band.

    Args:
      curves: label -> `(x [n], y [seeds, n])`; `y [n]` for a single seed. NaNs in `y`
        do not count.
      path: the PNG to write.
      title: above the figure.
      xlabel: of the horizontal axis.
      ylabel: of the vertical axis.
      styles: label -> `(colour, dash)`, from `line_styles`, to keep over many figures.

    Raises:
      ValueError: there is no curve, or an `x` and a `y` differ in length.
      RunError: the file cannot be written.
      ModuleNotFoundError: matplotlib is absent.

    Example:
      >>> import tempfile
      >>> frames, returns = [100, 200, 300], np.ones((2, 3))  # two seeds
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "curves.png")
      ...     plot_learning_curves({"olaux": (frames, returns)}, path)
      ...     path.exists()
      True
    """
    plot_grid(
        {title: curves}, path, columns=1, xlabel=xlabel, ylabel=ylabel, styles=styles
    )


def plot_weights(
    x: Any,
    weights: Any,
    names: Sequence[str],
    path: str | Path,
    *,
    title: str = "",
    xlabel: str = "frames",
    ylabel: str = "weight",
    styles: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Draws the weight of every task over time.

    Args:
      x: `[n]`.
      weights: `[n, T]`, or `[seeds, n, T]` for mean and spread.
      names: the names of the `T` tasks.
      path: the PNG to write.
      title: above the figure.
      xlabel: of the horizontal axis.
      ylabel: of the vertical axis.
      styles: name -> `(colour, dash)`, from `line_styles`, to keep over many figures.

    Raises:
      ValueError: the number of names is not `T`.
      RunError: the file cannot be written.
      ModuleNotFoundError: matplotlib is absent.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "weights.png")
      ...     plot_weights([1, 2, 3], np.ones((3, 2)), ["main", "flow"], path)
      ...     path.exists()
      True
    """
    weights = np.asarray(weights)
    if weights.ndim not in (2, 3) or weights.shape[-1] != len(names):
        raise ValueError(
            f"`weights` should be of shape [n, {len(names)}] or "
            f"[seeds, n, {len(names)}], one column per name. Found {weights.shape}."
        )
    curves = {name: (x, weights[..., i]) for i, name in enumerate(names)}
    plot_grid(
        {title: curves}, path, columns=1, xlabel=xlabel, ylabel=ylabel, styles=styles
    )


def plot_grid(
    panels: Mapping[str, Curves],
    path: str | Path,
    *,
    columns: int = 3,
    title: str = "",
    xlabel: str = "frames",
    ylabel: str = "return",
    styles: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Draws one small panel per title, with one legend and one style per label for all.

    Args:
      panels: title -> curves, as `plot_learning_curves` takes them.
      path: the PNG to write.
      columns: how many panels stand side by side.
      title: above the figure.
      xlabel: of the panels at the bottom.
      ylabel: of the panels at the left.
      styles: label -> `(colour, dash)`, from `line_styles`, to keep over many figures.

    Raises:
      ValueError: there is no curve, or an `x` and a `y` differ in length.
      RunError: the file cannot be written.
      ModuleNotFoundError: matplotlib is absent.

    Example:
      >>> import tempfile
      >>> frames, returns = [100, 200, 300], np.ones((2, 3))  # two seeds
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "curves.png")
      ...     plot_grid({"Breakout": {"olaux": (frames, returns)}}, path)
      ...     path.exists()
      True
    """
    labels = list(
        dict.fromkeys(label for curves in panels.values() for label in curves)
    )
    if not labels:
        raise ValueError("`panels` should have at least one curve. Found none.")
    if columns < 1:
        raise ValueError(f"`columns` should be at least 1. Found {columns}.")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    with extra("plots", "A plot"):
        from matplotlib.figure import Figure
    # A figure of its own, not pyplot's: no window system, no state left behind.
    width, height = (6.4, 4.0) if len(panels) == 1 else (3.4, 2.6)
    figure = Figure((width * columns + 1.4, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    styles = {**line_styles(labels), **(styles or {})}
    lines = {}
    for axis, (name, curves) in zip(axes, panels.items(), strict=False):
        axis.set_title(name)
        for label, (x, y) in curves.items():
            lines[label] = _draw(axis, label, x, y, styles[label])
        _dress(axis)
    for place, axis in enumerate(axes):
        axis.set_visible(place < len(panels))
        if place % columns == 0:
            axis.set_ylabel(ylabel)
        if place + columns >= len(panels):
            axis.set_xlabel(xlabel)
    figure.legend(
        [lines[label] for label in labels],
        labels,
        loc="outside right upper",
        frameon=False,
    )
    if title:
        figure.suptitle(title)
    _save(figure, Path(path))


def line_styles(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A `(colour, dash)` for each label, in order: seven colours, then the next dash.

    Example:
      >>> line_styles(["olaux", "sum"])
      {'olaux': ('#0072B2', '-'), 'sum': ('#D55E00', '-')}
    """
    colours, dashes = len(_COLOURS), len(_DASHES)
    return {
        label: (_COLOURS[i % colours], _DASHES[i // colours % dashes])
        for i, label in enumerate(labels)
    }


def _draw(axis: Any, label: str, x: Any, y: Any, style: tuple[str, str]) -> Any:
    x, y = np.asarray(x), np.asarray(y, np.float64)
    y = y[None] if y.ndim == 1 else y
    if y.ndim != 2 or x.shape != y.shape[1:]:
        raise ValueError(
            f"`{label}` should have x [n] and y [seeds, n]. Found {x.shape}, {y.shape}."
        )
    mean, std = mean_and_std(y)
    colour, dash = style
    (line,) = axis.plot(x, mean, color=colour, linestyle=dash, linewidth=1.8)
    if len(y) > 1:
        axis.fill_between(
            x, mean - std, mean + std, color=colour, alpha=0.18, linewidth=0
        )
    return line


def _save(figure: Any, path: Path) -> None:
    # Matplotlib depends on Pillow. 256 colours make a third of the bytes of 16 million.
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    image = Image.open(buffer).convert("RGB").quantize(256)
    with writing(path):
        image.save(path, format="png", optimize=True)


def _dress(axis: Any) -> None:
    from matplotlib.ticker import EngFormatter

    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(visible=True, color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)
    # 2M says it better than 2 times ten to the sixth in the corner.
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.locator_params(axis="x", nbins=5)
