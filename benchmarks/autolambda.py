"""What Auto-λ costs: exact against finite difference, against equal weighting.

    python benchmarks/autolambda.py

A whole training step with SGD, momentum and weight decay, relative to equal weighting
written by hand with the same optimizer. Writes `runs/benchmarks/autolambda.md`,
`.json` and `.png`, and ends with an error if Auto-λ costs more than promised.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax
from _ratios import BASELINE, Benchmark, Config, Steps, by_hand, run

import auxjax

EXACT, REUSED, DIFFERENCE = "exact", "exact, reused lookahead", "finite difference"
LIMITS = {EXACT: 3.3, REUSED: 2.8}  # the promise, times equal weighting
MAX_MEMORY = 4.0  # at the largest number of tasks
DRAWN = (EXACT, REUSED, DIFFERENCE, "exact, all primary", "exact, SGD lookahead")


def make_steps(losses: Callable, params: Any, num_tasks: int) -> Steps:
    """Every form's state and step; the second batch is the first one, reversed."""
    optimizer = optax.chain(
        optax.add_decayed_weights(1e-4), optax.sgd(1e-3, momentum=0.9)
    )

    def step(tx, params, state, batch):
        second = jax.tree.map(lambda x: x[::-1], batch)
        jac = auxjax.task_jacobian(losses, params, batch)
        updates, state = tx.update(
            jac, state, params, meta_losses=lambda p: losses(p, second)
        )
        return optax.apply_updates(params, updates), state, jac.losses

    autolambda = functools.partial(auxjax.autolambda, optimizer, num_tasks=num_tasks)
    apart = auxjax.scale_by_autolambda(1e-3, num_tasks=num_tasks)
    forms = {
        EXACT: autolambda(),
        REUSED: autolambda(reuse_lookahead=True),
        DIFFERENCE: autolambda(meta_gradient="finite_difference"),
        "finite difference, reused lookahead": autolambda(
            meta_gradient="finite_difference", reuse_lookahead=True
        ),
        "exact, all primary": autolambda(primary="all"),
        "exact, SGD lookahead": optax.chain(apart, auxjax.sum_tasks(), optimizer),
    }
    steps = {BASELINE: (optimizer.init(params), by_hand(losses, optimizer))}
    for name, tx in forms.items():
        steps[name] = (tx.init(params), functools.partial(step, tx))
    return steps


def broken_promises(rows: Sequence[dict]) -> list[str]:
    """What the exact forms cost beyond what the project promises."""
    times = {(r["model"], r["tasks"], r["rule"]): r["time ratio"] for r in rows}
    largest = max(row["tasks"] for row in rows)
    broken = []
    for row in rows:
        where = f"{row['rule']} on {row['model']} with {row['tasks']} tasks"
        limit = LIMITS.get(row["rule"])
        if limit is None:
            continue
        if row["time ratio"] > limit:
            broken.append(f"{where}: {row['time ratio']:.2f} times the time")
        if row["tasks"] == largest and row["memory ratio"] > MAX_MEMORY:
            broken.append(f"{where}: {row['memory ratio']:.2f} times the memory")
        rival = times[row["model"], row["tasks"], DIFFERENCE]
        if row["rule"] == EXACT and row["time ratio"] > rival:
            broken.append(
                f"{where}: {row['time ratio'] / rival:.2f} times {DIFFERENCE}"
            )
    return broken


BENCHMARK = Benchmark(
    name="autolambda",
    title="What Auto-λ costs",
    intro="A whole training step relative to equal weighting by hand, both with SGD, "
    "momentum and weight decay. One primary task, a second batch of the same size.",
    make_steps=make_steps,
    drawn=DRAWN,
    limits={"time ratio": list(LIMITS.values()), "memory ratio": [MAX_MEMORY]},
    broken=broken_promises,
)


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    run(BENCHMARK, Config, args)


if __name__ == "__main__":
    main()
