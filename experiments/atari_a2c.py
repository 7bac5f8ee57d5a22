"""OL-AUX on games: A2C with five auxiliary tasks whose weights adapt by themselves.

    python experiments/atari_a2c.py

trains on Breakout-MinAtar without auxiliary tasks and with five of them by OL-AUX-5,
and leaves `runs/Breakout-MinAtar-single-olaux/`: the comparison (`atari_a2c.md`,
`.json`, `.png` and `_weights.png`), and a folder per method with `config.json`,
`metrics.jsonl` and `checkpoint/`. More methods give the paper's Figures 3 to 6:

    python experiments/atari_a2c.py --method single log_loss gcs olaux --seeds 5
    python experiments/atari_a2c.py --method olaux --single-tasks --seeds 5
    python experiments/atari_a2c.py --method olaux olaux1 olaux-ablation --seeds 5
    python experiments/atari_a2c.py --env ALE/Pong-v5 --frames 4000000

Source: Lin et al., *Adaptive Auxiliary Task Weighting for Reinforcement Learning*,
NeurIPS 2019, sections 5.3 to 5.6. MinAtar is an analogue of the paper's Atari games;
`--env ALE/...` are the games themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from lab.start import needs

with needs("rl", "plots"):
    from tyro.conf import arg

    from a2c import run
    from a2c.report import report
    from auxjax.rl import METHOD_ALIASES, METHODS, A2CConfig
    from lab import main as script
    from lab.folders import choose_folder
    from lab.options import Options, free
    from lab.report import write
    from lab.spelling import todays_values

Methods = Annotated[tuple[str, ...], arg(metavar=f"{{{','.join(METHODS)}}} ...")]


@dataclasses.dataclass(frozen=True)
class Config(Options, A2CConfig):
    """A2C with auxiliary tasks, one or several methods.

    Attributes:
      method: the methods to run, one after another. `equal` sums all gradients,
        `log_loss` those of the auxiliary losses' logarithms, as do the rest: `gcs` with
        a gate, `olaux` and its kin with weights that learn. `none`, `balance` and
        `cosine` are called `single`, `log_loss` and `gcs`.
      seeds: how many seeds; all of a method's run together where the game allows it.
      first_seed: the first seed.
      single_tasks: also run `log_loss` with each task of `--aux` alone (Figure 4).
      score: the return to be reached in the table; by default, half of the best (twice
        the best where that is negative).
      frames: frames of the game to train for.
      clip_at_zero: keep OL-AUX's weights at or above 0, as its authors' code does and
        their paper does not: below 0 a loss without an upper bound grows without end.
      chunk: updates between two lines of metrics.
      checkpoint_every: chunks between two checkpoints.
    """

    method: Methods = ("single", "olaux")
    seeds: int = 1
    first_seed: int = 0
    single_tasks: bool = free(False)
    score: float | None = free(None)
    frames: int = free(500_000)
    clip_at_zero: bool = True
    chunk: int = 10
    checkpoint_every: int = free(20)

    def __post_init__(self):
        """Checks what the command line said; an agent's settings check themselves."""
        Options.__post_init__(self)
        object.__setattr__(self, "method", todays_values(self.method, METHOD_ALIASES))
        self.each_once("method")
        self.at_least_one("seeds", "chunk", "checkpoint_every")
        run.variants(self)


SMOKE = {
    "frames": 2_000,
    "num_envs": 8,
    "rollout_length": 5,
    "features": 16,
    "hidden": 16,
    "chunk": 5,
}
SMOKE_CHOICES = {"method": ("olaux",), "aux": ("inverse", "autoencoder")}


def main(args: Sequence[str] | None = None) -> None:
    """Runs every variant, then compares them."""
    script.start(Config, compare, args, __doc__, SMOKE, SMOKE_CHOICES)


def compare(config: Config) -> None:
    """Every variant in a folder of its own, unless there is only one."""
    agents = run.make_agents(config)
    folder = choose_folder(config, run.default_name(config))
    curves = {}
    for label, variant in agents.items():
        path = folder / label if len(agents) > 1 else folder
        curves[label] = run.run_variant(config, variant, path, label)
    write(config, report(config, curves), folder)


if __name__ == "__main__":
    main()
