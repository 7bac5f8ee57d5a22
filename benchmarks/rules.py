"""What the rules cost: time, memory and flops against the number of tasks.

    python benchmarks/rules.py

Everything is relative to equal weighting written by hand: `jax.value_and_grad` of the
summed losses and `optax.sgd`. Each step is compiled alone; then all of them take turns
in a shuffled order, so that a busy machine slows all alike, and the ratio is the median
of the ratios within a turn. Writes `benchmarks/results/rules.md`, `.json` and `.png`,
and ends with an error if OL-AUX or unweighted GCS cost more than promised.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from _rules_models import SMALL, Sizes, make_model
from matplotlib.figure import Figure

import auxjax
from auxjax.run import (
    line_styles,
    machine,
    parse,
    plain_errors,
    print_table,
    table_markdown,
    write_json,
)

RESULTS = Path(__file__).parent / "results"
MAX_TIME, MAX_MEMORY = 2.4, 3.0  # the promise, for the rules below
PROMISED = ("olaux(n=5)", "gcs()")
BASELINE = "equal weighting by hand"
DRAWN = ("sum_tasks()", *PROMISED, "gcs(weighted=True)", "olaux(n=5), stacked")
# T backward passes are slow: those take part in every eighth turn only.
RARELY = {"gcs(weighted=True)": 8, "olaux(n=5), stacked": 8}
# What is compared, and the unit in which the baseline's own cost is told.
QUANTITIES = {"time ratio": "ms", "memory ratio": "MB", "flops ratio": "Mflop"}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the rules cost: time, memory and flops against the number of tasks."""

    out: Path = RESULTS
    """The folder for rules.md, rules.json and rules.png."""
    tasks: tuple[int, ...] = (2, 5, 10, 20, 40)
    """The numbers of tasks, main task included."""
    models: tuple[str, ...] = ("mlp", "cnn")
    """Of mlp and cnn."""
    turns: int = 48
    """How often every step is timed."""
    smoke: bool = False
    """Three tasks, small models, three turns; nothing is promised, and nothing is
    written into the default folder."""


def make_steps(losses: Callable, num_tasks: int) -> dict[str, tuple[Any, Callable]]:
    """Every rule's optimizer and step; the baseline stands first."""
    sgd = optax.sgd(1e-3)

    def by_hand(params, state, batch):
        total, grads = jax.value_and_grad(lambda p: sum(losses(p, batch)))(params)
        updates, state = sgd.update(grads, state, params)
        return optax.apply_updates(params, updates), state, total

    def lazily(tx, params, state, batch):
        jac = auxjax.task_jacobian(losses, params, batch)
        updates, state = tx.update(jac, state, params)
        return optax.apply_updates(params, updates), state, jac.losses

    def stacked(tx, params, state, batch):
        values, grads = auxjax.task_grads(losses)(params, batch)
        updates, state = tx.update(grads, state, params, losses=values)
        return optax.apply_updates(params, updates), state, values

    olaux = auxjax.olaux(n=5, num_tasks=num_tasks)
    log_loss = optax.chain(auxjax.scale_by_log_loss(), auxjax.sum_tasks())
    rules = {
        "sum_tasks()": (auxjax.sum_tasks(), lazily),
        "fixed(weights)": (auxjax.fixed(np.linspace(1, 2, num_tasks)), lazily),
        "log-loss, sum": (log_loss, lazily),
        "olaux(n=5)": (olaux, lazily),
        "gcs()": (auxjax.gcs(num_tasks=num_tasks), lazily),
        "gcs(weighted=True)": (auxjax.gcs(weighted=True, num_tasks=num_tasks), lazily),
        "olaux(n=5), stacked": (olaux, stacked),
    }
    steps: dict[str, tuple[Any, Callable]] = {BASELINE: (sgd, by_hand)}
    for name, (rule, step) in rules.items():
        tx = optax.chain(rule, sgd)
        steps[name] = (tx, functools.partial(step, tx))
    return steps


def measure(model: str, num_tasks: int, sizes: Sizes, turns: int) -> list[dict]:
    """One row a rule: milliseconds, and ratios to the baseline."""
    params, batch, losses = make_model(model, num_tasks, sizes)
    compiled, states, costs = {}, {}, {}
    for name, (tx, step) in make_steps(losses, num_tasks).items():
        states[name] = tx.init(params)
        compiled[name] = jax.jit(step).lower(params, states[name], batch).compile()
        analysis = compiled[name].cost_analysis()
        memory = compiled[name].memory_analysis().temp_size_in_bytes
        costs[name] = {"memory": memory, "flops": analysis["flops"]}

    def timed(name):
        # Untimed once before: whoever ran last has emptied the caches.
        for _ in range(2):
            begin = time.perf_counter()
            jax.block_until_ready(compiled[name](params, states[name], batch))
        return time.perf_counter() - begin

    order = np.random.default_rng(0)
    times = {name: np.full(turns, np.nan) for name in compiled}
    for turn in range(-1, turns):  # the first one warms up
        due = [n for n in compiled if n not in RARELY or turn % RARELY[n] == 0]
        for name in order.permutation(due):
            spent = timed(name)
            if turn >= 0:
                times[name][turn] = spent
    base = costs[BASELINE]
    return [
        {
            "model": model,
            "tasks": num_tasks,
            "rule": name,
            "ms": float(np.nanmedian(times[name]) * 1e3),
            "time ratio": float(np.nanmedian(times[name] / times[BASELINE])),
            "MB": costs[name]["memory"] / 1e6,
            "memory ratio": costs[name]["memory"] / base["memory"],
            "Mflop": costs[name]["flops"] / 1e6,
            "flops ratio": costs[name]["flops"] / base["flops"],
        }
        for name in compiled
    ]


