"""What came of `rl_aux.py`: the table, the statements, the files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from auxjax.run import mean_and_std, mean_std
from lab.report import Report
from labelling.data import Problem
from labelling.figures import draw_ablation, draw_curves, draw_labels
from labelling.run import Trained
from labelling.variants import AGENTS, Variant

PAPER = {
    "single": 71.864,
    "human": 75.525,
    "maxl": 75.983,
    "rl": 76.186,
    "wa-rl": 80.9,
    "wa-maxl": 81.3,
}
"""Figures 4 and 6: test accuracy on CIFAR-100 in 20 superclasses, one run each."""
SCORES = ("accuracy", "precision", "recall", "f1")
LEARNED = ("maxl", "wa-maxl", *AGENTS)
Results = Mapping[Variant, Trained]


def table(config: Any, results: Results) -> list[dict[str, str]]:
    """A row a training: the test set's scores, how labels are used, the time."""
    rows = []
    for variant, (curves, _, _) in results.items():
        accuracy = curves.test["accuracy"]
        row = {"method": variant.label, "accuracy": mean_std(accuracy[:, -1])}
        if config.source == "cifar100":
            plain = variant == Variant(variant.method)
            paper = PAPER.get(variant.method) if plain else None
            row["the paper"] = "" if paper is None else f"{paper:.1f}"
        for name in SCORES[1:]:
            row[name] = mean_std(curves.test[name][:, -1])
        row["best accuracy"] = mean_std(accuracy.max(axis=1))
        use, none = curves.train["label_use"][:, -1], variant.method == "single"
        row["label use"] = "-" if none else mean_std(use, digits=3)
        hard = curves.test.get("label_use")
        row["on test"] = "-" if hard is None else mean_std(hard[:, -1], digits=3)
        seconds = curves.seconds
        row["s per epoch"] = "-" if np.isnan(seconds) else f"{seconds:.2f}"
        rows.append(row)
    return rows


def verdict(results: Results) -> list[str]:
    """Each training against single-task, seed by seed; where label use was lowest."""
    lines = []
    alone = results.get(Variant("single"))
    for variant, (curves, _, _) in results.items():
        if alone is None or variant.method == "single":
            continue
        last = curves.test["accuracy"][:, -1]
        gap = last - alone.curves.test["accuracy"][:, -1]
        mean, std = mean_and_std(gap)
        text = f"{variant.label} − single: {mean:+.2f}"
        if len(gap) > 1:
            text += f" ± {std / np.sqrt(len(gap)):.2f} (its standard error)"
        lines.append(f"{text} points of accuracy.")
    for variant, (curves, _, _) in results.items():
        if variant.method in LEARNED:
            use = curves.train["label_use"].mean(axis=1)
            lowest = curves.train["lowest_label_use"].min()
            lines.append(
                f"{variant.label}: label use {mean_std(use, digits=3)}, mean over "
                f"training; at its lowest {lowest:.3f}, over all seeds and epochs "
                "(1: even, 0: one label per class). Of the likeliest labels of test "
                f"images {curves.test['label_use'].min():.3f} at its lowest."
            )
        if variant.method in AGENTS:
            drawn = curves.train["drawn_label_use"]
            lowest = curves.train["lowest_drawn_label_use"].min()
            lines.append(
                f"{variant.label}: label use by the chances that its agent draws by "
                f"{mean_std(drawn[:, -1], digits=3)} at the end, {lowest:.3f} at its "
                "lowest."
            )
    return lines


def report(config: Any, problem: Problem, results: Results) -> Report:
    """Everything that came out."""
    rows = table(config, results)
    figures = {"": partial(draw_curves, results)}
    if len(config.aux_weight) > 1:
        figures["weights"] = partial(draw_ablation, results)
    learned = {v: x for v, x in results.items() if v.method in LEARNED}
    if learned:
        figures["labels"] = partial(draw_labels, problem, learned)
    about_labels = (
        "The last figure: test images by the label they were given, seed "
        f"{config.first_seed}; rows are labels, in blocks of psi = "
        f"{problem.hierarchy.psi} a class."
    )
    return Report(
        stem="rl_aux",
        room="labelling",
        script="rl_aux.py",
        title="Auxiliary labels that are generated",
        about=_described(config, problem),
        tables={"": rows},
        numbers={"results": _numbers(results)},
        figures=figures,
        verdicts=partial(verdict, results),
        notes=[about_labels] if learned else [],
        shown={"Test set of the main task, %": rows},
    )


def _described(config: Any, problem: Problem) -> str:
    """The head of the table."""
    kind = "The paper's data set."
    if config.source not in ("cifar100", "cifar10", "svhn"):
        kind = "**An analogue** of the paper's CIFAR-100 in 20 superclasses."
    return (
        f"{kind} {problem.described}; {config.network}, {config.seeds} seeds, "
        f"{config.epochs} epochs, mean ± standard deviation over seeds. Scores are at "
        "the end, in percent, precision, recall and F1 averaged over the classes; "
        "`best accuracy` is the best epoch's, picked on the test set, as by the "
        "paper's early stopping. Label use is the entropy of the labels inside a "
        "class as a share of its maximum: in training (of MAXL's soft labels and an "
        "agent's likeliest ones), and `on test` of the likeliest labels of test "
        "images; human labels of a class that has fewer than psi of them cannot reach "
        "1. Seconds are those of an epoch of all seeds."
    )


def _numbers(results: Results) -> list[dict[str, Any]]:
    """Each training's numbers, lists over seeds."""
    return [
        {
            **variant._asdict(),
            "epochs": curves.epochs.tolist(),
            "test": {k: curves.test[k][:, -1].tolist() for k in SCORES},
            "accuracies": curves.test["accuracy"].tolist(),
            "label_use": curves.train["label_use"].tolist(),
            "lowest_label_use": curves.train["lowest_label_use"].tolist(),
            "drawn_label_use": curves.train["drawn_label_use"].tolist(),
            "lowest_drawn_label_use": curves.train["lowest_drawn_label_use"].tolist(),
            "label_use_on_test": curves.test.get("label_use", np.empty(0)).tolist(),
            "seconds_an_epoch": None if np.isnan(curves.seconds) else curves.seconds,
        }
        for variant, (curves, _, _) in results.items()
    ]
