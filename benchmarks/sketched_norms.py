"""Norms of all tasks' gradients by random directions: the error and the price.

    python benchmarks/sketched_norms.py

One tangent pass along v ~ N(0, I) gives an unbiased estimate of every task's squared
gradient norm. Shown against the number m of passes: the relative standard deviation of
the square, beside the √(2/m) of theory, and the time of the norms alone and of a whole
step of weighted GCS with them, relative to equal weighting. Writes
`runs/benchmarks/sketched_norms.md`, `.json` and `.png`.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from _ratios import BASELINE, OUT, Benchmark, Steps, by_hand, measure
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

MAX_TIME = 2.8  # the promise: weighted GCS with sketched norms, times equal weighting
EXACT = "exact"


@dataclasses.dataclass(frozen=True)
class Config:
    """Norms by random directions: the error and the price."""

    out: Path = OUT
    """The folder for the table, the numbers and the figure."""
    tasks: int = 40
    """The number of tasks, main task included."""
    models: tuple[str, ...] = ("mlp", "cnn")
    """Of mlp and cnn."""
    passes: tuple[int, ...] = (1, 2, 4, 8, 16)
    """m, how many random directions."""
    draws: int = 400
    """How many estimates the error is taken over."""
    turns: int = 24
    """How often every step is timed."""
    smoke: bool = False
    """Three tasks, small models, few draws; writes into another folder only."""


def spread(model: str, config: Config, sizes: Sizes) -> list[dict]:
    """The relative standard deviation of the squared norms, by m."""
    params, batch, losses = make_model(model, config.tasks, sizes)

    @functools.partial(jax.jit, static_argnums=1)
    def estimates(params, passes):
        jac = auxjax.task_jacobian(losses, params, batch)
        keys = jax.random.split(jax.random.key(1), config.draws)
        estimated = jax.lax.map(lambda key: jac.norms(sketch=passes, key=key), keys)
        return estimated**2, jac.norms() ** 2

    rows = []
    for passes in config.passes:
        estimated, exact = estimates(params, passes)
        error = np.asarray(estimated) / np.asarray(exact) - 1
        deviation = float(np.sqrt(np.mean(error**2)))
        rows.append(
            {
                "model": model,
                "m": passes,
                "relative deviation": deviation,
                "√(2/m)": float(np.sqrt(2 / passes)),
                "mean relative error": float(error.mean()),
            }
        )
    return rows


def make_steps(
    passes: Sequence[int], losses: Callable, params: Any, num_tasks: int
) -> Steps:
    """Norms alone, and a whole step of weighted GCS with them; the baseline first."""
    sgd = optax.sgd(1e-3)

    def norms_alone(sketch, params, state, batch):
        jac = auxjax.task_jacobian(losses, params, batch)
        return jac.norms(sketch=sketch, key=jax.random.key(0)), state

    def step(tx, params, state, batch):
        jac = auxjax.task_jacobian(losses, params, batch)
        updates, state = tx.update(jac, state, params)
        return optax.apply_updates(params, updates), state, jac.losses

    steps = {BASELINE: (sgd.init(params), by_hand(losses, sgd))}
    for sketch in (None, *passes):
        name = EXACT if sketch is None else f"m = {sketch}"
        steps[f"norms, {name}"] = ((), functools.partial(norms_alone, sketch))
        gcs = auxjax.gcs(weighted=True, ema=0.99, num_tasks=num_tasks, sketch=sketch)
        tx = optax.chain(gcs, sgd)
        steps[f"weighted gcs, {name}"] = (tx.init(params), functools.partial(step, tx))
    return steps


def prices(model: str, config: Config, sizes: Sizes) -> list[dict]:
    """Time and flops relative to equal weighting at the largest T."""
    bench = Benchmark(
        name="sketched_norms",
        title="",
        intro="",
        make_steps=functools.partial(make_steps, config.passes),
        drawn=(),
        limits={},
        broken=lambda _: [],
        rarely={f"norms, {EXACT}": 6, f"weighted gcs, {EXACT}": 6},
    )
    return measure(bench, model, config.tasks, sizes, config.turns)


def draw(errors: Sequence[dict], costs: Sequence[dict], path: Path) -> None:
    """Left: error against m. Right: time of a step of weighted GCS against m."""
    figure = Figure((8.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    models = list(dict.fromkeys(row["model"] for row in errors))
    styles = line_styles(models)
    passes = sorted({row["m"] for row in errors})
    theory = [np.sqrt(2 / m) for m in passes]
    left.plot(passes, theory, color="0.6", label="√(2/m)")
    right.axhline(MAX_TIME, color="0.6", label=f"promised at m = 1: {MAX_TIME}")
    for model in models:
        colour, dash = styles[model]
        own = [r["relative deviation"] for r in errors if r["model"] == model]
        left.plot(passes, own, dash, color=colour, marker="o", ms=4, label=model)
        time = {r["rule"]: r["time ratio"] for r in costs if r["model"] == model}
        y = [time[f"weighted gcs, m = {m}"] for m in passes]
        right.plot(passes, y, dash, color=colour, marker="o", ms=4, label=model)
        exact = time[f"weighted gcs, {EXACT}"]
        right.axhline(exact, color=colour, ls=":", label=f"{model}, exact norms")
    left.set(title="Relative standard deviation of ‖∇Lᵢ‖²", xlabel="m, tangent passes")
    right.set(
        title="A step of weighted GCS", xlabel="m", ylabel="time / equal weighting"
    )
    for axis in (left, right):
        axis.set(xscale="log", yscale="log")
        axis.set_xticks(passes, passes)
        axis.minorticks_off()
        axis.grid(color="0.92")
        axis.legend(fontsize=8)
    left.set_yticks([0.3, 0.5, 1, 1.5], ["30 %", "50 %", "100 %", "150 %"])
    right.set_yticks([1, 2, 3, 5, 10, 20], [1, 2, 3, 5, 10, 20])
    figure.savefig(path, dpi=110)


def cost_table(costs: Sequence[dict]) -> list[dict]:
    """A row per model and step."""
    keys = ("time ratio", "flops ratio", "memory ratio")
    return [
        {"model": r["model"], "step": r["rule"], **{k: f"{r[k]:.2f}" for k in keys}}
        for r in costs
    ]


def error_table(errors: Sequence[dict]) -> list[dict]:
    """The spread in per cent."""
    keys = ("relative deviation", "√(2/m)", "mean relative error")
    return [
        {"model": r["model"], "m": r["m"], **{k: f"{100 * r[k]:.1f} %" for k in keys}}
        for r in errors
    ]


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    words = sys.argv[1:] if args is None else args
    config = parse(Config, args=words)
    sizes = SMALL if config.smoke else Sizes()
    if config.smoke:
        config = dataclasses.replace(config, tasks=5, passes=(1, 4), draws=200, turns=2)
    errors, costs = [], []
    with plain_errors():
        for model in config.models:
            errors += spread(model, config, sizes)
            costs += prices(model, config, sizes)
        print_table(error_table(errors), "Error against the number of passes")
        print_table(cost_table(costs), f"Price with {config.tasks} tasks")
        if not config.smoke or config.out != OUT:
            config.out.mkdir(parents=True, exist_ok=True)
            command = shlex.join(["python", "benchmarks/sketched_norms.py", *words])
            described = ", ".join(f"{key} {value}" for key, value in machine().items())
            facts = {"command": command, "machine": machine(), "sizes": sizes}
            write_json(
                config.out / "sketched_norms.json",
                {
                    **facts,
                    "config": dataclasses.replace(config, out=Path("results")),
                    "errors": errors,
                    "costs": costs,
                },
            )
            lines = [
                "# Norms by random directions",
                "Relative standard deviation of the squared norms over "
                f"{config.draws} draws and all tasks, and the price at T = "
                f"{config.tasks} relative to equal weighting by hand.",
                f"    {command}",
                f"Machine: {described}.",
                table_markdown(error_table(errors)),
                table_markdown(cost_table(costs)),
            ]
            (config.out / "sketched_norms.md").write_text("\n\n".join(lines))
            draw(errors, costs, config.out / "sketched_norms.png")
            print(f"Written to {config.out}")
    one = {
        r["model"]: r["time ratio"] for r in costs if r["rule"].endswith("gcs, m = 1")
    }
    broken = [f"{m}: {ratio:.2f}" for m, ratio in one.items() if ratio > MAX_TIME]
    if broken and not config.smoke:
        sys.exit("Weighted GCS with sketched norms costs more: " + ", ".join(broken))


if __name__ == "__main__":
    main()
