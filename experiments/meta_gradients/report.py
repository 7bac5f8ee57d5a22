"""What came of `meta_gradients.py`: the tables, and what stands beside them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from lab.report import Report
from meta_gradients.figure import draw
from meta_gradients.methods import BASELINE, FIRST, FIRST_ORDER, LAST, META_BATCH
from meta_gradients.networks import Sizes
from meta_gradients.visits import Rows

NOTE = f"""\
Error: ‖found − truth‖ / ‖truth‖. The truth is reverse over reverse in float64, at the \
same parameters, optimizer state and batches; λ is 0.1 for every task. Time and \
memory: relative to as many steps of equal weighting (`jax.value_and_grad` of the \
weighted sum, and the optimizer), the training step included on both sides. Time: the \
median over the turns of the ratio within a turn. Memory: the compiled step's \
temporary buffers, in MB where the baseline's are below 1% of its arguments and \
outputs (it writes the new parameters straight to where they go out, so that ratios of \
temporaries are large on a model with many parameters and a small batch); in the last \
column with arguments and outputs, in float32.

"{FIRST_ORDER}" takes the main loss on the training batches, as OL-AUX does; \
"{META_BATCH}" is the same sum of inner products with the gradient on the meta batch. \
"{FIRST}" and "{LAST}" are one-step meta-gradients, not scaled, in the place of that \
of N steps; they have no program of their own, and their price is that of one exact \
step and N − 1 plain ones, by calculation. An error of 0 is equality to the last bit."""

CHECK = """\
check: how far the N-step truth's slope along one random direction of λ is from the \
change of the main loss when λ is moved by 1e-6 along it, relatively."""


def tables(rows: Rows) -> dict[str, list[dict]]:
    """Title -> table, in the order in which they are read."""
    groups = {}
    for row in rows["costs"]:
        title = f"{row['model'].upper()}, {steps(row['steps'])}"
        groups.setdefault(title, []).append(row)
    for row in rows["others"]:
        where = f"{row['model'].upper()}, {row['tasks']} tasks, {steps(row['steps'])}"
        groups.setdefault(f"Other optimizers: {where}", []).append(row)
    compared = {
        title: compare(part, "optimizer" if title.startswith("Other") else "tasks")
        for title, part in groups.items()
    }
    by_epsilon = {"One-step finite difference: error by ε": widen(rows["epsilons"])}
    where = {"Where it was measured": [_plain(row) for row in rows["points"]]}
    return compared | by_epsilon | where


def steps(number: int) -> str:
    """How many, in words."""
    return "one step" if number == 1 else f"{number} steps"


def compare(rows: Sequence[dict], key: str) -> list[dict]:
    """A line a value of `key` and method; precisions side by side."""
    groups: dict[Any, dict] = {}
    for row in rows:
        groups.setdefault((row[key], row["method"]), {})[row["dtype"]] = row
    lines = []
    for (group, method), both in groups.items():
        precisions = {f"f{dtype[-2:]}": row for dtype, row in both.items()}
        coarsest = both.get("float32", both["float64"])
        line: dict[str, Any] = {"T" if key == "tasks" else key: str(group)}
        line["method"] = method
        for name, row in precisions.items():
            if method == BASELINE:
                line |= {f"error {name}": "", f"time {name}": f"{row['ms']:.2f} ms"}
                line[f"memory {name}"] = f"{row['MB']:.1f} MB"
            else:
                base = groups[group, BASELINE][row["dtype"]]
                line[f"error {name}"] = _error(row["error"])
                line[f"time {name}"] = f"{row['time ratio']:.2f}"
                line[f"memory {name}"] = _memory(row, base)
        if method == BASELINE:
            line |= {"cosine": "", "with i/o": f"{coarsest['total MB']:.1f} MB"}
        else:
            line["cosine"] = f"{coarsest['cosine']:.4f}"
            line["with i/o"] = f"{coarsest['total ratio']:.2f}"
        names = (*list(line)[:2], *COLUMNS)
        lines.append({name: line[name] for name in names if name in line})
    return lines


COLUMNS = (
    *("error f32", "error f64", "cosine", "time f32", "time f64"),
    *("memory f32", "memory f64", "with i/o"),
)


def widen(rows: Sequence[dict]) -> list[dict]:
    """A line per model, number of tasks and precision; a column an ε."""
    epsilons = sorted({row["epsilon"] for row in rows}, reverse=True)
    lines: dict[Any, dict] = {}
    for row in rows:
        names = {"model": row["model"], "T": str(row["tasks"]), "dtype": row["dtype"]}
        line = lines.setdefault(
            tuple(names.values()), names | {f"{e:g}": "" for e in epsilons}
        )
        line[f"{row['epsilon']:g}"] = _error(row["error"])
    return list(lines.values())


def _memory(row: dict, base: dict) -> str:
    """The ratio; or what is used, where the baseline uses next to nothing."""
    nothing = base["MB"] < 0.01 * base["total MB"]
    return f"{row['MB']:.1f} MB" if nothing else f"{row['memory ratio']:.2f}"


def _error(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"


def _plain(row: dict) -> dict:
    return {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()}


def report(config: Any, sizes: Sizes, rows: Rows, load: float) -> Report:
    """All tables, the rows that they are made of, and the figure."""
    told = ", ".join(f"{name} {x}" for name, x in dataclasses.asdict(sizes).items())
    return Report(
        stem="meta_gradients",
        room="meta_gradients",
        script="meta_gradients.py",
        title="Meta-gradients against the truth",
        about=f"{NOTE}\n\nTurns: {config.turns}. Sizes: {told}. Load at the start: "
        f"{load:.2f}.",
        tables=tables(rows),
        numbers={"load": round(load, 2), "sizes": sizes, **rows},
        figures={"": functools.partial(draw, rows)},
        notes=[CHECK],
    )
