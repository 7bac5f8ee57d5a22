"""What came of `celeba.py`: accuracies with their range, the time of an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from auxjax.run import (
    machine,
    mean_and_std,
    mean_std,
    table_markdown,
    write_json,
)
from lab.curves import Curves
from lab.report import tell, verdicts, write_text

TITLES = {"equal": "equal (Unit. Scal.)"}


class Results(NamedTuple):
    """Every training, by what it was."""

    names: tuple[str, ...]  # of the attributes
    multi: dict[str, Curves]  # by method
    auxiliary: dict[tuple[int, str], Curves]  # by the primary attribute and the method

    @property
    def primaries(self) -> list[int]:
        """The indices of the attributes that took their turn."""
        return list(dict.fromkeys(i for i, _ in self.auxiliary))


def chosen(curves: Curves, metric: str = "accuracy") -> np.ndarray:
    """`[seeds]`: the metric at the epoch that the validation images choose.

    The first of the best ones; the test images have no say.
    """
    best = curves.test["validation"].argmax(axis=1)
    return np.take_along_axis(curves.test[metric], best[:, None], axis=1)[:, 0]


def multi_table(results: Results) -> list[dict[str, str]]:
    """A row per method: the mean accuracy, its range, the time an epoch takes."""
    base = results.multi.get("equal")
    rows = []
    for method, curves in results.multi.items():
        found = chosen(curves)
        row = {"method": TITLES.get(method, method)}
        row["accuracy, %"] = mean_std(found, digits=2)
        row["range"] = f"{found.min():.2f} to {found.max():.2f}"
        if base is not None:
            gap = "0" if method == "equal" else mean_std(found - chosen(base), digits=2)
            row["− equal"] = gap
        row["seconds per epoch"] = _number(curves.seconds)
        if base is not None:
            ratio = _number(curves.seconds / base.seconds)
            row["× equal"] = ratio
        rows.append(row)
    return rows


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"


def auxiliary_table(results: Results) -> list[dict[str, str]]:
    """A row a primary attribute: its accuracy among all, and helped by all."""
    rows = []
    for i in results.primaries:
        row = {"primary": results.names[i]}
        for method in ("equal", "autolambda-all"):
            if method in results.multi:
                found = chosen(results.multi[method], f"test {results.names[i]}")
                row[method] = mean_std(found, digits=2)
        for (j, method), curves in results.auxiliary.items():
            if j == i:
                row[f"primary: {method}"] = mean_std(chosen(curves), digits=2)
        rows.append(row)
    return rows


def verdict(results: Results) -> list[str]:
    """The paper's statements, with the numbers found here."""
    base, lines = results.multi.get("equal"), []
    if base is None:
        return lines
    others = {m: chosen(c) for m, c in results.multi.items() if m != "equal"}
    above = [m for m, x in others.items() if np.all(x > chosen(base))]
    lines.append(
        f"Above equal weighting in every one of {len(chosen(base))} seeds: "
        f"{', '.join(above) or 'none'}; the paper: Auto-λ alone."
    )
    if "autolambda-all" in results.multi:
        ratio = results.multi["autolambda-all"].seconds / base.seconds
        lines.append(
            f"An epoch of Auto-λ takes {_number(ratio)} times one of equal weighting; "
            "the paper: three times, and an order of magnitude less than PCGrad and "
            "CAGrad."
        )
    for method in dict.fromkeys(m for _, m in results.auxiliary):
        gaps = [
            chosen(c) - chosen(base, f"test {results.names[i]}")
            for (i, m), c in results.auxiliary.items()
            if m == method
        ]
        lines.append(
            f"{method} on its primary attributes − equal: "
            f"{mean_std(np.mean(gaps, axis=0), digits=2)} points."
        )
    return lines


