"""What the rules cost: time, memory and flops against the number of tasks.

    python benchmarks/rules.py

Everything is relative to equal weighting written by hand: `jax.value_and_grad` of the
summed losses and `optax.sgd`. Writes `runs/benchmarks/rules.md`, `.json` and
`.png`, and ends with an error if OL-AUX or unweighted GCS cost more than promised.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optax
from _ratios import BASELINE, Benchmark, Config, Steps, by_hand, run

import auxjax

MAX_TIME, MAX_MEMORY = 2.4, 3.0  # the promise, for the rules below
PROMISED = ("olaux(n=5)", "gcs()")
DRAWN = ("sum_tasks()", *PROMISED, "gcs(weighted=True)", "olaux(n=5), stacked")


def make_steps(losses: Callable, params: Any, num_tasks: int) -> Steps:
    """Every rule's state and step; the baseline stands first."""
    sgd = optax.sgd(1e-3)

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
    steps = {BASELINE: (sgd.init(params), by_hand(losses, sgd))}
    for name, (rule, step) in rules.items():
        tx = optax.chain(rule, sgd)
        steps[name] = (tx.init(params), functools.partial(step, tx))
    return steps


def broken_promises(rows: Sequence[dict]) -> list[str]:
    """What OL-AUX and unweighted GCS cost beyond what the project promises."""
    largest = max(row["tasks"] for row in rows)
    broken = []
    for row in rows:
        if row["rule"] not in PROMISED:
            continue
        where = f"{row['rule']} on {row['model']} with {row['tasks']} tasks"
        if row["time ratio"] > MAX_TIME:
            broken.append(f"{where}: {row['time ratio']:.2f} times the time")
        if row["tasks"] == largest and row["memory ratio"] > MAX_MEMORY:
            broken.append(f"{where}: {row['memory ratio']:.2f} times the memory")
    return broken


BENCHMARK = Benchmark(
    name="rules",
    title="What the rules cost",
    intro="Relative to equal weighting written by hand: `jax.value_and_grad` of the "
    "summed losses and `optax.sgd`.",
    make_steps=make_steps,
    drawn=DRAWN,
    limits={"time ratio": [MAX_TIME], "memory ratio": [MAX_MEMORY]},
    broken=broken_promises,
    # T backward passes are slow: those take part in every eighth turn only.
    rarely={"gcs(weighted=True)": 8, "olaux(n=5), stacked": 8},
)


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    run(BENCHMARK, Config, args)


if __name__ == "__main__":
    main()
