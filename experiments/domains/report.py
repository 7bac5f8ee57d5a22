"""What came of `multi_domain.py`: accuracies, Δ_MTL, and what the weights say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from auxjax.data import CIFAR100_COARSE_NAMES
from auxjax.run import mean_std
from auxjax.supervised import delta_mtl
from domains.data import ITSELF, RELATIONS, Domain, by_relation
from domains.figure import draw
from domains.paper import ACCURACIES, AVERAGES, MEANS, SETTINGS, published
from lab.curves import Curves
from lab.primaries import MAIN, Results, Trained, primary_rows
from lab.report import Report, number
from lab.training import SINGLE

ALL = "all"


def accuracies(results: Results, method: str) -> np.ndarray:
    """`[seeds, T]` of a method of the multi-task setting, or of `single`."""
    curves = results.multi[method]
    return np.stack([curves.last(name) for name in results.names], axis=1)


def delta(results: Results, method: str) -> np.ndarray:
    """Δ_MTL `[seeds]`, %; NaN where a domain alone is never right."""
    alone = accuracies(results, SINGLE).mean(axis=0)
    alone = np.where(alone > 0, alone, np.nan)  # of nothing there is no share
    return delta_mtl(accuracies(results, method), alone, [True] * len(alone))


def multi_table(results: Results, paper: bool) -> list[dict[str, str]]:
    """A row per method: the mean accuracy over domains, and Δ_MTL."""
    rows = []
    for method, curves in results.multi.items():
        mean = accuracies(results, method).mean(axis=1)
        row = {"method": method, "mean accuracy, %": mean_std(mean)}
        if SINGLE in results.multi:
            alone = method == SINGLE
            row["Δ, %"] = "0" if alone else mean_std(delta(results, method), digits=2)
        if paper and len(results.names) == len(CIFAR100_COARSE_NAMES):
            row["paper, %"] = number(AVERAGES.get(method, np.nan))
        row["seconds per epoch"] = number(curves.seconds)
        rows.append(row)
    return rows


def auxiliary_table(results: Results, paper: bool) -> list[dict[str, str]]:
    """A row per primary domain: its accuracy, alone, among all, and helped by all."""
    rows = primary_rows(results, Curves.last, [*results.multi])
    for i, row in zip(results.primaries, rows, strict=True):
        for method in (SINGLE, *dict.fromkeys(m for _, m in results.auxiliary)):
            if paper and method in ACCURACIES:
                known = published(method, results.names[i])
                row[f"paper: {SETTINGS[method]}"] = number(known)
    return rows


def domain_table(results: Results, paper: bool) -> list[dict[str, str]]:
    """Table 7: a row per domain, a column per method of the multi-task setting."""
    rows = []
    for name, title in zip(results.names, results.titles, strict=True):
        row = {"domain": title}
        for method, curves in results.multi.items():
            row[method] = mean_std(curves.last(name))
            if paper and method in ACCURACIES:
                row[method] += f" (paper {published(method, name):.2f})"
        rows.append(row)
    return rows


def watched(results: Results) -> tuple[str | None, str | None]:
    """The method of either setting whose weights are shown: Auto-λ if it is there."""

    def choose(trained, wanted):
        learned = [m for m, c in trained.items() if np.ptp(c.weights) > 0]  # not NaN
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
        results.titles[i]: weights(results, curves)
        for (i, method), curves in results.auxiliary.items()
        if method == helped
    }
    if multi is not None:
        rows[ALL] = weights(results, results.multi[multi])
    return rows


def relations(results: Results, domains: Sequence[Domain]) -> dict[str, np.ndarray]:
    """`[seeds]`: the mean weight of domains in each relation, over the primaries."""
    _, helped = watched(results)
    each = []
    for (i, method), curves in results.auxiliary.items():
        if method == helped:
            named = dict(zip(results.names, weights(results, curves).T, strict=True))
            each.append(by_relation(domains[i], named, domains))
    return {
        name: np.mean([x[name] for x in each if name in x], axis=0)
        for name in RELATIONS
        if any(name in x for x in each)
    }


def verdict(
    results: Results, domains: Sequence[Domain], *, analogue: bool
) -> list[str]:
    """What the paper says of the weights, with the numbers that came out here."""
    multi, helped = watched(results)
    lines = []
    if helped is not None and analogue:
        lines += _by_relation(helped, relations(results, domains))
    elif helped is not None:
        lines += _largest(results)
    if multi is not None and SINGLE in results.multi:
        hard = 100 - accuracies(results, SINGLE).mean(axis=0)
        mean = weights(results, results.multi[multi]).mean(axis=0)
        lines.append(
            "All domains primary: correlation of a domain's weight with its "
            f"single-task error: {_correlation(mean, hard)} ({multi}; the paper sees "
            "a clear one)."
        )
    return lines


def _by_relation(method: str, related: dict[str, np.ndarray]) -> list[str]:
    """Whether the primary weighs the most, and what has something in common more."""
    listed = [f"{name} {mean_std(x, digits=2)}" for name, x in related.items()]
    lines = [f"Weights of {method} by relation to the primary: {', '.join(listed)}."]
    apart = related.get("neither")
    for name in RELATIONS[1:-1]:
        if apart is not None and name in related:
            ahead = int(np.sum(related[name] > apart))
            lines.append(
                f"Domains of the {name} weigh more than those of neither in {ahead} of "
                f"{len(apart)} seeds."
            )
    own = related[ITSELF]
    most = np.max([x for name, x in related.items() if name != ITSELF], axis=0)
    count = int(np.sum(own > most))
    lines.append(f"The primary itself weighs the most in {count} of {len(own)} seeds.")
    return lines


def _largest(results: Results) -> list[str]:
    """The four largest weights of each primary domain."""
    lines = []
    for title, seen in matrix(results).items():
        mean = seen.mean(axis=0)
        top = [f"{results.names[j]} {mean[j]:.2f}" for j in np.argsort(-mean)[:4]]
        if title != ALL:
            lines.append(f"{title}: the largest weights are {', '.join(top)}.")
    return lines


def _correlation(a: np.ndarray, b: np.ndarray) -> str:
    """Pearson's; a dash where either does not vary."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return "–"
    return f"{np.corrcoef(a, b)[0, 1]:+.2f}"


