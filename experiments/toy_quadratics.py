"""The papers' problems in the plane, and whether what they say of them is so.

OL-AUX's Figure 2: one auxiliary loss helps, another is the main loss's enemy. GCS's
Figures 2, 8 and 9: a loss plus a helpful loss, plus a vector field that is no loss's
gradient, plus a loss that leads astray. Every claim is measured; the program ends
with an error that names those that fail.

    python experiments/toy_quadratics.py

It leaves `runs/toy_quadratics/`: `toy.md` and `.json` with the claims, four figures.
The starting points, and the two step sizes of OL-AUX, are not in the papers; those
below are ours. Step size, number of steps and the loss that counts as converged are.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any

from lab.start import needs

with needs("vision", "plots"):
    import jax

    import auxjax
    from auxjax.run import open_run
    from lab import main as script
    from lab.folders import choose_folder
    from lab.options import Options, may_differ
    from lab.report import write
    from toys.claims import check
    from toys.report import report
    from toys.runs import measure
    from toys.words import FAILS


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """The papers' problems in the plane, and whether what they say of them is so."""

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

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        self.at_least_one("starts", "steps", "long_steps")
        self.above_zero("step_size", "olaux_step_size", "olaux_learning_rate")


SMOKE = {"starts": 16, "steps": 100, "long_steps": 200}


def main(args: Sequence[str] | None = None, *, olaux: Any = None) -> None:
    """Runs everything, draws, prints the table of claims.

    Args:
      args: the command line; that of the program if None.
      olaux: a rule to stand in OL-AUX's place: the wrong one has to fail.

    Raises:
      SystemExit: a claim fails.
    """
    run_with = functools.partial(run, olaux=olaux)
    failed = script.start(Config, run_with, args, __doc__, SMOKE)
    if failed:
        sys.exit("Failed: " + "; ".join(failed))


def run(config: Config, olaux: Any = None) -> list[str]:
    """Measures, judges and writes; returns the claims that fail."""
    folder = choose_folder(config, "toy_quadratics")
    open_run(folder, config, resume=config.resume, may_differ=may_differ(config))
    rule = olaux or auxjax.olaux(
        n=1, num_tasks=3, learning_rate=config.olaux_learning_rate
    )
    # In float64: V is as long as 1/‖θ‖, so that at ‖θ‖ < 1e-4 the rounding of float32
    # turns the sign of ⟨∇L1, V⟩ and the unweighted gate lets V through.
    with jax.enable_x64(True):
        runs = measure(config, rule)
        claims = [] if config.smoke else check(runs, config.long_steps)
        write(config, report(config, runs, claims), folder)
    return [row["claim"] for row in claims if row["verdict"] == FAILS]


if __name__ == "__main__":
    main()
