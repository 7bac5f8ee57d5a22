"""Auxiliary labels that are generated: RL-AUX, WA-RL, MAXL, WA-MAXL, and baselines.

    python experiments/rl_aux.py

The main task is to name an image's superclass; the auxiliary task a finer label, made
by an agent (RL-AUX), by a label network (MAXL), by people, by k-means, or at random.
By default scikit-learn's digits in four superclasses, parity times size: **an
analogue** of the paper's CIFAR-100 in 20 superclasses. That itself, with its VGG-16:

    python experiments/rl_aux.py --source cifar100 --data-dir FOLDER

Its ablations: `--method rl --aux-weight 0.25 0.5 1 2 4` and `--method rl --restore
epoch batch never`.

It leaves `runs/rl_aux/`: a folder per method, `rl_aux.md`, `.json` and `.png`, and
`rl_aux_labels.png`, images by the labels they were given.

Source: Goldfeder et al., *Generating Auxiliary Tasks with Reinforcement Learning*,
section 5; Liu et al., *Self-Supervised Generalisation with Meta Auxiliary Learning*,
arXiv 1901.08933.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from lab.start import needs

with needs("vision", "plots"):
    from auxjax.labelling import METHODS, LabellingConfig
    from lab import main as script
    from lab.folders import choose_folder
    from lab.options import free
    from lab.report import write
    from lab.training import say
    from labelling.data import DataOptions, few_to_test, read
    from labelling.networks import NetworkOptions
    from labelling.report import report
    from labelling.run import train
    from labelling.variants import AgentOptions, check, fitting, resolve, variants


@dataclasses.dataclass(frozen=True)
class Config(DataOptions, NetworkOptions, LabellingConfig):
    """Who makes the auxiliary labels? What is None by default depends on the source.

    Every field of the library's configuration is an option, so the class inherits it.
    Those that are here are lists, for comparisons, or depend on the source: so `check`
    makes the library's own configuration of every training, which checks itself.
    """

    method: tuple[str, ...] = free(METHODS)
    """Who makes them; `human` is left out by default where nobody did."""
    aux_weight: tuple[float, ...] = free((1.0,))
    """λ, of the auxiliary loss; several for the ablation."""
    restore: tuple[Literal["epoch", "batch", "never"], ...] = free(("epoch",))
    """Where the agent's main network goes back: after each `epoch`, each `batch`, or
    `never`; several for the ablation."""
    seeds: int = 5
    """How many, all in one program."""
    first_seed: int = 0
    """The first one."""
    epochs: int | None = None
    """Of the main network."""
    eval_every: int = 2
    """Epochs between two evaluations on the test set, and between two checkpoints."""
    learning_rate: float | None = None
    """Of the main network's SGD."""
    label_learning_rate: float | None = None
    """Of MAXL's SGD."""
    halve_every: int | None = None
    """Epochs after which the main network's and MAXL's learning rates halve."""
    label_weight_decay: float = LabellingConfig.label_weight_decay
    """Of MAXL's label network."""
    ppo: AgentOptions = dataclasses.field(default_factory=AgentOptions)
    """The agent's hyper-parameters."""

    def __post_init__(self):
        """Checks what the command line said; the library checks its own fields."""
        super().__post_init__()
        self.each_once("method", "aux_weight", "restore")
        self.at_least_one("seeds", "epochs", "eval_every")
        check(self)


SMOKE = {"seeds": 2, "epochs": 2, "eval_every": 1, "train_size": 300, "channels": (4,)}
SMOKE |= {"width": 1 / 16, "ppo": AgentOptions(epochs=2)}
SMOKE_CHOICES = {"method": ("maxl",)}


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, SMOKE_CHOICES)


def run(said: Config) -> None:
    """Every method."""
    config: Any = resolve(said)
    problem = read(config.source, config.data_dir, config.psi, config.train_size)
    if config.smoke:
        problem = few_to_test(problem)
    config = fitting(config, problem)
    folder = choose_folder(config, "rl_aux")
    say(config, problem.described)
    results = {
        variant: train(config, problem, variant, folder / variant.folder)
        for variant in variants(config)
    }
    write(config, report(config, problem, results), folder)


if __name__ == "__main__":
    main()
