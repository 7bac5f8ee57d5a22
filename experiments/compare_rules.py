"""All rules on one real multi-task problem: how well, and at what price?

    python experiments/compare_rules.py

trains one small network on five tasks at once, of real handwritten digits: which digit
it is, its parity, whether it is 5 or above, how many loops it has, and how far the
writing leans. Every rule of auxjax does it, with the same seeds, and so do five
networks with a task each. It leaves `runs/compare_rules/`: a folder per rule,
`compare_rules.md`, `.json` and `.png`: accuracies, the error, Δ_MTL and the time per
step.

    python experiments/compare_rules.py --method mgda cagrad autolambda-all

compares some of them. What is finished is kept, and `--resume` does not train it again.

Source of the measure: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*,
TMLR 2022, arXiv 2202.03091, Eq. 8.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from lab.start import needs

with needs("vision", "plots"):
    from compare_rules.problem import one_network_each, prepare
    from compare_rules.report import measured, report
    from compare_rules.timing import step_times
    from lab import main as script
    from lab.digit_tasks import check_sizes
    from lab.folders import choose_folder
    from lab.loop import train
    from lab.options import free
    from lab.report import write
    from lab.rules import RULES
    from lab.training import SINGLE, Training


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Every rule of auxjax on the same digits."""

    method: tuple[str, ...] = free((SINGLE, *RULES))
    """By the names in `auxjax.rules`. Equal weighting and the single-task
    networks always take part."""
    seeds: int = 5
    """How many; each draws its own split, noise and network."""
    train_size: int = 800
    """Training images; the rest of the 1,797 are for testing."""
    pixel_noise: float = 0.2
    """Deviation of the noise on every pixel, drawn once per image: without it all the
    tasks but the slant are at their ceiling."""
    hidden: int = 64
    """Units in either layer of the trunk."""
    epochs: int = 60
    """Passes over the training images."""
    eval_every: int = 20
    """Epochs between two evaluations; the last one counts."""
    batch_size: int = 32
    """Images per step, in either stream."""
    learning_rate: float = 1e-2
    """Of Adam, for every rule. With equal weighting, on other seeds, it was the best of
    1e-3, 3e-3, 1e-2 and 3e-2, and of SGD with momentum at 0.01, 0.02 and 0.05."""
    clip_at_zero: bool = True
    """Keep OL-AUX's weights at or above 0, as its code does and its paper does not."""
    turns: int = 30
    """How often every rule's step is timed, 25 steps at once."""
    noise: bool = False
    """A sixth task whose target is pure noise; it does not count in Δ_MTL."""

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        self.at_least_one("hidden", "turns")
        self.above_zero("learning_rate")
        check_sizes(self.train_size, self.batch_size)
        if not 0 <= self.pixel_noise < math.inf:
            raise ValueError(
                f"`pixel_noise` should be at least 0. Found {self.pixel_noise}."
            )

    @property
    def rules(self) -> tuple[str, ...]:
        """Their names, equal weighting first."""
        names = dict.fromkeys(("equal", *self.method))
        return tuple(name for name in names if name != SINGLE)


SMOKE = {"seeds": 2, "train_size": 64, "epochs": 2, "eval_every": 2, "hidden": 8}
SMOKE |= {"turns": 3}
SMOKE_CHOICES = {"method": ("equal",)}


def main(args: Sequence[str] | None = None) -> None:
    """Trains by every rule, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, SMOKE_CHOICES)


def run(config: Config) -> None:
    """The single-task networks, every rule, then what a step of each costs."""
    problem, folder = prepare(config), choose_folder(config, "compare_rules")
    alone = one_network_each(problem)
    curves, _ = train(alone, SINGLE, config, folder / SINGLE, label="single tasks")
    records, states = {SINGLE: measured(curves)}, {}
    for rule in config.rules:
        curves, states[rule] = train(problem, rule, config, folder / rule)
        records[rule] = measured(curves)
    for rule, times in step_times(
        problem, states, config, folder / "times.json"
    ).items():
        records[rule] |= times
    write(config, report(config, records), folder)


if __name__ == "__main__":
    main()
