"""Many tasks in two settings: all of them count, or some in turn are the main task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auxjax.run import RunError, line_styles, mean_and_std, mean_std
from lab.axes import bare, rows_of_points
from lab.curves import Curves
from lab.options import free
from lab.rules import BY_NAME, check_names
from lab.training import Training


@dataclasses.dataclass(frozen=True)
class ManyTasks(Training):
    """The command line of such a script.

    Attributes:
      aux: in the auxiliary setting; none, as in `--aux` alone, leaves it out.
      primaries: which tasks take turns as the main one, by name. By default some,
        evenly spread.
      data_dir: where the files lie that were downloaded.
      width: factor on the trunk's channels.
    """

    aux: tuple[str, ...] = free(("autolambda-main",))
    primaries: tuple[str, ...] = free(())
    data_dir: Path | None = free(None)
    width: float = 1.0

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        object.__setattr__(self, "aux", self.spelled_out("aux"))
        check_names("aux", self.aux, tuple(BY_NAME))  # `single` has no helpers
        self.each_once("aux", "primaries", empty=True)
        self.above_zero("width")

    def fill(self, **defaults: Any) -> None:
        """Sets the fields that the command line left open, as None or `auto`."""
        for name, value in defaults.items():
            if getattr(self, name) in (None, "auto"):
                object.__setattr__(self, name, value)


def choose_primaries(
    config: ManyTasks, known: Sequence[Any], count: int
) -> tuple[int, ...]:
    """The indices of the tasks that take turns.

    Args:
      config: says which; none where nothing is trained in the auxiliary setting.
      known: what the command line calls the tasks.
      count: how many it is by default, evenly spread; one in a smoke run.

    Raises:
      RunError: one is unknown; it lists those that are known.
    """
    unknown = [name for name in config.primaries if name not in known]
    if unknown:
        raise RunError(
            f"`primaries` should be among {', '.join(map(str, known))}. "
            f"Found {', '.join(map(str, unknown))}."
        )
    if not config.aux:
        return ()
    if config.primaries:
        return tuple([*known].index(name) for name in config.primaries)
    spread = np.linspace(0, len(known), 1 if config.smoke else count, endpoint=False)
    return tuple(spread.astype(int).tolist())


class Results(NamedTuple):
    """Every training, by what it was."""

    names: tuple[str, ...]  # of the tasks' metrics
    titles: tuple[str, ...]  # of the tasks, in tables and figures
    multi: dict[str, Curves]  # by method
    auxiliary: dict[tuple[int, str], Curves]  # by the primary task and the method

    @property
    def primaries(self) -> list[int]:
        """The indices of the tasks that took their turn."""
        return list(dict.fromkeys(i for i, _ in self.auxiliary))


MAIN = "accuracy"  # the metric of the primary task, or the mean over all
Learn = Callable[[str, int | None, Path], Curves]
Measure = Callable[[Curves, str], np.ndarray]  # a metric, `[seeds]`
Trained = tuple[dict[str, Curves], dict[tuple[int, str], Curves]]


def train_all(
    config: ManyTasks, primaries: Sequence[int], learn: Learn, folder: Path
) -> Trained:
    """Every training of both settings, in the order of `Results`.

    Args:
      config: the script's.
      primaries: the indices of the tasks that take turns.
      learn: makes a training, from method, index of the primary task, and folder.
      folder: of the run.
    """
    multi = {
        method: learn(method, None, folder / f"multi-{method}")
        for method in config.method
    }
    auxiliary = {
        (i, method): learn(method, i, folder / f"primary-{i + 1}-{method}")
        for i in primaries
        for method in config.aux
    }
    return multi, auxiliary


def primary_values(
    results: Results, i: int, measure: Measure, beside: Sequence[str]
) -> dict[str, np.ndarray]:
    """A primary task's number, `[seeds]`: where all count, and where it is helped.

    Args:
      results: every training.
      i: the task.
      measure: gives a metric of a training.
      beside: the methods of the multi-task setting to look at, if they were trained.
    """
    among = {
        method: measure(results.multi[method], results.names[i])
        for method in beside
        if method in results.multi
    }
    helped = {
        f"primary: {method}": measure(curves, MAIN)
        for (j, method), curves in results.auxiliary.items()
        if j == i
    }
    return among | helped


def primary_rows(
    results: Results, measure: Measure, beside: Sequence[str], digits: int = 1
) -> list[dict[str, str]]:
    """A table's row per primary task, a column per entry of `primary_values`."""
    rows = []
    for i in results.primaries:
        values = primary_values(results, i, measure, beside).items()
        cells = {title: mean_std(x, digits=digits) for title, x in values}
        rows.append({"primary": results.titles[i], **cells})
    return rows


def draw_primaries(
    axis: Any, results: Results, measure: Measure, beside: Sequence[str]
) -> None:
    """The same as points, mean ± deviation over seeds."""
    values = [primary_values(results, i, measure, beside) for i in results.primaries]
    rows = rows_of_points(axis, [results.titles[i] for i in results.primaries])
    styles = line_styles([*values[0]])
    shifts = 0.15 * (np.arange(len(styles)) - (len(styles) - 1) / 2)
    for (title, (colour, _)), shift in zip(styles.items(), shifts, strict=True):
        mean, std = np.transpose([mean_and_std(each[title]) for each in values])
        axis.errorbar(
            mean, rows + shift, xerr=std, fmt="o", capsize=3, color=colour, label=title
        )
    axis.set_xlabel("test accuracy, %")
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    bare(axis)
