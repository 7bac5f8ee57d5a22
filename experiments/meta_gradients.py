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
import os
from collections.abc import Sequence
from typing import Literal

from lab.start import needs

with needs("vision", "plots"):
    from auxjax.run import open_run
    from lab import main as script
    from lab.folders import choose_folder
    from lab.options import Options, may_differ
    from lab.report import write
    from meta_gradients.networks import SMALL, Sizes
    from meta_gradients.report import report
    from meta_gradients.visits import collect


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Meta-gradients against the truth: error, time and memory."""

    tasks: tuple[int, ...] = (2, 10, 40)
    """The numbers of tasks, main task included."""
    models: tuple[Literal["mlp", "vgg"], ...] = ("mlp", "vgg")
    """The networks."""
    turns: int = 24
    """How often every step is timed."""
    sweep_tasks: int = 10
    """The number of tasks for which ε and the optimizer vary."""

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        self.each_once("tasks", "models")
        self.at_least_one("turns", "sweep_tasks")


SMOKE = {"tasks": (2,), "turns": 2, "sweep_tasks": 2}
SMOKE_CHOICES = {"models": ("mlp",)}


def main(args: Sequence[str] | None = None) -> None:
    """Measures, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, SMOKE_CHOICES)


def run(config: Config) -> None:
    """Every problem, or those that a stopped run left; then the report."""
    folder = choose_folder(config, "meta_gradients")
    open_run(folder, config, resume=config.resume, may_differ=may_differ(config))
    load = os.getloadavg()[0]  # of everybody's programs
    sizes = SMALL if config.smoke else Sizes()
    rows = collect(config, sizes, folder)
    write(config, report(config, sizes, rows, load), folder)


if __name__ == "__main__":
    main()
