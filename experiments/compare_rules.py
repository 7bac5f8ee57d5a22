"""All rules on one real multi-task problem: how well, and at what price?

    python experiments/compare_rules.py

trains one small network on five tasks at once, of real handwritten digits: which digit
it is, its parity, whether it is 5 or above, how many loops it has, and how far the
writing leans. Every rule of auxjax does it, with the same seeds, and so do five
networks with a task each. It leaves `runs/compare_rules/`: `compare_rules.md`, `.json`
and `.png`: accuracies, the error, Δ_MTL and the time per step.

    python experiments/compare_rules.py --methods mgda cagrad autolambda-all

compares some of them. What is finished is kept, and `--resume` does not train it again.

Source of the measure: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*,
TMLR 2022, arXiv 2202.03091, Eq. 8.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab.start import needs, quick_compilation

with needs("vision", "plots"):
    from auxjax.run import open_run, parse, plain_errors, use_compilation_cache
    from compare_rules import report
    from compare_rules.problem import prepare
    from compare_rules.run import Kept, run
    from lab.folders import choose_folder
    from lab.options import unless_said
    from lab.rules import RULES, check_names, spelled_out

IMAGES = 1797


@dataclasses.dataclass(frozen=True)
class Config:
    """Every rule of auxjax on the same digits."""

    methods: tuple[str, ...] = ()
    """Names out of `experiments/lab/rules.py`; none: all of them. Equal weighting and
    the single-task networks always take part."""
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
    batch_size: int = 32
    """Images per step, in either stream."""
    learning_rate: float = 1e-2
    """Of Adam, for every rule. With equal weighting, on other seeds, it was the best of
    1e-3, 3e-3, 1e-2 and 3e-2, and of SGD with momentum at 0.01, 0.02 and 0.05."""
    turns: int = 30
    """How often every rule's step is timed, 25 steps at once."""
    noise: bool = False
    """A sixth task whose target is pure noise; it does not count in Δ_MTL."""
    out: Path = Path("runs")
    """The folder that runs are put in."""
    name: str | None = None
    """The run's folder in it; by default the next free one."""
    resume: bool = False
    """Go on with the run that is there; other methods may be added to it."""
    smoke: bool = False
    """Seconds: one rule, two seeds, few steps."""
    quiet: bool = False
    """Show no progress."""

    def __post_init__(self):
        """Checks what the command line said."""
        names = spelled_out(self.methods, type(self).methods)
        object.__setattr__(self, "methods", names)
        check_names(self.methods)
        for field in ("seeds", "train_size", "hidden", "epochs", "batch_size", "turns"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"`{field}` should be at least 1. Found {getattr(self, field)}."
                )
        if not self.batch_size <= self.train_size < IMAGES:
            raise ValueError(
                f"`train_size` should be at least `batch_size` and below {IMAGES}, the "
                f"number of images. Found {self.train_size} and {self.batch_size}."
            )
        if not self.learning_rate > 0:
            raise ValueError(
                f"`learning_rate` should be above 0. Found {self.learning_rate}."
            )
        if not 0 <= self.pixel_noise < float("inf"):
            raise ValueError(
                f"`pixel_noise` should be at least 0. Found {self.pixel_noise}."
            )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The rules' names, equal weighting first."""
        return tuple(dict.fromkeys(("equal", *(self.methods or RULES))))

    @property
    def epoch_steps(self) -> int:
        """Steps in a pass over the training images."""
        return self.train_size // self.batch_size


MAY_DIFFER = ("methods", "resume", "quiet", "out", "name")
"""What a resumed run may change."""
SMOKE = {"seeds": 2, "train_size": 64, "epochs": 2, "hidden": 8, "turns": 3}
SMOKE_CHOICES = {"methods": ("equal",)}


def main(args: Sequence[str] | None = None) -> None:
    """Trains what is not trained yet, then says what came out."""
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        if config.smoke:
            config = dataclasses.replace(config, **unless_said(SMOKE_CHOICES, args))
        use_compilation_cache()
        with quick_compilation(config.smoke):
            compare(config)


def compare(config: Config) -> None:
    """Every rule beside equal weighting and the single-task networks."""
    folder = choose_folder(config, "compare_rules")
    open_run(folder, config, resume=config.resume, may_differ=MAY_DIFFER)
    problem = prepare(
        config.seeds,
        config.train_size,
        config.hidden,
        config.pixel_noise,
        noise=config.noise,
    )
    begin = time.perf_counter()

    def log(what):
        if not config.quiet:
            print(f"{time.perf_counter() - begin:6.0f} s  {what}", file=sys.stderr)

    records = run(config, problem, Kept(folder / "records.json"), log)
    report.write(config, records, folder / "compare_rules")


if __name__ == "__main__":
    main()
