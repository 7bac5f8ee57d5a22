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

It leaves `runs/multi_domain/`: a folder a training, `multi_domain.md`, `.json` and
`.png`: accuracies, and the learned weights as a matrix.

Source: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*, TMLR 2022, arXiv
2202.03091, section 5.2, appendices A and E.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lab.start import needs, quick_compilation

with needs("vision", "plots"):
    import numpy as np

    from auxjax.run import RunError, parse, plain_errors, use_compilation_cache
    from domains import report
    from domains.data import Domains, DomainSource, load_domains
    from domains.problem import make_problem, make_singles
    from lab.folders import choose_folder
    from lab.loop import train
    from lab.options import unless_said
    from lab.rules import check_names, spelled_out
    from lab.training import SINGLE, Training, say


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Domains with a shared trunk, as many tasks and as helpers of one."""

    method: tuple[str, ...] = (SINGLE, "equal", "uncertainty", "dwa", "autolambda-all")
    """In the multi-task setting: names out of `experiments/lab/rules.py`, and `single`,
    a network for each domain."""
    auxiliary: tuple[str, ...] = ("gcs", "autolambda-main")
    """In the auxiliary setting; none, as in `--auxiliary` alone, leaves it out."""
    primaries: tuple[int, ...] = ()
    """Which domains take turns as the main task, by number, the first is 1. By default
    four, evenly spread."""
    source: DomainSource = "mnist_5000"
    """What to read."""
    data_dir: Path | None = None
    """Where the files of `cifar100`, `mnist` and `fashion_mnist` lie."""
    shrink: int | None = None
    """How many pixels along a side become one, their mean; to save time. By default 2
    for the 28x28 images of `mnist_5000` and its like, otherwise 1."""
    network: Literal["auto", "cnn", "vgg16"] = "auto"
    """The trunk; by default `vgg16` for photographs and `cnn` for digits."""
    width: float = 1.0
    """Factor on the trunk's channels."""
    seeds: int = 3
    """How many, all of a method's at once."""
    epochs: int = 30
    """Passes over the training images of every domain; the paper's is 200."""
    eval_every: int = 5
    """Epochs between two points of the curves."""
    batch_size: int = 32
    """Images of each domain a step."""
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
        """Checks what the command line said."""
        super().__post_init__()
        names = spelled_out(self.auxiliary, type(self).auxiliary)
        object.__setattr__(self, "auxiliary", names)
        check_names(self.auxiliary)
        if len(set(self.auxiliary)) < len(self.auxiliary):
            raise ValueError(
                f"`auxiliary` should name each once. Found {' '.join(self.auxiliary)}."
            )
        if len(set(self.primaries)) < len(self.primaries):
            raise ValueError(
                f"`primaries` should name each once. Found {self.primaries}."
            )
        for field in ("width", "weight_travel", "learning_rate"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise ValueError(f"`{field}` should be above 0. Found {value}.")
        if self.shrink is None:
            small = self.source in ("digits", "cifar100")
            object.__setattr__(self, "shrink", 1 if small else 2)
        if self.shrink < 1 or (self.source == "cifar100" and self.shrink > 1):
            raise ValueError(
                "`shrink` should be at least 1, and 1 for `cifar100`. "
                f"Found {self.shrink}."
            )
        if self.network == "auto":
            chosen = "vgg16" if self.source == "cifar100" else "cnn"
            object.__setattr__(self, "network", chosen)

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.1 if self.network == "vgg16" else 0.02

    @property
    def travel(self) -> float:
        """How far Adam may move a learned weight."""
        if self.weight_travel is not None:
            return self.weight_travel
        return 4.68 if self.network == "vgg16" else 1.0


SMOKE = {"seeds": 2, "epochs": 2, "eval_every": 1, "batch_size": 8, "width": 0.25}
SMOKE_CHOICES = {
    "method": (SINGLE,),
    "auxiliary": (),
    "source": "digits",
    "shrink": None,
}
SMOKE_DOMAINS = (0, 1, 5, 6)  # two of either classes, in two looks


def choose_primaries(config: Config, count: int) -> tuple[int, ...]:
    """The indices of the domains that take turns, in a domain's own order."""
    if not config.primaries:
        spread = np.linspace(0, count, 4, endpoint=False).astype(int)
        return tuple(spread[:1].tolist() if config.smoke else spread.tolist())
    if not all(1 <= number <= count for number in config.primaries):
        raise RunError(
            f"`primaries` should be from 1 to {count}, the number of domains. "
            f"Found {' '.join(map(str, config.primaries))}."
        )
    return tuple(number - 1 for number in config.primaries)


def run(config: Config, data: Domains, test: Domains, folder: Path) -> report.Results:
    """Every training of both settings."""
    results = report.Results(data.domains, {}, {})
    for method in config.method:
        make = make_singles if method == SINGLE else make_problem
        path = folder / f"multi-{method}"
        results.multi[method], _ = train(make(config, data, test), method, config, path)
    every = range(len(data.domains))
    for i in choose_primaries(config, len(every)) if config.auxiliary else ():
        order = [i, *(j for j in every if j != i)]
        problem = make_problem(
            config, data.only(order), test.only(order), only_first=True
        )
        for method in config.auxiliary:
            label = f"{data.domains[i].name}: {method}"
            path = folder / f"primary-{i + 1}-{method}"
            results.auxiliary[i, method], _ = train(
                problem, method, config, path, label=label
            )
    return results


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method in both settings, then says what came out."""
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        if config.smoke:
            config = dataclasses.replace(config, **unless_said(SMOKE_CHOICES, args))
        use_compilation_cache()
        data, test, described = load_domains(
            config.source, config.data_dir, config.shrink
        )
        if config.smoke:
            data, test = data.only(SMOKE_DOMAINS), test.only(SMOKE_DOMAINS)
        choose_primaries(config, len(data.domains))  # a wrong one is said at once
        folder = choose_folder(config, "multi_domain")
        say(config, described)
        with quick_compilation(config.smoke):
            results = run(config, data, test, folder)
            report.write(config, results, described, folder)


if __name__ == "__main__":
    main()
