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
`labels.png`, images by the labels they were given.

Source: Goldfeder et al., *Generating Auxiliary Tasks with Reinforcement Learning*,
section 5; Liu et al., *Self-Supervised Generalisation with Meta Auxiliary Learning*,
arXiv 1901.08933.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lab.start import needs, quick_compilation

with needs("vision", "plots"):
    from auxjax.data import Images
    from auxjax.labelling import METHODS
    from auxjax.run import RunError, parse, plain_errors, use_compilation_cache
    from lab.folders import choose_folder
    from lab.options import unless_said
    from lab.training import say
    from labelling import report
    from labelling.data import GROUPS, Problem, Source, read
    from labelling.run import train
    from labelling.variants import AGENTS, setting, variants

SMALL = {
    "psi": 3,
    "epochs": 150,
    "learning_rate": 0.03,
    "label_learning_rate": 0.01,
    "halve_every": 40,
    "network": "cnn",
}
"""Three and ten times the paper's rates: an epoch of digits has 14 steps, one of CIFAR
500. At 0.1, samples that weigh 32 times as much kill the ReLUs of some seeds."""
LARGE = {
    "psi": 5,
    "epochs": 200,
    "learning_rate": 0.01,
    "label_learning_rate": 1e-3,
    "halve_every": 50,
    "network": "vgg16",
}
"""The paper's."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Who makes the auxiliary labels?"""

    method: tuple[str, ...] = METHODS
    """Who makes them; `human` is left out by default where nobody did."""
    source: Source = "digits"
    """What to read: the first four in superclasses, CIFAR-100 in its own 20."""
    data_dir: Path | None = None
    """Where the files of those lie that are downloaded."""
    train_size: int | None = None
    """Take only so many training images."""
    aux_weight: tuple[float, ...] = (1.0,)
    """λ, of the auxiliary loss; several for the ablation."""
    restore: tuple[Literal["epoch", "batch", "never"], ...] = ("epoch",)
    """Where the agent's main network goes back: after each `epoch`, each `batch`, or
    `never`; several for the ablation."""
    network: Literal["cnn", "vgg16"] | None = None
    """Of the main network and the one that labels. None here and below: by source."""
    channels: tuple[int, ...] = (8, 16)
    """Filters of the CNN's convolutions."""
    width: float = 1.0
    """Factor on VGG-16's channels."""
    psi: int | None = None
    """Auxiliary labels of each superclass."""
    seeds: int = 5
    """How many, all in one program."""
    first_seed: int = 0
    """The first one."""
    epochs: int | None = None
    """Of the main network."""
    eval_every: int = 2
    """Epochs between two evaluations on the test set, and between two checkpoints."""
    batch_size: int = 100
    """Images per step."""
    eval_size: int = 256
    """Images on which the agent's reward is measured."""
    learning_rate: float | None = None
    """Of the main network's SGD."""
    label_learning_rate: float | None = None
    """Of MAXL's SGD."""
    halve_every: int | None = None
    """Epochs after which these two halve."""
    meta_method: Literal["exact", "difference"] = "exact"
    """MAXL's gradient."""
    entropy_coef: float | None = None
    """Of the batch entropy; None: the papers', 1 for RL-AUX and 0.2 for MAXL."""
    weight_formula: Literal["paper", "code"] = "paper"
    """Of WA-RL's factor."""
    rollout_batches: int = 20
    """Batches that the agent labels between two updates."""
    ppo_learning_rate: float = 3e-4
    """Of PPO's Adam."""
    ppo_epochs: int = 10
    """Passes over a rollout."""
    ppo_minibatch: int = 64
    """Images of a step of PPO."""
    ppo_entropy: float = 0.01
    """Weight of the policy's entropy."""
    out: Path = Path("runs")
    """The folder that runs are put in."""
    name: str | None = None
    """The run's folder in it; by default the next free one."""
    resume: bool = False
    """Go on with the run that is there."""
    smoke: bool = False
    """Seconds, to see that everything works."""
    quiet: bool = False
    """Show no progress."""

    def __post_init__(self):
        """Checks what the command line said."""
        for field in ("method", "aux_weight", "restore"):
            given = getattr(self, field)
            if not given or len(set(given)) < len(given):
                raise ValueError(
                    f"`{field}` should name at least one, and each once. "
                    f"Found {' '.join(map(str, given)) or 'none'}."
                )
        for field in ("seeds", "epochs", "eval_every", "psi", "train_size"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ValueError(f"`{field}` should be at least 1. Found {value}.")
        if min((*self.channels, self.width)) <= 0 or not self.channels:
            raise ValueError(
                "`channels` and `width` should be above 0. "
                f"Found {self.channels} and {self.width}."
            )
        if any(getattr(self, field) is None for field in SMALL):
            resolve(self)  # is checked in its turn
            return
        if self.epochs % self.eval_every:
            raise ValueError(
                "`epochs` should be a multiple of `eval_every`. "
                f"Found {self.epochs} and {self.eval_every}."
            )
        for variant in variants(self):
            setting(self, variant)


SMOKE = {
    "seeds": 2,
    "epochs": 2,
    "eval_every": 1,
    "train_size": 300,
    "channels": (4,),
    "width": 1 / 16,
    "ppo_epochs": 2,
}
SMOKE_CHOICES = {"method": ("maxl",)}
SMOKE_TEST = 200  # images


def resolve(config: Config) -> Config:
    """Fills in what depends on the source."""
    known: dict[str, Any] = SMALL if config.source in GROUPS else LARGE
    missing = {k: v for k, v in known.items() if getattr(config, k) is None}
    return dataclasses.replace(config, **missing)


def check(config: Config, problem: Problem) -> Config:
    """The configuration without methods that the data have nothing for.

    Raises:
      RunError: the method `human` was asked for where there are no human labels, or a
        batch is larger than the data.
    """
    samples = len(problem.train.labels)
    rollout = config.batch_size * min(
        config.rollout_batches, samples // config.batch_size
    )
    if agents(config) and config.ppo_minibatch > rollout > 0:
        raise RunError(
            f"`ppo_minibatch` should be at most {rollout}, the images of a rollout. "
            f"Found {config.ppo_minibatch}."
        )
    sizes = ("batch_size", "eval_size") if agents(config) else ("batch_size",)
    for field in sizes:
        if getattr(config, field) > samples:
            raise RunError(
                f"`{field}` should be at most {samples}, the number of training "
                f"images. Found {getattr(config, field)}."
            )
    if problem.train.human is not None or "human" not in config.method:
        return config
    if config.method != METHODS:
        raise RunError(
            f"`method` should not name human: {config.source} has no finer classes. "
            f"Found {' '.join(config.method)}."
        )
    say(config, "The method `human` is left out: nobody named finer classes.")
    rest = tuple(name for name in METHODS if name != "human")
    return dataclasses.replace(config, method=rest)


def agents(config: Config) -> bool:
    """Whether a method needs images to measure a reward on."""
    return bool(set(AGENTS) & set(config.method))


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method, then says what came out."""
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        if config.smoke:
            config = dataclasses.replace(config, **unless_said(SMOKE_CHOICES, args))
        use_compilation_cache()
        with quick_compilation(config.smoke):
            run(resolve(config))


def run(config: Config) -> None:
    """Every method."""
    problem = read(config.source, config.data_dir, config.psi, config.train_size)
    if config.smoke:
        test = (part[:SMOKE_TEST] for part in problem.test[:2])
        problem = problem._replace(test=Images(*test))
    config = check(config, problem)
    folder = choose_folder(config, "rl_aux")
    say(config, problem.described)
    results = {
        variant: train(config, problem, variant, folder / variant.folder)
        for variant in variants(config)
    }
    report.write(config, problem, results, folder)


if __name__ == "__main__":
    main()
