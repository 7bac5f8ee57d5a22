"""What a rule costs whose weights are found every k-th step, averaged over k steps.

    python benchmarks/periodic.py

A turn is k steps in a row of every rule, in a shuffled order; k = 10. Everything is
relative to the same number of steps of equal weighting written by hand
(`jax.value_and_grad` of the summed losses and `optax.sgd`) in the same turn. Writes
`runs/benchmarks/periodic.md` and `.json`, and ends with an error where a rule inside
`periodic` costs more than promised on the average.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from _ratios import BASELINE, OUT, by_hand
from _rules_models import SMALL, Sizes, make_model

import auxjax
from auxjax.run import (
    machine,
    parse,
    plain_errors,
    print_table,
    table_markdown,
    write_json,
)

MAX_TIME = 1.5  # times equal weighting, at the largest T
LAST = "last layer"  # of the trunk alone
QUANTITIES = {
    "average": "Time of a step over equal weighting's, averaged",
    "kept": "The same, of the steps with weights that are kept",
    "found": "The same, of the steps in which they are found",
    "ms": "Milliseconds of a step, averaged",
    "compile s": "Seconds to compile",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Rules every k-th step, against equal weighting."""

    out: Path = OUT
    """The folder for the table and the numbers."""
    tasks: tuple[int, ...] = (40,)
    """The numbers of tasks, main task included."""
    models: tuple[str, ...] = ("mlp", "cnn")
    """Of mlp and cnn."""
    every: int = 10
    """k."""
    turns: int = 12
    """How often the k steps of every rule are timed."""
    keep: bool = False
    """Keep what `periodic.json` says of other models and numbers of tasks."""
    smoke: bool = False
    """Three tasks, small models, two turns; promises nothing."""


def rules(num_tasks: int, every: int, params: Any) -> dict[str, Any]:
    """Names as they would be written, and the rules."""
    last = jax.tree.map(lambda _: False, params)
    last["trunk"][-1] = jax.tree.map(lambda _: True, params["trunk"][-1])

    def around(rule, k=every):
        return auxjax.periodic(rule, k, num_tasks=num_tasks)

    gcs = auxjax.gcs(weighted=True, num_tasks=num_tasks)
    return {
        "sum_tasks()": auxjax.sum_tasks(),
        "upgrad()": auxjax.upgrad(),
        f"periodic(upgrad(), {every})": around(auxjax.upgrad()),
        f"periodic(mgda(), {every})": around(auxjax.mgda()),
        f"periodic(cagrad(), {every})": around(auxjax.cagrad()),
        f"periodic(nash_mtl(), {every})": around(auxjax.nash_mtl()),
        f"periodic(gcs(weighted=True), {every})": around(gcs),
        f"periodic(upgrad(), {every}), {LAST}": around(auxjax.upgrad(where=last)),
        f"periodic(upgrad(), {2 * every})": around(auxjax.upgrad(), 2 * every),
    }


def compile_steps(
    model: str, num_tasks: int, sizes: Sizes, every: int
) -> dict[str, tuple[Callable, float]]:
    """By name a function that times so many steps from the start; and compilation."""
    params, batch, losses = make_model(model, num_tasks, sizes)
    sgd, steps = optax.sgd(1e-3), {}

    def add(name, state, step, count):
        begin = time.perf_counter()
        program = jax.jit(step).lower(params, state, batch).compile()
        spent = time.perf_counter() - begin

        def timed():
            now, found = (params, state), np.zeros(count)
            jax.block_until_ready(program(*now, batch))  # whoever ran last used caches
            for i in range(count):
                begin = time.perf_counter()
                *now, _ = jax.block_until_ready(program(*now, batch))
                found[i] = time.perf_counter() - begin
            return found

        steps[name] = (timed, spent)

    add(BASELINE, sgd.init(params), by_hand(losses, sgd), every)
    for name, rule in rules(num_tasks, every, params).items():
        tx: Any = optax.chain(rule, sgd)

        def step(params, state, batch, tx=tx):
            jac = auxjax.task_jacobian(losses, params, batch)
            updates, state = tx.update(jac, state, params)
            return optax.apply_updates(params, updates), state, jac.losses

        count = 2 * every if name.endswith(f"{2 * every})") else every
        add(name, tx.init(params), step, count)
    return steps


