"""Results as tables, and the few statistics that stand in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auxjax._extras import extra
from auxjax.run._terminal import plain_text


def mean_and_std(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample standard deviation over the first axis; NaNs do not count.

    Args:
      values: `[seeds, ...]`.

    Returns:
      The mean, NaN where no value is, and the deviation (divided by seeds - 1), 0 where
      fewer than two values are.

    Example:
      >>> mean, std = mean_and_std([[1.0, np.nan], [3.0, 5.0]])
      >>> mean.tolist(), std.round(3).tolist()
      ([2.0, 5.0], [1.414, 0.0])
    """
    values = np.asarray(values, np.float64)
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    square = np.where(there, values - mean, 0.0) ** 2
    std = np.sqrt(square.sum(axis=0) / np.maximum(count - 1, 1))
    return np.asarray(mean), np.asarray(std)


def mean_std(values: Any, *, digits: int = 1) -> str:
    """Mean and sample standard deviation of some numbers, as text.

    NaNs, as of a seed that diverged, do not count, and the text says how many are left.

    Example:
      >>> mean_std([12.0, 12.4, 12.8])
      '12.4 ± 0.4'
      >>> mean_std([0.5], digits=2)
      '0.50'
      >>> mean_std([12.0, 12.4, np.nan])
      '12.2 ± 0.3 (2 of 3)'
    """
    values = np.asarray(values, np.float64).reshape(-1)
    mean, std = mean_and_std(values)
    if values.size < 2:
        return f"{mean:.{digits}f}"
    text = f"{mean:.{digits}f} ± {std:.{digits}f}"
    left = int(np.sum(~np.isnan(values)))
    text = text if left else f"{mean:.{digits}f}"
    return text if left == values.size else f"{text} ({left} of {values.size})"


def frames_to_reach(x: Any, y: Any, score: float | int) -> float | None:
    """The first `x` where the mean curve is at `score` or above.

    Args:
      x: `[n]`, ascending; frames, mostly.
      y: `[n]`, or `[seeds, n]`; NaN where there is no value yet.
      score: the height to reach.

    Returns:
      An entry of `x`, or None where the curve stays below.

    Example:
      >>> frames_to_reach([100, 200, 300], [[1, 4, 9], [1, 6, 9]], score=5)
      200.0
    """
    y = np.asarray(y, np.float64)
    mean, _ = mean_and_std(y[None] if y.ndim == 1 else y)
    reached = np.flatnonzero(mean >= score)
    return float(np.asarray(x)[reached[0]]) if len(reached) else None


def print_table(
    rows: Sequence[Mapping[str, Any]],
    title: str | None = None,
    *,
    missing: str = "not reached",
    console: Any = None,
) -> None:
    """Prints rows as a table on stdout.

    Args:
      rows: one mapping per row; the columns are all keys, in order of appearance.
      title: a line above the table.
      missing: what to say where a value is None or NaN.
      console: a `rich.console.Console` to print on instead.

    Example:
      >>> rows = [{"rule": "olaux", "frames": 1000}, {"rule": "gcs", "frames": None}]
      >>> print_table(rows)
      ┏━━━━━━━┳━━━━━━━━━━━━━┓
      ┃ rule  ┃      frames ┃
      ┡━━━━━━━╇━━━━━━━━━━━━━┩
      │ olaux │       1,000 │
      │ gcs   │ not reached │
      └───────┴─────────────┘
    """
    with extra("run", "`print_table`"):
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

    plain_text()
    columns, cells = _cells(rows, missing)
    table = Table(title=Text(title) if title else None)
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if place == 0 else "right")
    for row in cells:
        table.add_row(*map(Text, row))
    (console or Console()).print(table)


def table_markdown(
    rows: Sequence[Mapping[str, Any]], *, missing: str = "not reached"
) -> str:
    """Rows as a Markdown table.

    Args:
      rows: one mapping per row; the columns are all keys, in order of appearance.
      missing: what to say where a value is None or NaN.

    Returns:
      The lines of the table, each ended by a newline.

    Example:
      >>> rows = [{"rule": "olaux", "frames": 12_000}, {"rule": "sum", "frames": None}]
      >>> print(table_markdown(rows), end="")
      | rule | frames |
      |:--|--:|
      | olaux | 12,000 |
      | sum | not reached |
    """
    columns, cells = _cells(rows, missing)
    lines = [columns, [":--"] + ["--:"] * (len(columns) - 1), *cells]
    text = ["| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines]
    text[1] = "|" + "|".join(lines[1]) + "|"
    return "\n".join(text) + "\n"


def _cells(
    rows: Sequence[Mapping[str, Any]], missing: str
) -> tuple[list[str], list[list[str]]]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(key, ""), missing) for key in columns] for row in rows]
    return columns, cells


def _cell(value: Any, missing: str) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        return missing
    if isinstance(value, (int, np.integer)) or (
        isinstance(value, (float, np.floating))
        and abs(value) >= 1000
        and float(value).is_integer()
    ):
        return f"{int(value):,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return str(value)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
