"""A training step with an aggregator, against TorchJD's on the same machine.

    python benchmarks/aggregators.py --peer-python PEER/bin/python

PEER is a virtual environment with TorchJD, see `peers/torchjd_step.py`. Both sides
train the same model by SGD on one batch; they take turns, and the ratio is the median
of the ratios within a turn. Writes `runs/benchmarks/aggregators.md`, `.json` and
`.png`, and ends with an error where a step takes longer than TorchJD's, or compiles
too slowly.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from _ratios import OUT
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

MAX_TIME, MAX_COMPILE = 1.0, 10.0  # times TorchJD's; seconds at the largest T
PAUSE = 0.25  # seconds before a turn: OpenMP's threads spin on for 0.2 after a step
WARM, STEPS = 3, 5  # steps per turn, not timed and timed: training makes many in a row
PEER = Path(__file__).parent / "peers" / "torchjd_step.py"
AGGREGATORS: dict[str, tuple[Callable[[], Any], str]] = {
    "mean_tasks": (auxjax.mean_tasks, "Mean"),
    "mgda": (auxjax.mgda, "MGDA"),
    "upgrad": (auxjax.upgrad, "UPGrad"),
    "dualproj": (auxjax.dualproj, "DualProj"),
    "cagrad": (lambda: auxjax.cagrad(c=0.4), "CAGrad"),
    "imtl_g": (auxjax.imtl_g, "IMTLG"),
    "aligned_mtl": (auxjax.aligned_mtl, "AlignedMTL"),
    "con_fig": (auxjax.con_fig, "ConFIG"),
    "fairgrad": (auxjax.fairgrad, "FairGrad"),
    "nash_mtl": (auxjax.nash_mtl, "NashMTL"),
    "pcgrad": (auxjax.pcgrad, "PCGrad"),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """A training step with an aggregator, against TorchJD's."""

    peer_python: str = ""
    """The interpreter of an environment with TorchJD; empty: our times alone."""
    out: Path = OUT
    """The folder for the table, the numbers and the figure."""
    tasks: tuple[int, ...] = (5, 20, 40)
    """The numbers of tasks, main task included."""
    models: tuple[str, ...] = ("mlp", "cnn")
    """Of mlp and cnn."""
    rules: tuple[str, ...] = tuple(AGGREGATORS)
    """The aggregators."""
    turns: int = 15
    """How often every step is timed on either side."""
    keep: bool = False
    """Keep what `aggregators.json` says of other models and numbers of tasks: the whole
    takes a quarter of an hour, and need not be measured in one go."""
    smoke: bool = False
    """Three tasks, small models, two turns, two rules; promises nothing."""


class Peer:
    """TorchJD in a process of its own, one timed step a question."""

    def __init__(self, python: str):
        """Starts it."""
        command = [python, str(PEER)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **request: Any) -> float:
        """The seconds of one step; NaN if there was nothing to time."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(json.dumps(request) + "\n")
        pipe_in.flush()
        answer = pipe_out.readline()
        if not answer:
            sys.exit(f"TorchJD ended while asked for {request}.")
        return json.loads(answer).get("seconds", float("nan"))

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def compile_steps(
    model: str, num_tasks: int, sizes: Sizes, rules: Sequence[str]
) -> dict[str, tuple[Callable, float]]:
    """For each aggregator a step without arguments, and how long it took to compile."""
    params, batch, losses = make_model(model, num_tasks, sizes)
    sgd, steps = optax.sgd(1e-3), {}
    for name in rules:
        tx: Any = optax.chain(AGGREGATORS[name][0](), sgd)

        def step(params, state, batch, tx=tx):
            jac = auxjax.task_jacobian(losses, params, batch)
            updates, state = tx.update(jac, state, params)
            return optax.apply_updates(params, updates), state, jac.losses

        state = tx.init(params)
        begin = time.perf_counter()
        compiled = jax.jit(step).lower(params, state, batch).compile()
        spent = time.perf_counter() - begin
        steps[name] = (
            lambda run=compiled, state=state: run(params, state, batch),
            spent,
        )
    return steps


def timed(step: Callable) -> float:
    """Seconds of a step, once the other side's threads sleep."""
    time.sleep(PAUSE)
    for _ in range(WARM):
        jax.block_until_ready(step())
    begin = time.perf_counter()
    for _ in range(STEPS):
        jax.block_until_ready(step())
    return (time.perf_counter() - begin) / STEPS


def measure(
    model: str, num_tasks: int, sizes: Sizes, config: Config, peer: Peer | None
) -> list[dict]:
    """One row an aggregator; both sides take turns."""
    steps = compile_steps(model, num_tasks, sizes, config.rules)
    ours: dict[str, list[float]] = {name: [] for name in steps}
    theirs: dict[str, list[float]] = {name: [] for name in steps}
    order = np.random.default_rng(0)
    shape = {"model": model, "tasks": num_tasks, "sizes": dataclasses.asdict(sizes)}
    for turn in range(-1, config.turns):  # the first one warms up
        for name in order.permutation(list(steps)):
            seconds = timed(steps[name][0])
            other = float("nan")
            if peer is not None:
                time.sleep(PAUSE)
                counts = {"warm": WARM, "steps": STEPS}
                other = peer.ask(**shape, aggregator=AGGREGATORS[name][1], **counts)
            if turn >= 0:
                ours[name].append(seconds)
                theirs[name].append(other)
    if peer is not None:
        peer.ask(forget=True)
    return [
        {
            "model": model,
            "tasks": num_tasks,
            "rule": name,
            "ms": float(np.median(ours[name]) * 1e3),
            "TorchJD ms": float(np.median(theirs[name]) * 1e3),
            "ratio": float(np.median(np.array(ours[name]) / np.array(theirs[name]))),
            "compile s": steps[name][1],
        }
        for name in steps
    ]


