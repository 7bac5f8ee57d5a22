"""OL-AUX on games: A2C with five auxiliary tasks whose weights adapt by themselves.

    python experiments/atari_a2c.py

trains on Breakout-MinAtar without auxiliary tasks and with five of them by OL-AUX-5,
and leaves `runs/Breakout-MinAtar-none-olaux/`: the comparison (`results.json`,
`learning_curve.png`, `weights.png`), and a folder per method with `config.json`,
`metrics.jsonl` and `checkpoint/`. More methods give the paper's Figures 3 to 6:

    python experiments/atari_a2c.py --methods none balance cosine olaux --seeds 5
    python experiments/atari_a2c.py --methods olaux --single-tasks --seeds 5
    python experiments/atari_a2c.py --methods olaux olaux1 olaux-ablation --seeds 5
    python experiments/atari_a2c.py --env ALE/Pong-v5 --frames 4000000

Source: Lin et al., *Adaptive Auxiliary Task Weighting for Reinforcement Learning*,
NeurIPS 2019, sections 5.3 to 5.6. MinAtar is an analogue of the paper's Atari games;
`--env ALE/...` are the games themselves.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from lab.start import needs, quick_compilation

with needs("rl", "plots"):
    import tyro

    from a2c import report
    from a2c import run as runs
    from auxjax.rl import A2CConfig
    from auxjax.run import parse, plain_errors, use_compilation_cache
    from lab.folders import choose_folder
    from lab.options import unless_said

Method = Literal["none", "balance", "cosine", "olaux", "olaux1", "olaux-ablation"]


@dataclasses.dataclass(frozen=True)
class Config(A2CConfig):
    """A2C with auxiliary tasks, one or several methods.

    Attributes:
      methods: the methods to run, one after another.
      seeds: how many seeds; all of a method's run together where the game allows it.
      first_seed: the first seed.
      single_tasks: also run `balance` with each task of `--aux` alone (Figure 4).
      score: the return to be reached in the table; by default, half of the best (twice
        the best where that is negative).
      out: the folder that runs are put in.
      name: the run's folder in it; by default made of game and methods.
      frames: frames of the game to train for.
      clip_at_zero: keep OL-AUX's weights at or above 0, as its authors' code does and
        their paper does not: below 0 a loss without an upper bound grows without end.
      resume: go on with the run that is there.
      chunk: updates between two lines of metrics.
      checkpoint_every: chunks between two checkpoints.
      smoke: a few seconds on tiny networks, to see that everything works.
      quiet: show no progress.
    """

    method: tyro.conf.Suppress[str] = "olaux"
    methods: tuple[Method, ...] = ("none", "olaux")
    seeds: int = 1
    first_seed: int = 0
    single_tasks: bool = False
    score: float | None = None
    out: Path = Path("runs")
    name: str | None = None
    frames: int = 500_000
    clip_at_zero: bool = True
    resume: bool = False
    chunk: int = 10
    checkpoint_every: int = 20
    smoke: bool = False
    quiet: bool = False

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        for field in ("seeds", "chunk", "checkpoint_every"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"`{field}` should be at least 1. Found {getattr(self, field)}."
                )
        if not self.methods:
            raise ValueError("`methods` should name at least one. Found none.")
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(
                f"`methods` should name each once. Found {' '.join(self.methods)}."
            )


SMOKE = {
    "frames": 2_000,
    "num_envs": 8,
    "rollout_length": 5,
    "features": 16,
    "hidden": 16,
    "chunk": 5,
}
SMOKE_CHOICES = {"methods": ("olaux",), "aux": ("inverse", "autoencoder")}


def main(args: list[str] | None = None) -> None:
    """Runs every variant, then compares them."""
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        if config.smoke:
            config = dataclasses.replace(config, **unless_said(SMOKE_CHOICES, args))
        use_compilation_cache()
        with quick_compilation(config.smoke):
            run(config)


def run(config: Config) -> None:
    """Every variant in a folder of its own, unless there is only one."""
    variants = runs.variants(config)
    runs.check(variants)
    folder = choose_folder(config, runs.default_name(config))
    curves = {}
    for label, agent_config in variants.items():
        path = folder / label if len(variants) > 1 else folder
        curves[label] = runs.run_variant(config, agent_config, path, label)
    report.compare(config, curves, folder)


if __name__ == "__main__":
    main()