def report(
    config: Any, trained: Trained, domains: Sequence[Domain], described: str
) -> Report:
    """The tables, beside the paper's on its own data, and the figure."""
    names = tuple(domain.name for domain in domains)
    titles = tuple(f"{i} {name}" for i, name in enumerate(names, 1))
    results, paper = Results(names, titles, *trained), config.source == "cifar100"
    named = "" if paper else "**An analogue** of the paper's CIFAR-100. "
    about = (
        f"{named}{described}. {config.network}, {config.seeds} seeds, {config.epochs} "
        "epochs, mean ± standard deviation over seeds, test images, the last epoch; Δ "
        "against the mean of the single-task networks."
    )
    tables = {
        "Multi-task: accuracy over all domains": multi_table(results, paper),
        "Auxiliary: accuracy of the primary domain, %": auxiliary_table(results, paper),
        "Every domain, accuracy in %": domain_table(results, paper),
    }
    means = ", ".join(f"{method} {mean:.2f}" for method, mean in MEANS.items())
    note = (
        "The paper's averages are those of its Table 2. The means of its Table 7 are "
        f"others: {means}."
    )
    return Report(
        stem="multi_domain",
        room="domains",
        script="multi_domain.py",
        title="Many domains, one network",
        about=about,
        tables={title: rows for title, rows in tables.items() if rows},
        numbers=numbers(results, domains),
        figures={"": partial(draw, results, matrix(results), watched(results))},
        verdicts=partial(verdict, results, domains, analogue=not paper),
        notes=[note] if paper else [],
    )


def numbers(results: Results, domains: Sequence[Domain]) -> dict[str, Any]:
    """Everything the tables and the figure show, seed by seed."""
    related = relations(results, domains)
    return {
        "domains": results.names,
        "accuracies": {m: accuracies(results, m).tolist() for m in results.multi},
        "primaries": [
            {
                "primary": i + 1,
                "method": method,
                "accuracies": curves.last(MAIN).tolist(),
            }
            for (i, method), curves in results.auxiliary.items()
        ],
        "weights": {title: seen.tolist() for title, seen in matrix(results).items()},
        "relations": {name: x.tolist() for name, x in related.items()},
        "seconds per epoch": {m: c.seconds for m, c in results.multi.items()},
    }