def broken_promises(rows: Sequence[dict]) -> list[str]:
    """Where a step takes longer than TorchJD's, or its compilation too long."""
    largest = max(row["tasks"] for row in rows)
    broken = []
    for row in rows:
        where = f"{row['rule']} on {row['model']} with {row['tasks']} tasks"
        if row["ratio"] > MAX_TIME:
            broken.append(f"{where}: {row['ratio']:.2f} times TorchJD")
        if row["tasks"] == largest and row["compile s"] > MAX_COMPILE:
            broken.append(f"{where}: compiled in {row['compile s']:.1f} s")
    return broken


def kept_rows(config: Config, rows: Sequence[dict]) -> list[dict]:
    """The rows of a run before, of what was not measured in this one."""
    path = config.out / "aggregators.json"
    if not (config.keep and path.exists()):
        return []
    new = {(row["model"], row["tasks"]) for row in rows}
    before = json.loads(path.read_text())["rows"]
    return [row for row in before if (row["model"], row["tasks"]) not in new]


def pivot(rows: Sequence[dict], quantity: str) -> list[dict]:
    """A row an aggregator, a column per model and number of tasks."""
    table: dict[str, dict] = {}
    for row in rows:
        line = table.setdefault(row["rule"], {"rule": row["rule"]})
        line[f"{row['model']} {row['tasks']}"] = f"{row[quantity]:.2f}"
    return list(table.values())


def draw(rows: Sequence[dict], path: Path) -> None:
    """Our time over TorchJD's against the number of tasks."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    names = list(dict.fromkeys(row["rule"] for row in rows))
    tasks = sorted({row["tasks"] for row in rows})
    figure = Figure((8.6, 4.2), layout="constrained")
    axes = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    styles = line_styles(names)
    for axis, model in zip(axes, models, strict=True):
        axis.axhline(1, color="0.6", linewidth=1)
        for name in names:
            own = [r for r in rows if (r["model"], r["rule"]) == (model, name)]
            x, y = ([r[key] for r in own] for key in ("tasks", "ratio"))
            colour, dash = styles[name]
            axis.plot(x, y, dash, color=colour, marker="o", ms=4, label=name)
        axis.set(xscale="log", yscale="log", title=model.upper(), xlabel="tasks")
        axis.set_xticks(tasks, tasks)
        ticks = [0.1, 0.2, 0.5, 1, 2]
        axis.set_yticks(ticks, ticks)
        axis.minorticks_off()
        axis.grid(color="0.92")
    axes[0].set_ylabel("time of a step / TorchJD's")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    figure.savefig(path, dpi=110)


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    words = sys.argv[1:] if args is None else args
    config = parse(Config, args=words)
    sizes = SMALL if config.smoke else Sizes()
    if config.smoke:
        config = dataclasses.replace(
            config, tasks=(3,), turns=2, rules=("mgda", "upgrad")
        )
    rows, peer = [], None
    with plain_errors():
        if config.peer_python:
            peer = Peer(config.peer_python)
        for model in config.models:
            for num_tasks in config.tasks:
                rows += measure(model, num_tasks, sizes, config, peer)
                print(f"{model} with {num_tasks} tasks measured")
        if peer is not None:
            peer.close()
        rows = kept_rows(config, rows) + rows
        rows.sort(key=lambda row: (row["model"] != "mlp", row["tasks"]))
        quantities = {
            "ratio": "Time of a step, over TorchJD's",
            "ms": "Milliseconds of a step",
            "TorchJD ms": "Milliseconds of TorchJD's",
            "compile s": "Seconds to compile",
        }
        for quantity, title in quantities.items():
            print_table(pivot(rows, quantity), title)
        if not config.smoke or config.out != OUT:
            config.out.mkdir(parents=True, exist_ok=True)
            shown = ["PEER/bin/python" if w == config.peer_python else w for w in words]
            command = shlex.join(["python", "benchmarks/aggregators.py", *shown])
            facts = {"command": command, "machine": machine(), "sizes": sizes}
            numbers = {**facts, "turns": config.turns, "rows": rows}
            write_json(config.out / "aggregators.json", numbers)
            described = ", ".join(f"{key} {value}" for key, value in machine().items())
            lines = [
                "# Aggregators against TorchJD 0.18",
                "A training step (losses, rows, aggregation, SGD) on the same model "
                f"and machine, in turns of {STEPS} steps; medians over {config.turns} "
                "turns. The columns are model and number of tasks.",
                f"    {command}",
                f"Machine: {described}.",
            ]
            for quantity, title in quantities.items():
                lines += [f"## {title}", table_markdown(pivot(rows, quantity))]
            (config.out / "aggregators.md").write_text("\n\n".join(lines))
            draw(rows, config.out / "aggregators.png")
            print(f"Written to {config.out}")
    if not config.smoke and (broken := broken_promises(rows)):
        sys.exit("More than promised: " + "; ".join(broken))


if __name__ == "__main__":
    main()
