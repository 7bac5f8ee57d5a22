"""Which problems `meta_gradients.py` measures, for which table, and all their rows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jax
import optax

from lab.training import say
from meta_gradients.measure import Optimizer, measure, sweep_epsilon
from meta_gradients.networks import SMOOTH, Sizes
from meta_gradients.problem import WEIGHT, Problem, make_problem

EPSILONS = (0.1, 0.01, 0.001)
SWEEP = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5, 1e-5)

Rows = dict[str, list[dict]]


def optimizers() -> dict[str, Optimizer]:
    """The paper's for CIFAR first; it trains whatever is not said otherwise."""
    sgd = optax.sgd(0.1, momentum=0.9)
    clip = optax.clip_by_global_norm(0.05)  # below every norm met here: it is at work
    # Without `eps_root` the truth by brute force is NaN where a weight never had a
    # gradient, as those of a dead ReLU; the exact one is finite with and without.
    adam = optax.adam(1e-3, eps_root=1e-16)
    parts = {
        "momentum": (optax.chain(optax.add_decayed_weights(5e-4), sgd), 0.1),
        "sgd": (optax.sgd(0.1), None),
        "adam": (adam, None),
        "clip, adam": (optax.chain(clip, adam), None),
    }
    return {name: Optimizer(name, *each) for name, each in parts.items()}


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


def visit(
    config: Any, sizes: Sizes, kind: str, model: str, tasks: int, optimizer: Optimizer
) -> Rows:
    """The rows of one problem, for the tables that it is there for."""
    names = {"model": model, "tasks": tasks, "optimizer": optimizer.name}
    problem = make_problem(model, tasks, optimizer.transform, sizes)
    rows: Rows = {}
    truth = None

    def keep(table, measured):
        rows[table] = [names | row for row in measured]

    if kind != "epsilons":
        costs, check, truth = measure(problem, optimizer, config.turns, sizes.dtypes)
        keep(kind, costs)
        keep("points", [{**describe(problem), "check": check}])
    if kind != "others":
        is_swept = tasks == config.sweep_tasks and not config.smoke
        swept = (problem, optimizer, SWEEP if is_swept else EPSILONS)
        keep("epsilons", sweep_epsilon(*swept, sizes.dtypes, truth))
    return rows


def visits(config: Any) -> list[tuple[str, str, int, Optimizer]]:
    """Which problems there are, and for which table."""
    known, swept = optimizers(), config.sweep_tasks
    planned = [
        ("costs", model, tasks, known["momentum"])
        for model in config.models
        for tasks in config.tasks
    ]
    if not config.smoke:
        planned.append(("epsilons", SMOOTH, swept, known["momentum"]))
        for name in ("sgd", "adam", "clip, adam"):
            planned.append(("others", config.models[0], swept, known[name]))
    return planned


def collect(config: Any, sizes: Sizes, folder: Path) -> Rows:
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
        for table, more in json.loads(kept.read_text("utf-8")).items():
            rows[table] += more
        spent = time.perf_counter() - begin
        say(config, f"{stem}: {spent:.0f} s")
    return rows
