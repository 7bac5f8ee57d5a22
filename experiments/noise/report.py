"""What came of `noise_task.py`: tables, the paper's statements, the figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from auxjax.run import (
    line_styles,
    machine,
    mean_and_std,
    mean_std,
    table_markdown,
    write_json,
)
from lab.report import tell, verdicts, write_text
from noise.problem import CLASSES, RELATED, TASKS, UNRELATED

EXACT = "Auto-λ, exact"
DIFFERENCE = "Auto-λ, finite difference"
UNCERTAINTY = "uncertainty"
EQUAL = "equal"
ALONE = "no auxiliary task"

LEARNED = (EXACT, DIFFERENCE, UNCERTAINTY)
"""The methods whose weights are learned."""

HOLDS, FAILS = "holds", "does not hold"
START = 0.1  # of λ
NEAR = (
    0.05  # the paper's noise stays this near to its start (0.12), its λ to each other
)


class Runs(NamedTuple):
    """One method's runs."""

    weights: np.ndarray  # [seeds, steps, T], after each step
    losses: np.ndarray  # [seeds, steps, T], on the training batches
    accuracy: dict[str, np.ndarray]  # [seeds] a task, on the test images


Rows = list[dict[str, str]]


def weight_table(runs: Mapping[str, Runs]) -> Rows:
    """The weights at the end, a row per method that learns them."""
    return [
        {
            "method": name,
            **{
                task: mean_std(runs[name].weights[:, -1, i], digits=2)
                for i, task in enumerate(TASKS)
            },
        }
        for name in LEARNED
        if name in runs
    ]


def accuracy_table(runs: Mapping[str, Runs], trained: tuple[str, ...]) -> Rows:
    """Test accuracy in percent, a row per method.

    Args:
      runs: every method's.
      trained: the tasks that `ALONE` trains; it has no say in the others.
    """
    return [
        {
            "method": name,
            **{
                task: mean_std(100 * run.accuracy[task], digits=1)
                if name != ALONE or task in trained
                else "–"
                for task in CLASSES
            },
        }
        for name, run in runs.items()
    ]


def statements_of(runs: Mapping[str, Runs], primaries: tuple[str, ...]) -> Rows:
    """The paper's statements, and whether they are so here."""
    final = dict(zip(TASKS, runs[EXACT].weights[:, -1].T, strict=True))
    gaps = weight_gaps(runs)
    worst = max(gaps, key=lambda task: gaps[task])
    column = runs[UNCERTAINTY].weights[:, :, TASKS.index("noise")]
    return [
        *_ranking(final, primaries),
        _verdict(
            f"λ of the noise stays where it began, {START} ± {NEAR} (Table 4: 0.12)",
            mean_std(final["noise"], digits=2),
            abs(final["noise"].mean() - START) <= NEAR,
        ),
        _verdict(
            "exact λ and finite differences < 0.05 apart on average (Figure 6)",
            f"mean {np.mean([*gaps.values()]):.3f}, {worst} {gaps[worst]:.3f}",
            gaps[worst] < 0.05,
        ),
        _verdict(
            "uncertainty does not lower the noise's weight (Figure 4)",
            f"{column[:, 0].mean():.2f} → {mean_std(column[:, -1], digits=2)}",
            column[:, -1].mean() >= column[:, 0].mean(),
        ),
        *_accuracies(runs, primaries),
    ]


def _ranking(final: Mapping[str, np.ndarray], primaries: tuple[str, ...]) -> Rows:
    """Statements of the form: the lowest of these tasks is above that one.

    The lowest in each seed, whichever it is there.
    """

    def above(what, tasks, other, whose):
        gap = np.min([final[task] for task in tasks], axis=0) - final[other]
        measured = f"by {mean_std(gap, digits=2)}, in {_count(gap)} seeds"
        return _verdict(f"λ of {what} above {whose}", measured, _is_above(gap))

    if len(primaries) > 1:
        return [above("every primary", primaries, "noise", "the noise's")]
    return [
        above("every related task", RELATED, "noise", "the noise's"),
        above("every related task", RELATED, UNRELATED, "the unrelated task's"),
        above("the unrelated task", [UNRELATED], "noise", "the noise's"),
    ]


def _accuracies(runs: Mapping[str, Runs], primaries: tuple[str, ...]) -> Rows:
    """Auto-λ beside the others, seed by seed; the mean over the primary tasks."""
    scores = {
        name: 100 * np.mean([run.accuracy[task] for task in primaries], axis=0)
        for name, run in runs.items()
    }
    ahead = {name: scores[EXACT] - scores[name] for name in (UNCERTAINTY, EQUAL, ALONE)}
    return [
        _verdict(
            f"primary accuracy: Auto-λ above {name}",
            f"by {mean_std(gap)} points, in {_count(gap)} seeds",
            _is_above(gap),
        )
        for name, gap in ahead.items()
    ]


