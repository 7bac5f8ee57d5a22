"""Near and far pairs of classes: what the cosine tells. GCS's Figure 3.

    python experiments/class_pairs.py

The main task is to tell class A from everything else, the auxiliary task to tell class
B from everything else. Pairs are near or far by the Fréchet distance of their features
(`--pairs 2`: the two nearest and the two farthest). For each pair: the gradients'
cosine over training, and the accuracy of single-task, multi-task and gated training.

**An analogue** of the paper's ImageNet pairs: Fashion-MNIST, MNIST or their 5,000
digits, and a small CNN. ImageNet's own images can be read, with its classes by number;
what still differs from the paper then: features for the distance come from a small CNN
trained for it (the paper: a ResNetV2-50 of all ImageNet, and the classes' lowest common
ancestor), the background is 20 classes and not 998, and `resnet18` is not its ResNetV2:

    python experiments/class_pairs.py --folder IMAGENET/train --network resnet18 \
        --near 871-484 250-249 238-241 --far 920-62 926-800 48-920

It leaves `runs/class_pairs/`: a folder per pair and method, `class_pairs.md` and so on.

Source: Du et al., *Adapting Auxiliary Losses Using Gradient Similarity*, arXiv
1812.02224, section 4.1, Figure 3, Appendix D.1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lab.start import needs

with needs("vision", "plots"):
    from class_pairs.data import check_pairs, read, select
    from class_pairs.distance import choose
    from class_pairs.problem import make_problem
    from class_pairs.report import Result, report
    from lab import main as script
    from lab.folders import choose_folder
    from lab.loop import train
    from lab.options import free
    from lab.report import write
    from lab.sources import Source
    from lab.training import Training, say


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Pairs of classes, near and far."""

    source: Source = "mnist_5000"
    """What to read, unless a folder of images is given."""
    data_dir: Path | None = free(None)
    """Where the files of `mnist` and `fashion_mnist` lie."""
    folder: Path | None = free(None)
    """A folder with one folder of images per class, as ImageNet's `train`."""
    size: int = 64
    """Side of the images that are read from `folder`."""
    per_class: int = 1000
    """At most so many images of either class, in training and in testing."""
    pairs: int = free(3)
    """How many of the nearest and of the farthest pairs, where none are named."""
    near: tuple[str, ...] = free(())
    """Pairs to take as near ones, as `871-484`."""
    far: tuple[str, ...] = free(())
    """Pairs to take as far ones."""
    network: Literal["cnn", "resnet18"] = "cnn"
    """The trunk that both tasks share."""
    seeds: int = 5
    """How many, all of a method's at once."""
    epochs: int = 30
    """Passes over the training images of a pair."""
    eval_every: int = 1
    """Epochs between two points of the curves."""
    batch_size: int = 64
    """Images per step."""
    learning_rate: float = 0.02
    """Of SGD with momentum 0.9."""
    weight_travel: float = 1.0
    """How far Adam may move a learned weight in all; see `rotated_mnist.py`."""

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        self.at_least_one("pairs", "per_class")
        self.above_zero("learning_rate", "weight_travel")
        check_pairs(self)


SMOKE = {"seeds": 2, "epochs": 2, "pairs": 1, "batch_size": 16, "per_class": 32}
SMOKE_CHOICES = {"source": "digits", "method": ("gcs",)}


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method on every pair, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, SMOKE_CHOICES)


def run(config: Config) -> None:
    """Every method on every pair."""
    *images, described = read(config)
    folder = choose_folder(config, "class_pairs")
    say(config, f"{described}\nLearning features for the distance of classes …")
    results = {}
    for kind, pairs in choose(config, images[0]).items():
        for pair, distance in pairs:
            sets = [select(x, pair, i, config.per_class) for i, x in enumerate(images)]
            problem = make_problem(config, *sets)
            for method in config.method:
                name = f"{kind}-{pair}-{method}"
                curves, _ = train(problem, method, config, folder / name, label=name)
                results[kind, pair, method] = Result(distance, curves)
    write(config, report(config, results, described), folder)


if __name__ == "__main__":
    main()
