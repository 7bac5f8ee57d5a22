"""What came of `noise_task.py`: tables, the paper's statements, the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from auxjax.run import mean_std
from lab.curves import Curves
from lab.digit_tasks import CLASSES, RELATED, TASKS, UNRELATED, primary_tasks
from lab.report import Report
from lab.training import SINGLE
from noise.figure import draw
from noise.methods import (
    CONSTANT,
    DIFFERENCE,
    EQUAL,
    EXACT,
    LEARNED,
    SOFTMAX,
    START,
    SUM,
    TITLES,
    UNCERTAINTY,
)

NEAR = (
    0.05  # the paper's noise stays this near to its start (0.12), its λ to each other
)


class Trained(NamedTuple):
    """What one method came to."""

    curves: Curves
    weights: np.ndarray  # [seeds, T], after the last step


Results = Mapping[str, Trained]


class Statement(NamedTuple):
    """One of the paper's, and whether it is so here."""

    text: str
    measured: str
    holds: Any

    def __str__(self) -> str:
        """As a line of the page."""
        verdict = "holds" if self.holds else "does not hold"
        return f"{self.text}: {verdict} ({self.measured})"


def weight_table(results: Results) -> list[dict[str, str]]:
    """The weights at the end, a row per method that learns them."""
    rows = []
    for method in LEARNED:
        if method in results:
            weights = dict(zip(TASKS, results[method].weights.T, strict=True))
            cells = {task: mean_std(x, digits=2) for task, x in weights.items()}
            rows.append({"method": TITLES.get(method, method), **cells})
    return rows


def accuracy_table(results: Results, primaries: Sequence[str]) -> list[dict[str, str]]:
    """Test accuracy in percent, a row per method.

    Args:
      results: every method's.
      primaries: the tasks that `SINGLE` trains; it has no say in the others.
    """
    rows = []
    for method, (curves, _) in results.items():
        row = {"method": TITLES.get(method, method)}
        for task in CLASSES:
            trained = method != SINGLE or task in primaries
            row[task] = mean_std(curves.last(task)) if trained else "–"
        rows.append(row)
    return rows


def statements(results: Results, primaries: Sequence[str]) -> list[Statement]:
    """The paper's statements on the methods that are there."""
    said = []
    if EXACT in results:
        final = dict(zip(TASKS, results[EXACT].weights.T, strict=True))
        text = f"λ of the noise stays where it began, {START} ± {NEAR} (Table 4: 0.12)"
        stays = abs(final["noise"].mean() - START) <= NEAR
        said += ranking(final, primaries)
        said.append(Statement(text, mean_std(final["noise"], digits=2), stays))
    if {EXACT, DIFFERENCE} <= results.keys():
        gaps = weight_gaps(results)
        worst = max(gaps, key=lambda task: gaps[task])
        text = "exact λ and finite differences < 0.05 apart on average (Figure 6)"
        measured = f"mean {np.mean([*gaps.values()]):.3f}, {worst} {gaps[worst]:.3f}"
        said.append(Statement(text, measured, gaps[worst] < NEAR))
    if UNCERTAINTY in results:
        weights = results[UNCERTAINTY].weights[:, TASKS.index("noise")]
        text = "uncertainty does not lower the noise's weight (Figure 4)"
        measured = f"1 → {mean_std(weights, digits=2)}"
        said.append(Statement(text, measured, weights.mean() >= 1))
    return said + accuracies(results, primaries)


def ranking(
    final: Mapping[str, np.ndarray], primaries: Sequence[str]
) -> list[Statement]:
    """Statements of the form: the lowest of these tasks is above that one.

    The lowest in each seed, whichever it is there.
    """

    def above(what, tasks, other, whose):
        gap = np.min([final[task] for task in tasks], axis=0) - final[other]
        measured = f"by {mean_std(gap, digits=2)}, in {count(gap)} seeds"
        return Statement(f"λ of {what} above {whose}", measured, is_above(gap))

    if len(primaries) > 1:
        return [above("every primary", primaries, "noise", "the noise's")]
    return [
        above("every related task", RELATED, "noise", "the noise's"),
        above("every related task", RELATED, UNRELATED, "the unrelated task's"),
        above("the unrelated task", [UNRELATED], "noise", "the noise's"),
    ]


def accuracies(results: Results, primaries: Sequence[str]) -> list[Statement]:
    """Auto-λ beside the others, seed by seed; the mean over the primary tasks.

    Then its forms that have no scale of their own, beside weights of 1.
    """
    scores = {
        method: np.mean([curves.last(task) for task in primaries], axis=0)
        for method, (curves, _) in results.items()
    }
    said = []
    pairs = [("Auto-λ", EXACT, x) for x in (UNCERTAINTY, EQUAL, *CONSTANT, SINGLE)]
    pairs += [(TITLES[x], x, EQUAL) for x in (SOFTMAX, SUM)]
    for name, one, other in pairs:
        if {one, other} <= scores.keys():
            gap = scores[one] - scores[other]
            text = f"primary accuracy: {name} above {TITLES.get(other, other)}"
            measured = f"by {mean_std(gap)} points, in {count(gap)} seeds"
            said.append(Statement(text, measured, is_above(gap)))
    return said


def count(gap: np.ndarray) -> str:
    """In how many seeds it is above 0."""
    return f"{(gap > 0).sum()} of {gap.size}"


def is_above(gap: np.ndarray) -> bool:
    """On average, and in most seeds too: one lucky seed proves nothing."""
    return gap.mean() > 0 and (gap > 0).mean() > 0.5


def weight_gaps(results: Results) -> dict[str, float]:
    """Mean |λ_exact − λ_finite difference| over evaluations and seeds, per task."""
    exact, other = (results[name].curves.weights for name in (EXACT, DIFFERENCE))
    gap = np.abs(exact - other).mean(axis=(0, 1))
    return dict(zip(TASKS, gap.tolist(), strict=True))


def report(config: Any, results: Results, stem: str) -> Report:
    """Weights, accuracies and the figure; the paper's statements judged."""
    primaries = primary_tasks(config.primary)
    epoch_steps = config.train_size // config.batch_size
    about = (
        f"{config.seeds} seeds, {config.epochs * epoch_steps:,} steps, "
        f"{config.train_size:,} training images; mean ± standard deviation over seeds."
    )
    numbers = {
        "weights at the end": {
            method: dict(zip(TASKS, x.weights.T.tolist(), strict=True))
            for method, x in results.items()
        },
        "test accuracy, %": {
            method: {task: x.curves.last(task).tolist() for task in CLASSES}
            for method, x in results.items()
        },
        "seconds per epoch": {m: x.curves.seconds for m, x in results.items()},
    }
    if {EXACT, DIFFERENCE} <= results.keys():
        gaps = weight_gaps(results)
        numbers["mean gap between exact and finite difference"] = gaps
    curves = {method: x.curves for method, x in results.items()}
    return Report(
        stem=stem,
        room="noise",
        script="noise_task.py",
        title=f"Noise prediction on digits, primary: {config.primary}",
        about=about,
        tables={
            "Weights at the end": weight_table(results),
            "Test accuracy, %": accuracy_table(results, primaries),
        },
        numbers=numbers,
        figures={"": partial(draw, curves, primaries, epoch_steps)},
        verdicts=lambda: [str(x) for x in statements(results, primaries)],
    )
