"""The gradient of a later loss with respect to the task weights: exact and not.

    python experiments/meta_gradients.py

Auto-λ's one-step meta-gradient exactly and by the paper's finite difference (Eq. 7),
over N steps exactly and by OL-AUX's Eq. 6, against differentiating the whole of
training twice (reverse over reverse) in float64: relative error, cosine, and time and
memory relative to equal weighting. Writes `experiments/results/meta_gradients.md`,
`.json` and `.png`.

A small network on scikit-learn's digits (`pip install scikit-learn`): task 0, the
primary one, names the digit; each other task tells a set of five digits from the rest.
The main loss on a second batch is what is differentiated; Eq. 6 alone takes it on the
training batches, as OL-AUX does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import _meta_measure as measuring
import _meta_report as reporting
import jax
import optax
from _meta_figure import draw
from _meta_measure import Optimizer
from _meta_problem import SMALL, SMOOTH, WEIGHT, Problem, Sizes, make_problem

from auxjax.run import machine, parse, plain_errors, table_markdown, write_json

RESULTS = Path(__file__).parent / "results"
EPSILONS = (0.1, 0.01, 0.001)
SWEEP = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5, 1e-5)


@dataclasses.dataclass(frozen=True)
class Config:
    """Meta-gradients against the truth: error, time and memory."""

    out: Path = RESULTS
    """The folder for meta_gradients.md, .json and .png."""
    tasks: tuple[int, ...] = (2, 10, 40)
    """The numbers of tasks, main task included."""
    models: tuple[str, ...] = ("mlp", "vgg")
    """Of mlp and vgg."""
    turns: int = 24
    """How often every step is timed."""
    sweep_tasks: int = 10
    """The number of tasks for which ε and the optimizer vary."""
    smoke: bool = False
    """Small models, three tasks, two turns; nothing is written into the
    default folder."""


def optimizers() -> dict[str, Optimizer]:
    """The paper's for CIFAR first; it trains whatever is not said otherwise."""
    sgd = optax.sgd(0.1, momentum=0.9)
    clip = optax.clip_by_global_norm(0.05)  # below every norm met here: it is at work
    # Without `eps_root` the truth by brute force is NaN where a weight never had a
    # gradient, as those of a dead ReLU; the exact one is finite with and without.
    adam = optax.adam(1e-3, eps_root=1e-16)
    found = {
        "momentum": (optax.chain(optax.add_decayed_weights(5e-4), sgd), 0.1),
        "sgd": (optax.sgd(0.1), None),
        "adam": (adam, None),
        "clip, adam": (optax.chain(clip, adam), None),
    }
    return {name: Optimizer(name, *parts) for name, parts in found.items()}


def describe(problem: Problem) -> dict[str, float]:
    """Where in its training the model stands."""
    losses = problem.losses(problem.params, problem.meta_batch)
    batch = jax.tree.map(lambda x: x[0], problem.batches)
    grads = jax.grad(lambda p: WEIGHT * sum(problem.losses(p, batch)))(problem.params)
    return {
        "main loss": float(losses[0]),
        "gradient norm": float(optax.tree.norm(grads)),
        "parameters": sum(x.size for x in jax.tree.leaves(problem.params)),
    }


def collect(config: Config, sizes: Sizes) -> dict[str, list[dict]]:
    """All rows: `costs`, `others` (optimizers), `epsilons`, `points`."""
    known, begin = optimizers(), time.perf_counter()
    rows: dict[str, list[dict]] = {
        key: [] for key in ("costs", "others", "epsilons", "points")
    }

    def say(names):
        spent = time.perf_counter() - begin
        print(", ".join(map(str, names.values())), f"{spent:.0f} s", flush=True)

    def visit(kind, model, num_tasks, optimizer):
        names = {"model": model, "tasks": num_tasks, "optimizer": optimizer.name}
        problem = make_problem(model, num_tasks, optimizer.transform, sizes)

        def keep(table, found):
            rows[table] += [names | row for row in found]

        if kind != "epsilons":
            found, check = measuring.measure(problem, optimizer, config.turns)
            keep(kind, found)
            keep("points", [{**describe(problem), "check": check}])
        if kind != "others":
            is_swept = num_tasks == config.sweep_tasks and not config.smoke
            chosen = SWEEP if is_swept else EPSILONS
            keep("epsilons", measuring.sweep_epsilon(problem, optimizer, chosen))
        say(names)

    for model in config.models:
        for num_tasks in config.tasks:
            visit("costs", model, num_tasks, known["momentum"])
    visit("epsilons", SMOOTH, config.sweep_tasks, known["momentum"])
    for name in ("adam",) if config.smoke else ("sgd", "adam", "clip, adam"):
        visit("others", config.models[0], config.sweep_tasks, known[name])
    return rows


@contextlib.contextmanager
def quick_compilation() -> Iterator[None]:
    """Compiles in a third of the time what is then slow to run."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes and draws."""
    words = sys.argv[1:] if args is None else args
    config = parse(Config, args=words)
    sizes, compilation = Sizes(), contextlib.nullcontext()
    if config.smoke:
        config = dataclasses.replace(config, tasks=(3,), turns=2, sweep_tasks=3)
        sizes, compilation = SMALL, quick_compilation()
    with plain_errors(), compilation:
        load = round(os.getloadavg()[0], 2)  # of everybody's programs
        rows = collect(config, sizes)
    tables = reporting.tables(rows)
    for title, table in tables.items():
        print(f"\n{title}\n\n{table_markdown(table)}")
    if config.smoke and config.out == RESULTS:
        return
    facts = {
        "command": shlex.join(["python", "experiments/meta_gradients.py", *words]),
        "machine": machine(),
        "load": load,
        "config": config,
        "sizes": sizes,
    }
    with plain_errors():
        config.out.mkdir(parents=True, exist_ok=True)
        settings = dataclasses.asdict(config)
        del settings["out"]  # a path of this machine; the command tells it if given
        told = {**facts, "config": settings, **rows}
        write_json(config.out / "meta_gradients.json", told)
        text = reporting.markdown(facts, tables)
        (config.out / "meta_gradients.md").write_text(text)
        draw(rows, config.out / "meta_gradients.png")
    print(f"Written to {config.out}")


if __name__ == "__main__":
    main()
