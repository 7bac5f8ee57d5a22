"""What came of `multi_domain.py`: accuracies, Δ, and what the weights say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auxjax.data import CIFAR100_COARSE_NAMES
from auxjax.run import machine, mean_std, table_markdown, write_json
from auxjax.supervised import delta_mtl
from domains.data import ITSELF, RELATIONS, Domain, by_relation
from domains.figure import draw
from domains.paper import ACCURACIES, AVERAGES, MEANS, SETTINGS, published
from lab.curves import Curves
from lab.report import tell, verdicts, write_text
from lab.training import SINGLE

ALL = "all"


class Results(NamedTuple):
    """Every training, by what it was."""

    domains: tuple[Domain, ...]
    multi: dict[str, Curves]  # by method; `single`: a network for each domain
    auxiliary: dict[tuple[int, str], Curves]  # by the primary domain and the method

    @property
    def names(self) -> list[str]:
        """Of the domains, in their own order."""
        return [domain.name for domain in self.domains]

    @property
    def primaries(self) -> list[int]:
        """The indices of the domains that took their turn."""
        return list(dict.fromkeys(i for i, _ in self.auxiliary))


def accuracies(results: Results, method: str) -> np.ndarray:
    """`[seeds, T]` of a method of the multi-task setting, or of `single`."""
    curves = results.multi[method]
    return np.stack([curves.last(name) for name in results.names], axis=1)


def delta(found: np.ndarray, single: np.ndarray) -> np.ndarray:
    """Δ_MTL of accuracies `[seeds, T]`, %; NaN where a domain was not learned alone.

    Example:
      >>> delta(np.array([[90.0, 50.0]]), np.array([[60.0, 80.0]]))
      array([6.25])
    """
    alone = np.mean(single, axis=0)
    alone = np.where(alone > 0, alone, np.nan)  # of nothing there is no share
    return delta_mtl(found, alone, [True] * len(alone))


def multi_table(results: Results, paper: bool) -> list[dict[str, str]]:
    """A row per method: the mean accuracy over domains, and Δ against `single`."""
    rows = []
    for method in results.multi:
        found = accuracies(results, method)
        row = {"method": method, "mean accuracy, %": mean_std(found.mean(axis=1))}
        if SINGLE in results.multi:
            gain = delta(found, accuracies(results, SINGLE))
            row["Δ, %"] = "0" if method == SINGLE else mean_std(gain, digits=2)
        if paper and len(results.names) == len(CIFAR100_COARSE_NAMES):
            row["paper, %"] = f"{AVERAGES[method]:.2f}" if method in AVERAGES else "–"
        seconds = results.multi[method].seconds
        row["seconds per epoch"] = f"{seconds:.2f}" if np.isfinite(seconds) else "–"
        rows.append(row)
    return rows


def auxiliary_table(results: Results, paper: bool) -> list[dict[str, str]]:
    """A row a primary domain: its accuracy, alone, among all, and helped by all."""
    rows = []
    for i in results.primaries:
        row = {"primary": f"{i + 1} {results.names[i]}"}
        for method in results.multi:
            row[method] = mean_std(accuracies(results, method)[:, i])
        for (j, method), curves in results.auxiliary.items():
            if j == i:
                row[f"primary: {method}"] = mean_std(curves.last("accuracy"))
        for method in (SINGLE, *dict.fromkeys(m for _, m in results.auxiliary)):
            if paper and method in ACCURACIES:
                known = published(method, results.names[i])
                row[f"paper: {SETTINGS[method]}"] = f"{known:.2f}"
        rows.append(row)
    return rows


def domain_table(results: Results, paper: bool) -> list[dict[str, str]]:
    """Table 7: a row per domain, a column per method of the multi-task setting."""
    rows = []
    for i, name in enumerate(results.names):
        row = {"domain": f"{i + 1} {name}"}
        for method in results.multi:
            row[method] = mean_std(accuracies(results, method)[:, i])
            if paper and method in ACCURACIES:
                row[method] += f" (paper {published(method, name):.2f})"
        rows.append(row)
    return rows


def watched(results: Results) -> tuple[str | None, str | None]:
    """The method of either setting whose weights are shown: Auto-λ if it is there."""

    def choose(found, wanted):
        learned = [m for m, c in found.items() if np.ptp(c.weights) > 0]  # not NaN
        return wanted if wanted in learned else (learned[-1] if learned else None)

    helped = {method: curves for (_, method), curves in results.auxiliary.items()}
    return (
        choose(results.multi, "autolambda-all"),
        choose(helped, "autolambda-main"),
    )


def weights(results: Results, curves: Curves) -> np.ndarray:
    """`[seeds, T]` over the last epochs, in the domains' own order."""
    at = [curves.tasks.index(name) for name in results.names]
    return curves.weights[:, -1, at]


