"""What the rules cost: time, memory and flops against the number of tasks.

    python benchmarks/rules.py

Everything is relative to equal weighting written by hand: `jax.value_and_grad` of the
summed losses and `optax.sgd`. Each step is compiled alone; then all of them take turns,
so that a busy machine slows all alike, and the ratio is the median of the ratios
within a turn. Writes `benchmarks/results/rules.md`, `.json` and `.png`, and ends with
an error if OL-AUX or unweighted GCS cost more than promised.
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
import jax.numpy as jnp
import numpy as np
import optax

import auxjax
from auxjax.run import (
    machine,
    parse,
    plain_errors,
    plot_grid,
    print_table,
    table_markdown,
    write_json,
)

MAX_TIME, MAX_MEMORY = 2.4, 3.0  # the promise, for the rules below
PROMISED = ("olaux(n=5)", "gcs()")
BASELINE = "equal weighting by hand"
# What is compared, and the unit in which the baseline's own cost is told.
QUANTITIES = {"time ratio": "ms", "memory ratio": "MB", "flops ratio": "Mflop"}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the rules cost: time, memory and flops against the number of tasks."""

    out: Path = Path(__file__).parent / "results"
    """The folder for rules.md, rules.json and rules.png."""
    tasks: tuple[int, ...] = (2, 5, 10, 20, 40)
    """The numbers of tasks, main task included."""
    models: tuple[str, ...] = ("mlp", "cnn")
    """Of mlp and cnn."""
    turns: int = 30
    """How often every step is timed."""
    smoke: bool = False
    """Two and three tasks, small models, three turns; nothing is promised."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of both models; `batch` examples a step, `outputs` numbers a head."""

    batch: int = 256
    inputs: int = 128
    width: int = 256
    images: int = 16
    channels: tuple[int, int] = (16, 32)
    outputs: int = 10


SMALL = Sizes(batch=4, inputs=5, width=6, images=8, channels=(2, 3))


def dense(key: jax.Array, inputs: int, outputs: int) -> dict[str, jax.Array]:
    """A linear layer's parameters."""
    kernel = jax.random.normal(key, (inputs, outputs)) / np.sqrt(inputs)
    return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def linear(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """`[..., inputs]` -> `[..., outputs]`."""
    bias = layer["bias"].reshape((1,) * (x.ndim - 1) + (-1,))
    return x @ layer["kernel"] + bias


def patches(images: jax.Array) -> jax.Array:
    """What a 3x3 filter of stride 2 sees: `[B, H, W, C]` -> `[B, H/2, W/2, 9 C]`."""
    _, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))
    views = [
        padded[:, i : i + height : 2, j : j + width : 2] for i, j in np.ndindex(3, 3)
    ]
    return jnp.concatenate(views, axis=-1)