def draw(results: Results, path: Path) -> None:
    """Figure 7: the mean and the range over seeds; the time of an epoch."""
    names = [TITLES.get(method, method) for method in results.multi]
    places = np.arange(len(names))
    wide = 3 if results.auxiliary else 2
    size = (4.2 * wide + 1.6 * bool(results.auxiliary), 1.8 + 0.32 * len(names))
    figure = Figure(size, layout="constrained")
    left, middle, *right = figure.subplots(1, wide)
    for place, curves in zip(places, results.multi.values(), strict=True):
        found = chosen(curves)
        left.plot([found.min(), found.max()], [place] * 2, color="#0072B2", lw=2)
        left.plot(found.mean(), place, "o", color="#0072B2")
    left.set(title="(a) Mean over attributes, range over seeds")
    left.set(xlabel="test accuracy, %")
    seconds = [curves.seconds for curves in results.multi.values()]
    bars = middle.barh(places, np.nan_to_num(seconds), color="#D55E00")
    middle.bar_label(bars, [_number(s) for s in seconds], padding=3, fontsize=8)
    middle.set(title="(b) Time of an epoch", xlabel="seconds, all seeds")
    middle.margins(x=0.15)
    for axis in (left, middle):
        axis.set_yticks(places, names)
        axis.set_ylim(len(names) - 0.5, -0.5)
    if right:
        _draw_primaries(right[0], results)
    for axis in (left, middle, *right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
    figure.savefig(path, dpi=110)


def _draw_primaries(axis: Any, results: Results) -> None:
    """Each primary attribute: among all, and helped by all."""
    found: dict[str, list] = {}
    for i in results.primaries:
        for method in ("equal", "autolambda-all"):
            if method in results.multi:
                values = chosen(results.multi[method], f"test {results.names[i]}")
                found.setdefault(f"{method} (multi-task)", []).append(values)
        for (j, method), curves in results.auxiliary.items():
            if j == i:
                found.setdefault(f"{method} (primary)", []).append(chosen(curves))
    colours = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#000000")
    for k, (title, values) in enumerate(found.items()):
        mean, std = np.transpose([mean_and_std(x) for x in values])
        at = np.arange(len(values)) + 0.15 * (k - (len(found) - 1) / 2)
        axis.errorbar(
            mean, at, xerr=std, fmt="o", capsize=3, color=colours[k % 5], label=title
        )
    labels = [results.names[i] for i in results.primaries]
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set(title="Auxiliary: the primary attribute", xlabel="test accuracy, %")
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def write(config: Any, results: Results, described: str, folder: Path) -> None:
    """Writes the tables, the numbers and the figure, and prints the tables."""
    tables = {
        "Accuracy over all attributes, time of an epoch": multi_table(results),
        "Auxiliary: accuracy of the primary attribute, %": auxiliary_table(results),
    }
    tables = {title: rows for title, rows in tables.items() if rows}
    lines = verdicts(config, verdict, results)
    stem = folder / "celeba"
    draw(results, stem.with_suffix(".png"))
    facts = ", ".join(f"{key} {value}" for key, value in machine().items())
    analogue = "" if config.source == "celeba" else "**An analogue of CelebA.** "
    parts = [
        "# 40 attributes with strong regularisation",
        f"{analogue}{described}. {config.network}, {config.seeds} seeds, "
        f"{config.epochs} epochs, mean ± standard deviation over seeds of the test "
        "accuracy at the epoch that the validation images choose. Times are of all "
        f"seeds together, compilation left out. Machine: {facts}.",
        "![Accuracies and times](celeba.png)",
    ]
    for title, rows in tables.items():
        parts += [f"## {title}", table_markdown(rows)]
    parts.append("\n".join(f"- {line}" for line in lines))
    write_text(stem.with_suffix(".md"), *parts)
    numbers = [
        {
            "method": method,
            "primary": None if i is None else results.names[i],
            "accuracies": chosen(curves).tolist(),
            "seconds per epoch": curves.seconds
            if np.isfinite(curves.seconds)
            else None,
            "weights": dict(zip(curves.tasks, _last(curves), strict=True)),
        }
        for i, method, curves in (
            *((None, m, c) for m, c in results.multi.items()),
            *((i, m, c) for (i, m), c in results.auxiliary.items()),
        )
    ]
    write_json(stem.with_suffix(".json"), {"config": config, "results": numbers})
    tell(config, tables, lines, folder)


def _last(curves: Curves) -> list:
    """The weights at the end, the mean over seeds; None where there are none."""
    found = curves.weights[:, -1].mean(axis=0)
    return [None if np.isnan(x) else float(x) for x in found]