def measure(model: str, num_tasks: int, sizes: Sizes, config: Config) -> list[dict]:
    """One row a rule; all take turns."""
    steps = compile_steps(model, num_tasks, sizes, config.every)
    times: dict[str, list[np.ndarray]] = {name: [] for name in steps}
    order = np.random.default_rng(0)
    for turn in range(-1, config.turns):  # the first one warms up
        for name in order.permutation(list(steps)):
            spent = steps[name][0]()
            if turn >= 0:
                times[name].append(spent)
    base = np.array([spent.mean() for spent in times[BASELINE]])
    rows = []
    for name, (_, compiled) in steps.items():
        found = np.array(times[name])  # [turns, steps]
        ratio = found / base[:, None]
        is_kept = name.startswith("periodic") and found.shape[1] > 1
        rows.append(
            {
                "model": model,
                "tasks": num_tasks,
                "rule": name,
                "average": float(np.median(ratio.mean(1))),
                "kept": float(np.median(ratio[:, 1:])) if is_kept else None,
                "found": float(np.median(ratio[:, 0])) if is_kept else None,
                "ms": float(np.median(found.mean(1)) * 1e3),
                "compile s": compiled,
            }
        )
    return rows


def broken_promises(rows: Sequence[dict]) -> list[str]:
    """Where a rule costs more on the average than is promised."""
    largest = max(row["tasks"] for row in rows)
    return [
        f"{row['rule']} on {row['model']} with {row['tasks']} tasks: "
        f"{row['average']:.2f} times equal weighting"
        for row in rows
        if row["rule"].startswith("periodic")
        and row["tasks"] == largest
        and row["average"] > MAX_TIME
    ]


def kept_rows(config: Config, rows: Sequence[dict]) -> list[dict]:
    """The rows of a run before, of what was not measured in this one."""
    path = config.out / "periodic.json"
    if not (config.keep and path.exists()):
        return []
    new = {(row["model"], row["tasks"]) for row in rows}
    before = json.loads(path.read_text())["rows"]
    return [row for row in before if (row["model"], row["tasks"]) not in new]


def pivot(rows: Sequence[dict], quantity: str) -> list[dict]:
    """A row a rule, a column per model and number of tasks."""
    table: dict[str, dict] = {}
    for row in rows:
        value = row[quantity]
        line = table.setdefault(row["rule"], {"rule": row["rule"]})
        line[f"{row['model']} {row['tasks']}"] = "" if value is None else f"{value:.2f}"
    return list(table.values())


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    words = sys.argv[1:] if args is None else args
    config = parse(Config, args=words)
    sizes = SMALL if config.smoke else Sizes()
    if config.smoke:
        config = dataclasses.replace(config, tasks=(3,), turns=2, every=3)
    rows = []
    with plain_errors():
        for model in config.models:
            for num_tasks in config.tasks:
                rows += measure(model, num_tasks, sizes, config)
                print(f"{model} with {num_tasks} tasks measured")
        rows = kept_rows(config, rows) + rows
        for quantity, title in QUANTITIES.items():
            print_table(pivot(rows, quantity), title)
        if not config.smoke or config.out != OUT:
            config.out.mkdir(parents=True, exist_ok=True)
            command = shlex.join(["python", "benchmarks/periodic.py", *words])
            facts = {"command": command, "machine": machine(), "sizes": sizes}
            numbers = {**facts, "turns": config.turns, "every": config.every}
            write_json(config.out / "periodic.json", {**numbers, "rows": rows})
            described = ", ".join(f"{key} {value}" for key, value in machine().items())
            lines = [
                "# Weights of every k-th step",
                f"k = {config.every}. Relative to equal weighting written by hand, "
                f"medians over {config.turns} turns of the ratio within a turn of k "
                "steps. The columns are model and number of tasks, main included.",
                f"    {command}",
                f"Machine: {described}.",
            ]
            for quantity, title in QUANTITIES.items():
                lines += [f"## {title}", table_markdown(pivot(rows, quantity))]
            (config.out / "periodic.md").write_text("\n\n".join(lines))
            print(f"Written to {config.out}")
    if not config.smoke and (broken := broken_promises(rows)):
        sys.exit("More than promised: " + "; ".join(broken))


if __name__ == "__main__":
    main()
