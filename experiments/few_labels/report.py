"""What came of `few_labels.py`: the table, paired differences, what may be claimed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from auxjax.run import mean_std
from few_labels.figures import draw_accuracy, draw_weights
from few_labels.methods import HAND, TITLES
from few_labels.run import Results
from lab.report import Report, number
from lab.training import SINGLE

EQUAL = "equal"
JUDGED = ("olaux-log", "olaux-log-sum", "olaux-cosine", "select_then_train")
BY_HAND = (*(f"hand-{weight}" for weight in HAND), "hand-labels")


def report(config: Any, results: Results) -> Report:
    """Accuracies, differences from equal weights seed by seed, the figures."""
    helpers = 5 + config.random_helpers
    steps = config.epochs * (config.train_size // config.batch_size)
    about = (
        f"{config.source}, {config.network}, {config.optimizer}; {helpers} helpers, of "
        f"which 3 help; {config.train_size} training images, {steps:,} steps, "
        f"{config.seeds} seeds; accuracy of the main task on test images in percent, "
        "mean ± standard deviation over seeds."
    )
    numbers = {
        "accuracy, %": nested(results, lambda x: x.accuracy.tolist()),
        "learning rate": nested(results, lambda x: x.rate),
        "weight decay": nested(results, lambda x: x.decay),
        "epochs": nested(results, lambda x: int(x.curves.epochs[x.stop])),
        "seconds per epoch": nested(results, lambda x: x.curves.seconds),
    }
    tables = {
        "Accuracy by number of labels, %": accuracy_table(config, results),
        "Above equal weights, seed by seed": difference_table(config, results),
    }
    if config.tune:
        tables["Chosen on other seeds: learning rate, weight decay, epochs"] = chosen(
            config, results
        )
    return Report(
        stem="few_labels",
        room="few_labels",
        script="few_labels.py",
        title="Few labels of the main task, many of the helpers",
        about=about,
        tables=tables,
        numbers=numbers,
        figures={
            "": partial(draw_accuracy, config, results),
            "weights": partial(draw_weights, config, results),
        },
        verdicts=lambda: verdicts(config, results),
        shown={"Accuracy by number of labels, %": accuracy_table(config, results)},
    )


def nested(results: Results, what: Any) -> dict[str, dict[str, Any]]:
    """By method, then by number of labels."""
    found: dict[str, dict[str, Any]] = {}
    for (labels, method), trained in results.items():
        found.setdefault(method, {})[str(labels)] = what(trained)
    return found


def accuracy_table(config: Any, results: Results) -> list[dict[str, str]]:
    """A row per method, a column per number of labels."""
    return [
        {"method": str(TITLES.get(method, method))}
        | {
            f"{labels} labels": mean_std(results[labels, method].accuracy)
            for labels in config.labels
        }
        for method in config.method
    ]


def difference_table(config: Any, results: Results) -> list[dict[str, str]]:
    """Mean difference and its 95 % confidence interval; a row per method."""
    if EQUAL not in config.method or config.seeds < 2:
        return []
    return [
        {"method": str(TITLES.get(method, method))}
        | {
            f"{labels} labels": interval(
                results[labels, method].accuracy - results[labels, EQUAL].accuracy
            )
            for labels in config.labels
        }
        for method in config.method
        if method != EQUAL
    ]


def interval(differences: np.ndarray) -> str:
    """Student's interval of a mean; a dash where a seed diverged.

    Example:
      >>> interval(np.array([1.0, 2.0, 3.0]))
      '+2.0 ± 2.5'
    """
    from scipy.stats import t

    count = differences.size
    if not np.all(np.isfinite(differences)):
        return "–"
    error = differences.std(ddof=1) / np.sqrt(count)
    return f"{differences.mean():+.1f} ± {t.ppf(0.975, count - 1) * error:.1f}"


def chosen(config: Any, results: Results) -> list[dict[str, str]]:
    """Of every method and number of labels."""
    return [
        {"method": str(TITLES.get(method, method))}
        | {
            f"{labels} labels": f"{x.rate:g}, {x.decay:g}, {x.curves.epochs[x.stop]:g}"
            for labels in config.labels
            for x in [results[labels, method]]
        }
        for method in config.method
    ]


def verdicts(config: Any, results: Results) -> list[str]:
    """How OL-AUX's forms stand to the others, by number of labels."""
    said = []
    rules = [name for name in JUDGED if name in config.method]
    for labels in config.labels:
        hand = best(results, labels, BY_HAND)
        for name in rules:
            own = results[labels, name].accuracy
            parts = []
            for other in (EQUAL, SINGLE):
                if other in config.method:
                    gap = own - results[labels, other].accuracy
                    wins = f"in {int((gap > 0).sum())} of {gap.size} seeds"
                    parts.append(f"{gap.mean():+.1f} to {TITLES[other]} ({wins})")
            if hand is not None:
                weight, accuracy = hand
                gap = number((own - accuracy).mean(), 1)
                parts.append(f"{gap} to the best by hand ({weight})")
            said.append(f"{labels} labels, {TITLES[name]}: {'; '.join(parts)}")
    return said


def best(
    results: Results, labels: int, methods: tuple[str, ...]
) -> tuple[str, np.ndarray] | None:
    """The one with the highest mean, and its accuracies; None where there is none."""
    there = {m: results[labels, m].accuracy for m in methods if (labels, m) in results}
    if not there:
        return None
    return max(there.items(), key=lambda pair: np.nan_to_num(pair[1]).mean())
