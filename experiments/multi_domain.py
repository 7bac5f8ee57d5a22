"""Many domains, one network: which ones help? Auto-λ's Tables 2 and 7, Figure 11.

    python experiments/multi_domain.py

Each domain is a problem of five classes with images of its own; all share a trunk, each
has its own head. In the multi-task setting all domains count; in the auxiliary setting
one of them is the main task, and the others may help it. By default the domains are
**an analogue** made of real digits: 0-4 and 5-9, each plain, turned, inverted,
mirrored and zoomed, so that it is known which ones have something in common. The
paper's own, the 20 coarse classes of CIFAR-100 with VGG-16:

    python experiments/multi_domain.py --source cifar100 --data-dir FOLDER \
        --epochs 200 --seeds 2 --primaries $(seq 20)

It leaves `runs/multi_domain/`: a folder per training; in `multi_domain.md`, `.json` and
`.png` accuracies, and the learned weights as a matrix.

Source: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*, TMLR 2022, arXiv
2202.03091, section 5.2, appendices A and E.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from lab.start import needs

with needs("vision", "plots"):
    from domains.data import DomainSource, few, load_domains
    from domains.problem import make
    from domains.report import report
    from lab import main as script
    from lab.folders import choose_folder
    from lab.loop import train
    from lab.options import free
    from lab.primaries import ManyTasks, choose_primaries, train_all
    from lab.report import write
    from lab.training import SINGLE, say


@dataclasses.dataclass(frozen=True)
class Config(ManyTasks):
    """Domains with a shared trunk, as many tasks and as helpers of one."""

    method: tuple[str, ...] = free(
        (SINGLE, "equal", "uncertainty", "dwa", "autolambda-all")
    )
    """In the multi-task setting, by the names in `auxjax.rules`; `single` is a network
    for each domain."""
    aux: tuple[str, ...] = free(("gcs", "autolambda-main"))
    primaries: tuple[int, ...] = free(())
    """Which domains take turns as the main task, by number from 1. By default four."""
    source: DomainSource = "mnist_5000"
    """What to read."""
    shrink: int | None = None
    """How many pixels along a side become one, their mean; to save time. By default 2
    for the 28x28 images of `mnist_5000` and its like, otherwise 1."""
    network: Literal["auto", "cnn", "vgg16"] = "auto"
    """The trunk; by default `vgg16` for photographs and `cnn` for digits."""
    epochs: int = 30
    """Passes over the training images of every domain; the paper's is 200."""
    batch_size: int = 32
    """Images of each domain per step."""
    learning_rate: float | None = None
    """Of SGD with momentum 0.9 and weight decay 5e-4; falls to 0 along a cosine. By
    default the paper's 0.1 for `vgg16`, and 0.02 for `cnn`, which has no
    normalisation."""
    weight_travel: float | None = None
    """How far Adam may move a learned weight in all: its rate is this over the number
    of steps. By default 4.68 for `vgg16`, the paper's 3e-4 over its 15,600 steps, and 1
    for `cnn`: in a short training larger steps make a weight negative before it has
    learned anything, and without normalisation the network does not survive that."""

    def __post_init__(self):
        """Checks what the command line said, and sets what it left open."""
        super().__post_init__()
        self.above_zero("learning_rate", "weight_travel")
        photographs = self.source == "cifar100"
        self.fill(network="vgg16" if photographs else "cnn")
        self.fill(shrink=1 if photographs or self.source == "digits" else 2)
        rate, travel = (0.1, 4.68) if self.network == "vgg16" else (0.02, 1.0)
        self.fill(learning_rate=rate, weight_travel=travel)
        self.at_least_one("shrink")
        if photographs and self.shrink != 1:
            raise ValueError(f"`shrink` should be 1 for cifar100. Found {self.shrink}.")


SMOKE = {"seeds": 2, "epochs": 2, "eval_every": 1, "batch_size": 8, "width": 0.25}
SMOKE_CHOICES = {"method": (SINGLE,), "aux": (), "source": "digits", "shrink": None}


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method in both settings, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, SMOKE_CHOICES)


def run(config: Config) -> None:
    """Reads the data, trains everything, and writes the report."""
    *parts, described = load_domains(config.source, config.data_dir, config.shrink or 1)
    data, test = map(few, parts) if config.smoke else parts
    every = range(1, len(data.names) + 1)
    primaries = choose_primaries(config, every, 4)  # a wrong one is said at once
    folder = choose_folder(config, "multi_domain")
    say(config, described)

    def learn(method, primary, path):
        label = method if primary is None else f"{data.names[primary]}: {method}"
        problem = make(config, data, test, method, primary)
        return train(problem, method, config, path, label=label)[0]

    trained = train_all(config, primaries, learn, folder)
    write(config, report(config, trained, data.domains, described), folder)


if __name__ == "__main__":
    main()
