"""The gradient of a later loss with respect to the task weights: exact and not.

    python experiments/meta_gradients.py

Auto-λ's one-step meta-gradient exactly and by the paper's finite difference (Eq. 7),
over N steps exactly and by OL-AUX's Eq. 6, against differentiating the whole of
training twice (reverse over reverse) in float64: relative error, cosine, and time and
memory relative to equal weighting. It leaves `runs/meta_gradients/`:
`meta_gradients.md`, `.json` and `.png`.

A small network on scikit-learn's digits: task 0, the primary one, names the digit; each
other task tells a set of five digits from the rest.
The main loss on a second batch is what is differentiated; Eq. 6 alone takes it on the
training batches, as OL-AUX does.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab.start import needs, quick_compilation

with needs("vision", "plots"):
    import jax
    import optax

    from auxjax.run import machine, open_run, parse, plain_errors, write_json
    from lab.folders import choose_folder
    from lab.options import unless_said
    from lab.report import tell, write_text
    from meta_gradients import measure as measuring
    from meta_gradients import report as reporting
    from meta_gradients.figure import draw
    from meta_gradients.measure import Optimizer
    from meta_gradients.problem import (
        SMALL,
        SMOOTH,
        WEIGHT,
        Problem,
        Sizes,
        make_problem,
    )

EPSILONS = (0.1, 0.01, 0.001)
SWEEP = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5, 1e-5)


@dataclasses.dataclass(frozen=True)
class Config:
    """Meta-gradients against the truth: error, time and memory."""

    tasks: tuple[int, ...] = (2, 10, 40)
    """The numbers of tasks, main task included."""
    models: tuple[str, ...] = ("mlp", "vgg")
    """Of mlp and vgg."""
    turns: int = 24
    """How often every step is timed."""
    sweep_tasks: int = 10
    """The number of tasks for which ε and the optimizer vary."""
    out: Path = Path("runs")
    """The folder that runs are put in."""
    name: str | None = None
    """The run's folder in it; by default the next free one."""
    resume: bool = False
    """Go on with the run that is there, after the last problem it finished."""
    smoke: bool = False
    """Seconds: a small model, two tasks, two turns."""


SMOKE = {"tasks": (2,), "turns": 2, "sweep_tasks": 2}
SMOKE_CHOICES = {"models": ("mlp",)}
MAY_DIFFER = ("resume", "out", "name")
"""What a resumed run may change."""


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
    batch = jax.tree.map(lambda x: x[0], problem.batches)

    @jax.jit
    def measured(params):
        grads = jax.grad(lambda p: WEIGHT * sum(problem.losses(p, batch)))(params)
        return problem.losses(params, problem.meta_batch)[0], optax.tree.norm(grads)

    main, norm = measured(problem.params)
    return {
        "main loss": float(main),
        "gradient norm": float(norm),
        "parameters": sum(x.size for x in jax.tree.leaves(problem.params)),
    }


Rows = dict[str, list[dict]]


def visit(config: Config, sizes: Sizes, kind: str, model: str, tasks: int, optimizer):
    """The rows of one problem, for the tables that it is there for."""
    names = {"model": model, "tasks": tasks, "optimizer": optimizer.name}
    problem = make_problem(model, tasks, optimizer.transform, sizes)
    rows: Rows = {}
    truth = None

    def keep(table, found):
        rows[table] = [names | row for row in found]

    if kind != "epsilons":
        found, check, truth = measuring.measure(
            problem, optimizer, config.turns, sizes.dtypes
        )
        keep(kind, found)
        keep("points", [{**describe(problem), "check": check}])
    if kind != "others":
        is_swept = tasks == config.sweep_tasks and not config.smoke
        swept = (problem, optimizer, SWEEP if is_swept else EPSILONS)
        keep("epsilons", measuring.sweep_epsilon(*swept, sizes.dtypes, truth))
    return rows


def visits(config: Config) -> list[tuple[str, str, int, Optimizer]]:
    """Which problems there are, and for which table."""
    known, swept = optimizers(), config.sweep_tasks
    found = [
        ("costs", model, tasks, known["momentum"])
        for model in config.models
        for tasks in config.tasks
    ]
    if not config.smoke:
        found.append(("epsilons", SMOOTH, swept, known["momentum"]))
        for name in ("sgd", "adam", "clip, adam"):
            found.append(("others", config.models[0], swept, known[name]))
    return found


def collect(config: Config, sizes: Sizes, folder: Path) -> Rows:
    """All rows: `costs`, `others` (optimizers), `epsilons`, `points`."""
    rows: Rows = {key: [] for key in ("costs", "others", "epsilons", "points")}
    begin = time.perf_counter()
    for kind, model, tasks, optimizer in visits(config):
        stem = f"{kind}-{model}-{tasks}-{optimizer.name}".replace(", ", "-")
        kept = folder / f"{stem}.json"
        if not kept.exists():
            made = visit(config, sizes, kind, model, tasks, optimizer)
            unfinished = kept.with_suffix(".part")
            unfinished.write_text(json.dumps(made), encoding="utf-8")
            unfinished.replace(kept)
        for table, found in json.loads(kept.read_text("utf-8")).items():
            rows[table] += found
        spent = time.perf_counter() - begin
        print(f"{stem}: {spent:.0f} s", file=sys.stderr)
    return rows


def main(args: Sequence[str] | None = None) -> None:
    """Measures, writes, draws and prints."""
    words = sys.argv[1:] if args is None else args
    with plain_errors():
        config = parse(Config, description=__doc__, args=words, smoke=SMOKE)
        if config.smoke:
            config = dataclasses.replace(config, **unless_said(SMOKE_CHOICES, words))
        folder = choose_folder(config, "meta_gradients")
        open_run(folder, config, resume=config.resume, may_differ=MAY_DIFFER)
        sizes = SMALL if config.smoke else Sizes()
        facts = {
            "command": shlex.join(["python", "experiments/meta_gradients.py", *words]),
            "machine": machine(),
            "load": round(os.getloadavg()[0], 2),  # of everybody's programs
            "config": config,
            "sizes": sizes,
        }
        with quick_compilation(config.smoke):
            write(facts, collect(config, sizes, folder), folder)


def write(facts: dict, rows: Rows, folder: Path) -> None:
    """The numbers, the page and the figure; then the tables on the terminal."""
    tables = reporting.tables(rows)
    settings = dataclasses.asdict(facts["config"])
    del settings["out"]  # a path of this machine; the command tells it if given
    write_json(folder / "meta_gradients.json", {**facts, "config": settings, **rows})
    write_text(folder / "meta_gradients.md", reporting.markdown(facts, tables))
    draw(rows, folder / "meta_gradients.png")
    tell(facts["config"], tables, [], folder)


if __name__ == "__main__":
    main()
