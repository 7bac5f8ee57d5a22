"""The papers' problems in the plane, and whether what they say of them is so.

OL-AUX's Figure 2: one auxiliary loss helps, another is the main loss's enemy. GCS's
Figures 2, 8 and 9: a loss plus a helpful loss, plus a vector field that is no loss's
gradient, plus a loss that leads astray. Every claim is measured; the program ends
with an error that names those that fail.

    python experiments/toy_quadratics.py

The starting points, and the two step sizes of OL-AUX, are not in the papers; those
below are ours. Step size, number of steps and the loss that counts as converged are.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lab.start import needs, quick_compilation

with needs("vision", "plots"):
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import auxjax
    from auxjax.run import machine, parse, plain_errors, write_json
    from lab.folders import choose_folder
    from lab.report import tell, verdicts
    from toys import claims, figures


@dataclasses.dataclass(frozen=True)
class Config:
    """The papers' problems in the plane, and whether what they say of them is so."""

    out: Path = Path("runs")
    """The folder that runs are put in."""
    name: str | None = None
    """The run's folder in it; by default the next free one."""
    smoke: bool = False
    """Few starting points and steps: all figures, no claim is checked."""
    seed: int = 0
    """Of the random starting points."""
    starts: int = 256
    """How many random starting points, in [-2, 2]²; all have a main loss above 0.1."""
    steps: int = 600
    """Of every run."""
    long_steps: int = 20_000
    """Of the runs that show what converges in the end (GCS, Figure 9)."""
    step_size: float = 0.01
    """Of gradient descent on GCS's problems."""
    olaux_step_size: float = 0.05
    """α of OL-AUX's problem."""
    olaux_learning_rate: float = 0.03
    """βα of OL-AUX's problem: how fast the weights move. From 0.01 to 0.1 all claims
    hold; at 0.001 the main loss is still 0.15 after 600 steps."""


class Problem(NamedTuple):
    """A main loss and what is to be chained into the optimizer beside it."""

    main: Callable[[jax.Array], jax.Array]  # [2] -> []
    rows: Callable[[jax.Array], Any]  # [2] -> a TaskJacobian, or stacked gradients


class Runs(NamedTuple):
    """Descents from many starting points, as numpy arrays."""

    path: np.ndarray  # [starts, steps + 1, 2]
    loss: np.ndarray  # [starts, steps + 1], the main task's
    weights: np.ndarray  # [starts, steps + 1, T], of the last update


def bowl(centre: Sequence[float]) -> Callable[[jax.Array], jax.Array]:
    """θ ↦ ‖θ - centre‖²."""
    return lambda theta: jnp.sum((theta - jnp.asarray(centre, theta.dtype)) ** 2)


def half_flat(theta: jax.Array) -> jax.Array:
    """GCS's L2: a bowl on the left, a dent in a plain on the right."""
    square = jnp.sum(theta**2)
    return jnp.where(theta[0] < 0, square, 1 - jnp.exp(-2 * square))


def swirl(theta: jax.Array) -> jax.Array:
    """GCS's V: turns about the origin and pushes away from it; nobody's gradient."""
    turned = jnp.stack([-theta[1], theta[0]])
    return turned / jnp.sum(theta**2) - 2 * theta


def of_losses(*losses: Callable[[jax.Array], jax.Array]) -> Problem:
    """Losses, the main task's first: the rows come from `auxjax.task_jacobian`."""

    def rows(theta):
        return auxjax.task_jacobian(lambda x: tuple(f(x) for f in losses), theta)

    return Problem(losses[0], rows)


def of_field(main: Callable, field: Callable) -> Problem:
    """A loss and a vector field: the rules take stacked gradients `[T, 2]` as well."""
    return Problem(main, lambda x: jnp.stack([jax.grad(main)(x), field(x)]))


SMOKE = {"starts": 16, "steps": 100, "long_steps": 200}

L1, L3, L4 = bowl((0, 0)), bowl((1, 1)), bowl((2, 0.5))
OLAUX_PROBLEM = of_losses(L1, bowl((0.5, 0.5)), lambda theta: -L1(theta))
GCS_PROBLEMS = {
    "L1 + L3": of_losses(L1, L3),
    "L1 + V": of_field(L1, swirl),
    "L2 + L4": of_losses(half_flat, L4),
}
GCS_METHODS = {
    "main only": auxjax.fixed([1, 0]),
    "plain sum": auxjax.sum_tasks(),
    "GCS": auxjax.gcs(),
    "weighted GCS": auxjax.gcs(weighted=True),
}
# Four corners for OL-AUX; for GCS's Figure 2 one start in every quarter.
CORNERS = [[1, 1], [-1, 1], [-1, -1], [1, -1]]
QUARTERS = [[0.9, 0.8], [-1.6, 1.2], [-1.2, -1.0], [0.5, -1.2]]


