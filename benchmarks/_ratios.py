"""Steps that are alike but for one thing, against each other: time, memory, flops.

Every step is compiled alone; then all of them take turns in a shuffled order, so that a
busy machine slows all alike, and a ratio is the median of the ratios within a turn.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from _rules_models import SMALL, Sizes, make_model
from matplotlib.figure import Figure

from auxjax.run import (
    line_styles,
    machine,
    parse,
    plain_errors,
    print_table,
    table_markdown,
    write_json,
)

OUT = Path("runs", "benchmarks")  # results of this repository: --out benchmarks/results
BASELINE = "equal weighting by hand"
# What is compared, and the unit in which the baseline's own cost is told.
QUANTITIES = {"time ratio": "ms", "memory ratio": "MB", "flops ratio": "Mflop"}

Steps = Mapping[str, tuple[Any, Callable]]
"""By name: an initial state of the optimizer, and `step(params, state, batch)`."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What to compare on."""

    out: Path = OUT
    """The folder for the table, the numbers and the figure."""
    tasks: tuple[int, ...] = (2, 5, 10, 20, 40)
    """The numbers of tasks, main task included."""
    models: tuple[str, ...] = ("mlp", "cnn")
    """Of mlp and cnn."""
    turns: int = 48
    """How often every step is timed."""
    smoke: bool = False
    """Three tasks, small models, three turns; nothing is promised, and nothing is
    written into the default folder."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What a script compares, and what the project promises of it.

    Attributes:
      name: of the result files and of the script.
      title: of the table.
      intro: what is compared, a sentence.
      make_steps: `make_steps(losses, params, num_tasks)`, the baseline among them.
      drawn: the names that the figure shows.
      limits: grey lines in it, by quantity.
      broken: from the rows to what they break of the promise.
      rarely: slow ones take part in every so many turns only.
    """

    name: str
    title: str
    intro: str
    make_steps: Callable[[Callable, Any, int], Steps]
    drawn: Sequence[str]
    limits: Mapping[str, Sequence[float]]
    broken: Callable[[Sequence[dict]], list[str]]
    rarely: Mapping[str, int] = dataclasses.field(default_factory=dict)


def measure(
    bench: Benchmark, model: str, num_tasks: int, sizes: Sizes, turns: int
) -> list[dict]:
    """One row per step: milliseconds, and ratios to the baseline."""
    params, batch, losses = make_model(model, num_tasks, sizes)
    compiled, states, costs = {}, {}, {}
    for name, (state, step) in bench.make_steps(losses, params, num_tasks).items():
        states[name] = state
        compiled[name] = jax.jit(step).lower(params, state, batch).compile()
        analysis = compiled[name].cost_analysis()
        memory = compiled[name].memory_analysis().temp_size_in_bytes
        costs[name] = {"memory": memory, "flops": analysis["flops"]}

    def timed(name):
        # Untimed once before: whoever ran last has emptied the caches.
        for _ in range(2):
            begin = time.perf_counter()
            jax.block_until_ready(compiled[name](params, states[name], batch))
        return time.perf_counter() - begin

    order, rarely = np.random.default_rng(0), bench.rarely
    times = {name: np.full(turns, np.nan) for name in compiled}
    for turn in range(-1, turns):  # the first one warms up
        due = [n for n in compiled if turn % rarely.get(n, 1) == 0]
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


def report(
    bench: Benchmark,
    config: Config,
    command: str,
    sizes: Sizes,
    rows: Sequence[dict],
) -> None:
    """Writes the table, the numbers and the figure."""
    config.out.mkdir(parents=True, exist_ok=True)
    facts = {"command": command, "machine": machine(), "sizes": sizes}
    numbers = {**facts, "turns": config.turns, "rows": rows}
    write_json(config.out / f"{bench.name}.json", numbers)
    described = ", ".join(f"{key} {value}" for key, value in machine().items())
    settings = ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(sizes).items())
    lines = [
        f"# {bench.title}",
        f"{bench.intro} Time: the median over {config.turns} turns of the ratio within "
        "a turn. Memory: the compiled step's temporary buffers. Flops: the compiler's "
        "count. The columns are numbers of tasks, main included.",
        f"    {command}",
        f"Machine: {described}.",
        f"Sizes: {settings}.",
    ]
    for model in config.models:
        for quantity in QUANTITIES:
            lines.append(f"## {model}: {quantity}")
            lines.append(table_markdown(pivot(rows, model, quantity)))
    (config.out / f"{bench.name}.md").write_text("\n\n".join(lines))
    draw(bench, rows, config.out / f"{bench.name}.png")


def draw(bench: Benchmark, rows: Sequence[dict], path: Path) -> None:
    """Ratios against the number of tasks, both axes logarithmic."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    tasks = sorted({row["tasks"] for row in rows})
    figure = Figure((8.6, 6.2), layout="constrained")
    axes = figure.subplots(len(bench.limits), len(models), squeeze=False, sharex=True)
    styles = line_styles(bench.drawn)
    ticks = [1, 2, 3, 5, 10, 20]
    for line, (quantity, limits) in zip(axes, bench.limits.items(), strict=True):
        for axis, model in zip(line, models, strict=True):
            for limit in limits:
                axis.axhline(limit, color="0.6", linewidth=1)
            for name in bench.drawn:
                own = [r for r in rows if (r["model"], r["rule"]) == (model, name)]
                y = [row[quantity] for row in own]
                colour, dash = styles[name]
                axis.plot(tasks, y, dash, color=colour, marker="o", ms=4, label=name)
            axis.set(xscale="log", yscale="log", title=f"{model.upper()}: {quantity}")
            axis.set_xticks(tasks, tasks)
            axis.set_yticks(ticks, ticks)
            axis.minorticks_off()
            axis.grid(color="0.92")
    for axis in axes[-1]:
        axis.set_xlabel("tasks")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.supylabel("relative to equal weighting by hand; grey: the promise")
    figure.savefig(path, dpi=110)


def pivot(rows: Sequence[dict], model: str, quantity: str) -> list[dict]:
    """A row per step, a column a number of tasks; the baseline's own cost is last."""
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


def run(bench: Benchmark, config: Any, args: Sequence[str] | None) -> None:
    """Measures, prints, writes, and checks the promise."""
    words = sys.argv[1:] if args is None else args
    config = parse(config, args=words)
    sizes = SMALL if config.smoke else Sizes()
    if config.smoke:
        config = dataclasses.replace(config, tasks=(3,), turns=3)
    begin, rows = time.perf_counter(), []
    with plain_errors():
        for model in config.models:
            for num_tasks in config.tasks:
                rows += measure(bench, model, num_tasks, sizes, config.turns)
                spent = time.perf_counter() - begin
                print(f"{model} with {num_tasks} tasks measured, {spent:.0f} s")
            for quantity in QUANTITIES:
                print_table(pivot(rows, model, quantity), f"{model}: {quantity}")
        if not config.smoke or config.out != OUT:
            command = shlex.join(["python", f"benchmarks/{bench.name}.py", *words])
            report(bench, config, command, sizes, rows)
            print(f"Written to {config.out}")
    if not config.smoke and (broken := bench.broken(rows)):
        sys.exit("More than promised: " + "; ".join(broken))


def by_hand(losses: Callable, optimizer: Any) -> Callable:
    """The baseline: `jax.value_and_grad` of the summed losses, and an optimizer."""

    def step(params, state, batch):
        total, grads = jax.value_and_grad(lambda p: sum(losses(p, batch)))(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, total

    return step
