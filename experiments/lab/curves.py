"""What a training measured, read back from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from auxjax.run import RunFolder, read_metrics


class Curves(NamedTuple):
    """What a method measured, over evaluations; leading axis seeds."""

    epochs: np.ndarray  # [n]
    test: dict[str, np.ndarray]  # {metric: [seeds, n]}
    losses: np.ndarray  # [seeds, n, T], mean over the epochs since the one before
    weights: np.ndarray  # [seeds, n, T], likewise; NaN where the rule has none
    tasks: tuple[str, ...]
    seconds: float  # an epoch of all seeds, compilation left out; NaN if not trained

    def last(self, metric: str) -> np.ndarray:
        """`[seeds]`, at the end."""
        return self.test[metric][:, -1]


def column(values: Sequence[Any]) -> np.ndarray:
    """A value of every line of the metrics, `[n, seeds, ...]`, as `[seeds, n, ...]`."""
    return np.moveaxis(np.array(values, np.float64), 0, 1)


def read_curves(run: RunFolder, tasks: tuple[str, ...], seconds: float) -> Curves:
    """What is in a run's metrics."""
    rows = read_metrics(run.metrics)
    losses = column([row["losses"] for row in rows])
    weights = np.full_like(losses, np.nan)
    if rows and "weights" in rows[0]:
        weights = column([row["weights"] for row in rows])
    names = rows[0]["test"] if rows else {}
    return Curves(
        epochs=np.array([row["step"] for row in rows]),
        test={name: column([row["test"][name] for row in rows]) for name in names},
        losses=losses,
        weights=weights,
        tasks=tasks,
        seconds=seconds,
    )
