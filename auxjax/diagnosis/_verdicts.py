"""From numbers to a word, and to a table that can be read."""

from __future__ import annotations

from typing import Any

import numpy as np

MAIN = "main task"
TOO_FEW = "too few batches"
NOTHING_SHARED = "nothing shared"
UNCLEAR = "unclear"
APART = "train apart"
PROJECT = "project"
REWEIGHT = "reweight"
SUM = "sum"


def verdicts(
    found: Any,
    t_value: float,
    min_batches: int,
    slows: float,
    steady: float,
    ratio: float,
) -> tuple[str, ...]:
    """As `Diagnosis.verdicts`, of a `Diagnosis`."""
    counts, t_values, effect = found.counts, found.t_values, found.effect
    share, norms = found.share_positive, found.norms
    is_zero = (np.nan_to_num(found.inner_products) == 0).all(0)

    def of(i: int) -> str:
        if counts[i] < min_batches:
            return TOO_FEW
        if is_zero[i]:
            return NOTHING_SHARED
        if not abs(t_values[i]) > t_value:
            return UNCLEAR
        if t_values[i] < 0 and not effect[i] > -slows:
            return PROJECT if effect[i] > -1 else APART
        size = norms[i] / norms[0] if norms[0] > 0 else np.nan
        is_alike = np.isnan(size) or 1 / ratio <= size <= ratio
        is_steady = (share[i] if t_values[i] > 0 else 1 - share[i]) >= steady
        return SUM if is_steady and is_alike else REWEIGHT

    return (MAIN, *(of(i) for i in range(1, len(found.names))))


def table(found: Any) -> str:
    """A row per task, and what they do together."""
    columns = {
        "effect": [f"{x:+.3f}" for x in found.effect],
        "t": [f"{x:+.1f}" for x in found.t_values],
        "positive": [f"{100 * x:.0f} %" for x in found.share_positive],
        "cosine": [f"{x:+.2f}" for x in found.cosines[0]],
        "norm": [f"{x:.3g}" for x in found.norms],
        "verdict": list(found.verdicts()),
    }
    missing = {"+nan", "nan", "nan %"}
    rows = [["", *columns]]
    for i, name in enumerate(found.names):
        cells = [values[i] for values in columns.values()]
        rows.append([name, *("–" if x in missing else x for x in cells)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1

    def line(row):
        cells = [row[0].ljust(widths[0])]
        cells += [row[i].rjust(widths[i]) for i in range(1, last)]
        return "  ".join([*cells, row[last]]).rstrip()

    return "\n".join([*map(line, rows), _summary(found)])


def _summary(found: Any) -> str:
    """The last line: how much was seen, and what the plain sum would do."""
    text = f"{len(found.inner_products)} batches"
    if found.across_batches:
        text += ", the main task's gradient of another one"
    total = np.nansum(found.effect)
    if found.across_batches and not found.t_values[0] > 2:
        return f"{text}. The main task's own gradient cannot be told from noise."
    if len(found.names) == 1:
        return f"{text}."
    if total < 0:
        return f"{text}. Added up, all would raise the main loss."
    return (
        f"{text}. Added up, all lower the main loss {total:.2f} times as fast as alone."
    )