def make_model(name: str, num_tasks: int, sizes: Sizes) -> tuple[Any, Any, Callable]:
    """Parameters, a batch, and `losses(params, batch)`: a trunk and a head a task."""
    keys = iter(jax.random.split(jax.random.key(0), 2 * num_tasks + 8))
    normal, width = jax.random.normal, sizes.width
    heads = [dense(next(keys), width, sizes.outputs) for _ in range(num_tasks)]
    targets = [normal(next(keys), (sizes.batch, sizes.outputs)) for _ in heads]
    if name == "mlp":
        inputs = normal(next(keys), (sizes.batch, sizes.inputs))
        widths = [sizes.inputs, width, width, width]
    else:
        shape = (sizes.batch, sizes.images, sizes.images, 3)
        inputs, (c1, c2) = normal(next(keys), shape), sizes.channels
        widths = [(sizes.images // 4) ** 2 * c2]
    trunk = [
        dense(next(keys), before, after)
        for before, after in zip(widths, [*widths[1:], width], strict=True)
    ]
    params = {"trunk": trunk, "heads": heads}
    if name == "cnn":
        params["filters"] = [
            dense(next(keys), 9 * 3, c1),
            dense(next(keys), 9 * c1, c2),
        ]

    def losses(params, batch):
        x, targets = batch
        for layer in params.get("filters", ()):
            x = jax.nn.relu(linear(layer, patches(x)))
        x = x.reshape(x.shape[0], -1)
        for layer in params["trunk"]:
            x = jax.nn.relu(linear(layer, x))
        return tuple(
            jnp.mean((linear(head, x) - target) ** 2)
            for head, target in zip(params["heads"], targets, strict=True)
        )

    return params, (inputs, targets), losses


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
        begin = time.perf_counter()
        jax.block_until_ready(compiled[name](params, states[name], batch))
        return time.perf_counter() - begin

    for name in compiled:
        timed(name), timed(name)
    times = np.array([[timed(name) for name in compiled] for _ in range(turns)])
    base = costs[BASELINE]
    return [
        {
            "model": model,
            "tasks": num_tasks,
            "rule": name,
            "ms": float(np.median(times[:, i]) * 1e3),
            "time ratio": float(np.median(times[:, i] / times[:, 0])),
            "MB": costs[name]["memory"] / 1e6,
            "memory ratio": costs[name]["memory"] / base["memory"],
            "Mflop": costs[name]["flops"] / 1e6,
            "flops ratio": costs[name]["flops"] / base["flops"],
        }
        for i, name in enumerate(compiled)
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


def report(config: Config, sizes: Sizes, rows: Sequence[dict], took: float) -> None:
    """Writes the table, the numbers and the figure."""
    config.out.mkdir(parents=True, exist_ok=True)
    command = "python benchmarks/rules.py " + shlex.join(sys.argv[1:])
    facts = {"command": command.strip(), "machine": machine(), "sizes": sizes}
    write_json(
        config.out / "rules.json",
        {**facts, "config": config, "seconds": round(took), "rows": list(rows)},
    )
    described = ", ".join(f"{key} {value}" for key, value in machine().items())
    settings = ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(sizes).items())
    lines = [
        "# What the rules cost",
        "Relative to equal weighting written by hand: `jax.value_and_grad` of the summed "
        f"losses and `optax.sgd`. Time: the median over {config.turns} turns of the "
        "ratio within a turn. Memory: the compiled step's temporary buffers. Flops: by "
        "the compiler's count. The columns are numbers of tasks, main task included.",
        f"    {facts['command']}",
        f"Machine: {described}.",
        f"Sizes: {settings}.",
    ]
    for model in config.models:
        for quantity in QUANTITIES:
            lines.append(f"## {model}: {quantity}")
            lines.append(table_markdown(pivot(rows, model, quantity)))
    (config.out / "rules.md").write_text("\n\n".join(lines))
    panels = {}
    for quantity in ("time ratio", "memory ratio"):
        for model in config.models:
            of_model = [row for row in rows if row["model"] == model]
            panels[f"{model}: {quantity}"] = {
                name: (
                    [row["tasks"] for row in of_model if row["rule"] == name],
                    [row[quantity] for row in of_model if row["rule"] == name],
                )
                for name in dict.fromkeys(row["rule"] for row in of_model)
            }
    plot_grid(
        panels,
        config.out / "rules.png",
        columns=len(config.models),
        xlabel="tasks",
        ylabel="ratio",
    )


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
    config = parse(Config, args=args)
    sizes = SMALL if config.smoke else Sizes()
    if config.smoke:
        config = dataclasses.replace(config, tasks=(2, 3), turns=3)
    begin, rows = time.perf_counter(), []
    with plain_errors():
        for model in config.models:
            for num_tasks in config.tasks:
                rows += measure(model, num_tasks, sizes, config.turns)
                spent = time.perf_counter() - begin
                print(f"{model} with {num_tasks} tasks measured, {spent:.0f} s")
            for quantity in QUANTITIES:
                print_table(pivot(rows, model, quantity), f"{model}: {quantity}")
        report(config, sizes, rows, time.perf_counter() - begin)
    print(f"Written to {config.out}")
    broken = [] if config.smoke else broken_promises(rows)
    if broken:
        sys.exit("More than promised: " + "; ".join(broken))


if __name__ == "__main__":
    main()