def broken_promises(rows: Sequence[dict]) -> list[str]:
    """What OL-AUX and unweighted GCS cost beyond what the project promises."""
    largest = max(row["tasks"] for row in rows)
    found = []
    for row in rows:
        if row["rule"] not in PROMISED:
            continue
        where = f"{row['rule']} on {row['model']} with {row['tasks']} tasks"
        if row["time ratio"] > MAX_TIME:
            found.append(f"{where}: {row['time ratio']:.2f} times the time")
        if row["tasks"] == largest and row["memory ratio"] > MAX_MEMORY:
            found.append(f"{where}: {row['memory ratio']:.2f} times the memory")
    return found


def report(config: Config, command: str, sizes: Sizes, rows: Sequence[dict]) -> None:
    """Writes the table, the numbers and the figure."""
    config.out.mkdir(parents=True, exist_ok=True)
    facts = {"command": command, "machine": machine(), "sizes": sizes}
    write_json(
        config.out / "rules.json", {**facts, "turns": config.turns, "rows": rows}
    )
    described = ", ".join(f"{key} {value}" for key, value in machine().items())
    settings = ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(sizes).items())
    lines = [
        "# What the rules cost",
        "Relative to equal weighting written by hand: `jax.value_and_grad` of the "
        f"summed losses and `optax.sgd`. Time: the median over {config.turns} turns of "
        "the ratio within a turn. Memory: the compiled step's temporary buffers. "
        "Flops: the compiler's count. The columns are numbers of tasks, main included.",
        f"    {command}",
        f"Machine: {described}.",
        f"Sizes: {settings}.",
    ]
    for model in config.models:
        for quantity in QUANTITIES:
            lines.append(f"## {model}: {quantity}")
            lines.append(table_markdown(pivot(rows, model, quantity)))
    (config.out / "rules.md").write_text("\n\n".join(lines))
    draw(rows, config.out / "rules.png")


def draw(rows: Sequence[dict], path: Path) -> None:
    """Time and memory ratios against the number of tasks, both axes logarithmic."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    tasks = sorted({row["tasks"] for row in rows})
    figure = Figure((8.6, 6.2), layout="constrained")
    axes = figure.subplots(2, len(models), squeeze=False, sharex=True)
    styles = line_styles(DRAWN)
    quantities = {"time ratio": MAX_TIME, "memory ratio": MAX_MEMORY}
    for line, (quantity, limit) in zip(axes, quantities.items(), strict=True):
        for axis, model in zip(line, models, strict=True):
            axis.axhline(limit, color="0.6", linewidth=1, label=f"{limit:g} times")
            for name in DRAWN:
                found = [r for r in rows if (r["model"], r["rule"]) == (model, name)]
                y = [row[quantity] for row in found]
                colour, dash = styles[name]
                axis.plot(tasks, y, dash, color=colour, marker="o", ms=4, label=name)
            axis.set(xscale="log", yscale="log", title=f"{model.upper()}: {quantity}")
            axis.set_xticks(tasks, tasks)
            axis.set_yticks([1, 2, 5, 10, 20], [1, 2, 5, 10, 20])
            axis.minorticks_off()
            axis.grid(color="0.92")
    for axis in axes[-1]:
        axis.set_xlabel("tasks")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[1:], labels[1:], loc="outside lower center", ncols=3)
    figure.supylabel("relative to equal weighting by hand; grey: the promise")
    figure.savefig(path, dpi=110)


def pivot(rows: Sequence[dict], model: str, quantity: str) -> list[dict]:
    """A row a rule, a column a number of tasks; the baseline's own cost is last."""
    table: dict[str, dict] = {}
    for row in rows:
        if row["model"] != model:
            continue
        line = table.setdefault(row["rule"], {"rule": row["rule"]})
        line[str(row["tasks"])] = f"{row[quantity]:.2f}"
        if row["rule"] == BASELINE:
            unit = QUANTITIES[quantity]
            line = table.setdefault(unit, {"rule": f"{BASELINE}, {unit}"})
            line[str(row["tasks"])] = f"{row[unit]:.2f}"
    return list(table.values())


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    words = sys.argv[1:] if args is None else args
    config = parse(Config, args=words)
    sizes = SMALL if config.smoke else Sizes()
    if config.smoke:
        config = dataclasses.replace(config, tasks=(3,), turns=3)
    begin, rows = time.perf_counter(), []
    with plain_errors():
        for model in config.models:
            for num_tasks in config.tasks:
                rows += measure(model, num_tasks, sizes, config.turns)
                spent = time.perf_counter() - begin
                print(f"{model} with {num_tasks} tasks measured, {spent:.0f} s")
            for quantity in QUANTITIES:
                print_table(pivot(rows, model, quantity), f"{model}: {quantity}")
        if not config.smoke or config.out != RESULTS:
            command = shlex.join(["python", "benchmarks/rules.py", *words])
            report(config, command, sizes, rows)
            print(f"Written to {config.out}")
    if not config.smoke and (broken := broken_promises(rows)):
        sys.exit("More than promised: " + "; ".join(broken))


if __name__ == "__main__":
    main()
