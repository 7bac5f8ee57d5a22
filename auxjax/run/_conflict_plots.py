"""The figure of a diagnosis: who conflicts with whom, and whether that is steady."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auxjax._extras import extra
from auxjax.diagnosis import Diagnosis
from auxjax.run import _plots

_NUMBERS_UP_TO, _NAMES_UP_TO = 12, 40
_POINTS = 12  # of the running mean


def plot_conflicts(
    diagnosis: Diagnosis,
    path: str | Path,
    *,
    title: str = "",
    xlabel: str = "batches",
) -> None:
    """Draws the cosines of all pairs, and each helper's with the main task over time.

    On the left the mean cosine of each pair, blue where they agree, red where they
    conflict. On the right a faint line per helper is the cosine of each batch, the
    strong one its running mean over a twelfth of them: a helper whose strong line
    stays on one side of 0 while the faint one does not is told apart by many batches
    alone.

    Args:
      diagnosis: with pairs: `pairs_every` was above 0.
      path: the PNG to write.
      title: above the figure.
      xlabel: of the right panel.

    Raises:
      ValueError: no pairs were measured.
      RunError: the file cannot be written.
      ModuleNotFoundError: matplotlib is absent.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> losses = lambda p, x: (jnp.sum((p - x) ** 2), jnp.sum(p**2))
      >>> found = auxjax.diagnose(losses, jnp.ones(2), jnp.ones((10, 2)) / 2)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "conflicts.png")
      ...     plot_conflicts(found, path)
      ...     path.exists()
      True
    """
    if not len(diagnosis.pair_cosines):
        raise ValueError(
            "`diagnosis` should have measured pairs: `pairs_every` of at least 1. "
            "Found none."
        )
    with extra("plots", "A plot"):
        from matplotlib.figure import Figure
    num_tasks = len(diagnosis.names)
    columns = 2 if num_tasks > 1 else 1
    size = 5.0 + 5.6 * (columns - 1), max(4.2, 0.24 * num_tasks)
    figure = Figure(size, layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    _heat_map(figure, axes[0], diagnosis.cosines, diagnosis.names)
    if num_tasks > 1:
        _over_time(figure, axes[1], diagnosis, xlabel)
    if title:
        figure.suptitle(title)
    _plots._save(figure, Path(path))


def _heat_map(
    figure: Any, axis: Any, cosines: np.ndarray, names: Sequence[str]
) -> None:
    image = axis.imshow(cosines, cmap="RdBu", vmin=-1, vmax=1)
    figure.colorbar(image, ax=axis, shrink=0.8)
    axis.set_title("mean cosine of the gradients", fontsize="medium")
    if len(names) <= _NAMES_UP_TO:
        places = range(len(names))
        axis.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
        axis.set_yticks(places, names)
    if len(names) <= _NUMBERS_UP_TO:
        for (row, column), value in np.ndenumerate(cosines):
            colour = "white" if abs(value) > 0.6 else "black"
            text = (
                "–" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}"
            )  # no -0.00
            axis.text(
                column, row, text, ha="center", va="center", color=colour, fontsize=8
            )


def _over_time(figure: Any, axis: Any, diagnosis: Diagnosis, xlabel: str) -> None:
    x, helpers = diagnosis.pair_batches, diagnosis.names[1:]
    styles = _plots.line_styles(helpers)
    lines = []
    for i, name in enumerate(helpers, start=1):
        colour, dash = styles[name]
        values = diagnosis.pair_cosines[:, 0, i]
        axis.plot(x, values, color=colour, linewidth=0.7, alpha=0.3)
        smooth = running_mean(values, max(1, round(len(values) / _POINTS)))
        lines += axis.plot(x, smooth, color=colour, linestyle=dash, linewidth=1.8)
    axis.axhline(0, color="0.4", linewidth=0.8)
    axis.set_title(f"cosine with {diagnosis.names[0]}", fontsize="medium")
    axis.set_xlabel(xlabel)
    _plots._dress(axis)
    figure.legend(lines, helpers, loc="outside right upper", frameon=False)


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """The mean of so many neighbours, fewer at the ends; NaNs do not count.

    Example:
      >>> running_mean(np.array([0.0, 3.0, np.nan, 3.0]), 3).tolist()
      [1.5, 1.5, 3.0, 3.0]
    """
    kernel, there = np.ones(width), ~np.isnan(values)
    total = np.convolve(np.where(there, values, 0.0), kernel)
    number = np.convolve(there, kernel)
    start = (width - 1) // 2
    kept = slice(start, start + len(values))
    mean = total[kept] / np.maximum(number[kept], 1)
    return np.where(number[kept] > 0, mean, np.nan)