def matrix(results: Results) -> dict[str, np.ndarray]:
    """Figure 11: for each primary domain, and for all, the weights `[seeds, T]`."""
    multi, helped = watched(results)
    rows = {
        f"{i + 1} {results.names[i]}": weights(results, curves)
        for (i, method), curves in results.auxiliary.items()
        if method == helped
    }
    if multi is not None:
        rows[ALL] = weights(results, results.multi[multi])
    return rows


def relations(results: Results) -> dict[str, np.ndarray]:
    """`[seeds]`: the mean weight of domains in each relation, over the primaries."""
    _, helped = watched(results)
    each = []
    for (i, method), curves in results.auxiliary.items():
        if method == helped:
            found = weights(results, curves)
            named = {name: found[:, j] for j, name in enumerate(results.names)}
            each.append(by_relation(results.domains[i], named, results.domains))
    return {
        name: np.mean([x[name] for x in each if name in x], axis=0)
        for name in RELATIONS
        if any(name in x for x in each)
    }


def verdict(results: Results, analogue: bool) -> list[str]:
    """What the paper says of accuracies and weights, with the numbers found here."""
    multi, helped = watched(results)
    lines = []
    if helped is not None and analogue:
        found = relations(results)
        listed = [f"{name} {mean_std(x, digits=2)}" for name, x in found.items()]
        lines.append(
            f"Weights of {helped} by relation to the primary: {', '.join(listed)}."
        )
        apart = found.get("neither")
        for name in RELATIONS[1:-1]:
            if apart is not None and name in found:
                ahead = int(np.sum(found[name] > apart))
                lines.append(
                    f"Domains of the {name} weigh more than those of neither in "
                    f"{ahead} of {len(apart)} seeds."
                )
        own = found[ITSELF]
        most = np.max([x for name, x in found.items() if name != ITSELF], axis=0)
        lines.append(
            f"The primary itself weighs the most in {int(np.sum(own > most))} of "
            f"{len(own)} seeds."
        )
    elif helped is not None:
        for row, found in matrix(results).items():
            if row != ALL:
                mean = found.mean(axis=0)
                top = [
                    f"{results.names[j]} {mean[j]:.2f}" for j in np.argsort(-mean)[:4]
                ]
                lines.append(f"{row}: the largest weights are {', '.join(top)}.")
    if multi is not None and SINGLE in results.multi:
        hard = 100 - accuracies(results, SINGLE).mean(axis=0)
        found = weights(results, results.multi[multi]).mean(axis=0)
        lines.append(
            "All domains primary: correlation of a domain's weight with its "
            f"single-task error: {_correlation(found, hard)} ({multi}; the paper sees "
            "a clear one)."
        )
    return lines


def _correlation(a: np.ndarray, b: np.ndarray) -> str:
    """Pearson's; a dash where either does not vary."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return "–"
    return f"{np.corrcoef(a, b)[0, 1]:+.2f}"


def write(config: Any, results: Results, described: str, folder: Path) -> None:
    """Writes the tables, the numbers and the figure, and prints the tables."""
    paper = config.source == "cifar100"
    tables = {
        "Multi-task: accuracy over all domains": multi_table(results, paper),
        "Auxiliary: accuracy of the primary domain, %": auxiliary_table(results, paper),
        "Every domain, accuracy in %": domain_table(results, paper),
    }
    tables = {title: rows for title, rows in tables.items() if rows}
    lines = verdicts(config, verdict, results, not paper)
    stem = folder / "multi_domain"
    draw(results, matrix(results), watched(results), stem.with_suffix(".png"))
    facts = ", ".join(f"{key} {value}" for key, value in machine().items())
    named = "" if paper else "**An analogue** of the paper's CIFAR-100. "
    parts = [
        "# Many domains, one network",
        f"{named}{described}. {config.network}, {config.seeds} seeds, {config.epochs} "
        "epochs, mean ± standard deviation over seeds, test images, the last epoch. "
        f"Machine: {facts}.",
        "![Weights and accuracies](multi_domain.png)",
    ]
    if paper:
        parts.append(
            "The paper's averages are those of its Table 2. The means of its Table 7 "
            "are others: "
            + ", ".join(f"{method} {mean:.2f}" for method, mean in MEANS.items())
            + "."
        )
    for title, rows in tables.items():
        parts += [f"## {title}", table_markdown(rows)]
    parts += ["## Weights", "\n".join(f"- {line}" for line in lines)] if lines else []
    write_text(stem.with_suffix(".md"), *parts)
    write_json(stem.with_suffix(".json"), {"config": config, **numbers(results)})
    tell(config, tables, lines, folder)


def numbers(results: Results) -> dict[str, Any]:
    """Everything the tables and the figure show, seed by seed."""
    return {
        "domains": results.names,
        "accuracies": {m: accuracies(results, m).tolist() for m in results.multi},
        "primaries": [
            {
                "primary": i + 1,
                "method": method,
                "accuracies": curves.last("accuracy").tolist(),
            }
            for (i, method), curves in results.auxiliary.items()
        ],
        "weights": {row: found.tolist() for row, found in matrix(results).items()},
        "relations": {name: x.tolist() for name, x in relations(results).items()},
    }