def _count(gap: np.ndarray) -> str:
    return f"{(gap > 0).sum()} of {gap.size}"


def _is_above(gap: np.ndarray) -> bool:
    """On average, and in most seeds too: one lucky seed proves nothing."""
    return gap.mean() > 0 and (gap > 0).mean() > 0.5


def _verdict(statement: str, measured: str, holds: Any) -> dict[str, str]:
    return {
        "statement": statement,
        "measured": measured,
        "verdict": HOLDS if holds else FAILS,
    }


def weight_gaps(runs: Mapping[str, Runs]) -> dict[str, float]:
    """Mean |λ_exact − λ_finite difference| over steps and seeds, a task."""
    gap = np.abs(runs[EXACT].weights - runs[DIFFERENCE].weights).mean(axis=(0, 1))
    return dict(zip(TASKS, gap.tolist(), strict=True))


def draw(
    runs: Mapping[str, Runs], path: Path, primaries: tuple[str, ...], points: int = 400
) -> None:
    """The weights over the steps as in the paper's Figure 4, a panel per method."""
    figure = Figure((12.5, 4.1), layout="constrained")
    names = [name for name in LEARNED if name in runs]
    axes = figure.subplots(1, len(names))
    if DIFFERENCE in names:
        axes[1].sharey(axes[0])
    colours = [colour for colour, _ in line_styles(TASKS).values()]
    colours[TASKS.index("noise")] = "black"
    for axis, name in zip(axes, names, strict=True):
        weights = runs[name].weights
        at = np.unique(np.linspace(0, weights.shape[1] - 1, points).astype(int))
        mean, std = mean_and_std(weights[:, at])
        for i, (task, colour) in enumerate(zip(TASKS, colours, strict=True)):
            dash = {UNRELATED: "--", "noise": "-."}.get(task, "-")
            label = _legend(task, primaries)
            axis.plot(at + 1, mean[:, i], dash, color=colour, label=label, lw=1.8)
            low, high = (mean - std)[:, i], (mean + std)[:, i]
            axis.fill_between(at + 1, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=name, xlabel="step", xlim=(0, at[-1] + 1))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, color="0.93", linewidth=0.8)
    axes[0].set_ylabel("λ")
    axes[-1].set_ylabel("weight 1 / (2σ²)")
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        lines, labels, loc="outside lower center", ncols=len(TASKS), frameon=False
    )
    seeds = len(runs[EXACT].weights)
    figure.suptitle(f"Task weights, mean ± standard deviation over {seeds} seeds")
    figure.savefig(path, dpi=110)


def _legend(task: str, primaries: tuple[str, ...]) -> str:
    kinds = dict.fromkeys(RELATED, "related") | {UNRELATED: "unrelated"}
    kinds |= dict.fromkeys(primaries, "primary")
    return f"{task} ({kinds[task]})" if task in kinds else task


def write(config: Any, runs: Mapping[str, Runs], stem: Path) -> None:
    """Writes `stem.md`, `.json` and `.png`, and prints the tables."""
    statements = verdicts(config, statements_of, runs, config.primaries)
    tables = {
        "Weights at the end": weight_table(runs),
        "Test accuracy, %": accuracy_table(runs, config.primaries),
    }
    tables |= {"The paper's statements": statements} if statements else {}
    facts = machine()
    draw(runs, stem.with_suffix(".png"), config.primaries)
    final = {
        name: dict(zip(TASKS, run.weights[:, -1].T.tolist(), strict=True))
        for name, run in runs.items()
    }
    results = {
        "config": config,
        "machine": facts,
        "weights at the end": final,
        "test accuracy": {name: run.accuracy for name, run in runs.items()},
        "mean gap between exact and finite difference": (
            weight_gaps(runs) if DIFFERENCE in runs else {}
        ),
        "statements": statements,
    }
    write_json(stem.with_suffix(".json"), results)
    write_text(stem.with_suffix(".md"), _markdown(config, facts, tables, stem.name))
    tell(config, tables, [], f"{stem}.md, .json and .png")


def _markdown(config: Any, facts: Mapping, tables: Mapping[str, Rows], name: str):
    """The tables, and what is needed to judge them."""
    text = [
        f"# Noise prediction on digits, primary: {config.primary}\n",
        f"{config.seeds} seeds, {config.steps:,} steps, {config.train_size:,} training "
        f"images; mean ± standard deviation over seeds. {facts['cores']} cores of "
        f"{facts['cpu']}, jax {facts['jax']}.\n",
        f"![Weights over the steps]({name}.png)\n",
    ]
    for title, rows in tables.items():
        text += [f"## {title}\n", table_markdown(rows)]
    return "\n".join(text)