def descend(
    problem: Problem, rule: Any, starts: Any, *, steps: int, step_size: float
) -> Runs:
    """Gradient descent from every starting point at once."""
    tx = optax.chain(rule, optax.sgd(step_size))

    def step(carry, _):
        theta, state = carry
        weights = optax.tree.get(state, "weights", jnp.ones(()))
        updates, new_state = tx.update(problem.rows(theta), state, theta)
        seen = theta, problem.main(theta), weights
        return (optax.apply_updates(theta, updates), new_state), seen

    @jax.jit
    @jax.vmap
    def run(start):
        return jax.lax.scan(step, (start, tx.init(start)), length=steps + 1)[1]

    return Runs(*(np.asarray(x) for x in run(jnp.asarray(starts, float))))


def random_starts(config: Config, main: Callable) -> jax.Array:
    """`[starts, 2]` uniform in [-2, 2]², none of them converged already."""
    box = jax.random.uniform(
        jax.random.key(config.seed), (2 * config.starts, 2), minval=-2, maxval=2
    )
    return box[jax.vmap(main)(box) >= claims.CONVERGED][: config.starts]


def run_olaux(config: Config, rule: Any) -> dict[str, Runs]:
    """Fixed weights and OL-AUX from the four corners."""
    methods = {"fixed weights": auxjax.fixed([1, 1, 1]), "OL-AUX": rule}
    run = functools.partial(descend, OLAUX_PROBLEM, starts=CORNERS, steps=config.steps)
    return {
        name: run(rule=method, step_size=config.olaux_step_size)
        for name, method in methods.items()
    }


def run_gcs(config: Config) -> dict[str, dict[str, Runs]]:
    """Every problem by every method, from `QUARTERS` and from random points."""

    def run(name, rule):
        problem = GCS_PROBLEMS[name]
        starts = [*QUARTERS, *random_starts(config, problem.main)]
        steps = config.long_steps if name == "L2 + L4" else config.steps
        return descend(problem, rule, starts, steps=steps, step_size=config.step_size)

    return {
        name: {method: run(name, rule) for method, rule in GCS_METHODS.items()}
        for name in GCS_PROBLEMS
    }


def measure(config: Config, rule: Any) -> dict[str, Any]:
    """All runs: OL-AUX's, GCS's Figure 2, Figures 8 and 9, and the long ones."""
    gcs = run_gcs(config)

    def cut(runs, starts, steps):
        return Runs(*(x[starts, : steps + 1] for x in runs))

    def part(starts):
        return {
            name: {method: cut(r, starts, config.steps) for method, r in runs.items()}
            for name, runs in gcs.items()
        }

    drawn, others = slice(len(QUARTERS)), slice(len(QUARTERS), None)
    return {
        "olaux": run_olaux(config, rule),
        "examples": part(drawn),
        "random": part(others),
        "long": {
            method: cut(runs, others, config.long_steps)
            for method, runs in gcs["L2 + L4"].items()
        },
    }


def draw(runs: dict[str, Any], out: Path) -> None:
    """The papers' figures."""
    mains = {name: problem.main for name, problem in GCS_PROBLEMS.items()}
    alignments = {
        name: functools.partial(alignment, problem)
        for name, problem in GCS_PROBLEMS.items()
    }
    figures.olaux(runs["olaux"], L1, out / "olaux_figure2.png")
    figures.gcs_grid(runs["examples"], mains, out / "gcs_figure2.png")
    for number, names in {8: ("L1 + L3", "L1 + V"), 9: ("L2 + L4",)}.items():
        shown = {name: runs["random"][name] for name in names}
        figures.gcs_random(shown, mains, alignments, out / f"gcs_figure{number}.png")


def alignment(problem: Problem, theta: jax.Array) -> jax.Array:
    """cos(∇L_main, auxiliary gradient or field) at one point."""
    jac = auxjax.as_jacobian(problem.rows(theta))
    norms = jac.norms()
    return jac.jvp(jac.row(0))[1] / (norms[0] * norms[1])


def main(args: Sequence[str] | None = None, *, olaux: Any = None) -> None:
    """Runs everything, draws, prints the table of claims.

    Args:
      args: the command line; that of the program if None.
      olaux: a rule to stand in OL-AUX's place: the wrong one has to fail.

    Raises:
      SystemExit: a claim fails.
    """
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        rule = olaux or auxjax.olaux(
            n=1, num_tasks=3, learning_rate=config.olaux_learning_rate
        )
        # In float64: V is as long as 1/‖θ‖, so that at ‖θ‖ < 1e-4 the rounding of
        # float32 turns the sign of ⟨∇L1, V⟩ and the unweighted gate lets V through.
        with jax.enable_x64(True), quick_compilation(config.smoke):
            failed = run(config, rule)
    if failed:
        sys.exit("Failed: " + "; ".join(failed))


def run(config: Config, rule: Any) -> list[str]:
    """Measures, writes, draws and prints; returns the claims that fail."""
    folder = choose_folder(config, "toy_quadratics")
    folder.mkdir(parents=True, exist_ok=True)
    runs = measure(config, rule)
    found = verdicts(config, claims.check, runs, config.long_steps)
    facts = {"config": config, "machine": machine(), "claims": found}
    write_json(folder / "results.json", facts)
    draw(runs, folder)
    tell(config, {"The papers' claims": found} if found else {}, [], folder)
    return [row["claim"] for row in found if row["verdict"] == claims.FAILS]


if __name__ == "__main__":
    main()
