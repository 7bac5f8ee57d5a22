"""Near and far pairs of classes: what the cosine tells. GCS's Figure 3.

    python experiments/class_pairs.py

The main task is to tell class A from everything else, the auxiliary task to tell class
B from everything else. Pairs are near or far by the Fréchet distance of their features
(`--pairs 2`: the two nearest and the two farthest). For each pair: the gradients'
cosine over training, and the accuracy of single-task, multi-task and gated training.
Background is what belongs to neither class.
**An analogue** of the paper's ImageNet pairs: Fashion-MNIST, MNIST or their 5,000
digits, and a small CNN. ImageNet's own images can be read, with its classes by number;
what still differs from the paper then: features for the distance come from a small CNN
trained for it (the paper: a ResNetV2-50 of all ImageNet, and the classes' lowest common
ancestor), the background is 20 classes and not 998, and `resnet18` is not its ResNetV2:

    python experiments/class_pairs.py --folder IMAGENET/train --network resnet18 \
        --near 871-484 250-249 238-241 --far 920-62 926-800 48-920

It leaves `runs/class_pairs/`: a folder per pair and method, `class_pairs.md`, `.json`
and `.png`.

Source: Du et al., *Adapting Auxiliary Losses Using Gradient Similarity*, arXiv
1812.02224, section 4.1, Figure 3, Appendix D.1.
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
    from class_pairs import report
    from class_pairs.distance import distances, features
    from class_pairs.problem import Pair, make_problem, read_folder, select
    from lab.folders import choose_folder
    from lab.loop import train
    from lab.options import unless_said
    from lab.sources import Source, describe, load
    from lab.training import SINGLE, Training, say


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Pairs of classes, near and far."""

    method: tuple[str, ...] = (SINGLE, "equal", "gcs")
    """Names out of `experiments/lab/rules.py`, and `single`; `equal`, or
    `multi`, is the paper's multi-task, `gcs` its gating."""
    source: Source = "mnist_5000"
    """What to read, unless a folder of images is given."""
    data_dir: Path | None = None
    """Where the files of `mnist` and `fashion_mnist` lie."""
    folder: Path | None = None
    """A folder with one folder of images per class, as ImageNet's `train`."""
    size: int = 64
    """Side of the images that are read from `folder`."""
    per_class: int = 1000
    """At most so many images of either class, in training and in testing."""
    pairs: int = 3
    """How many of the nearest and of the farthest pairs, where none are named."""
    near: tuple[str, ...] = ()
    """Pairs to take as near ones, as `871-484`."""
    far: tuple[str, ...] = ()
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
        if self.pairs > 22:
            raise ValueError(
                "`pairs` should be at most 22 of the 45 of ten classes: near and far "
                f"would overlap. Found {self.pairs}."
            )
        if self.pairs < 1 or self.size < 8:
            raise ValueError(
                "`pairs` should be at least 1 and `size` at least 8. "
                f"Found {self.pairs} and {self.size}."
            )
        for field in ("learning_rate", "weight_travel"):
            if not getattr(self, field) > 0:
                raise ValueError(
                    f"`{field}` should be above 0. Found {getattr(self, field)}."
                )
        for text in (*self.near, *self.far):
            Pair.parse(text)
        if self.folder is not None and not (self.near and self.far):
            raise ValueError(
                "`near` and `far` should name classes where `folder` is given: as "
                "`--near 871-484 --far 920-62`. Found none."
            )


SMOKE = {"seeds": 2, "epochs": 2, "pairs": 1, "batch_size": 16, "per_class": 32}
SMOKE_CHOICES = {"source": "digits", "method": ("gcs",)}


def choose(config: Config, images, labels) -> dict[str, list[tuple[Pair, float]]]:
    """The near and the far pairs, each with its distance."""
    embedded = features(images, labels, epochs=0 if config.smoke else 5)
    found = distances(embedded, np.asarray(labels))
    known = [(Pair(*pair), distance) for pair, distance in found.items()]

    def named(texts):
        wanted = [Pair.parse(text) for text in texts]
        for pair in wanted:
            if tuple(sorted(pair)) not in found:
                raise RunError(
                    f"the classes of a pair should be two of {labels.min()} to "
                    f"{labels.max()}. Found {pair}."
                )
        return [(pair, found[tuple(sorted(pair))]) for pair in wanted]

    return {
        "near": named(config.near) or known[: config.pairs],
        "far": named(config.far) or known[-config.pairs :][::-1],
    }


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method on every pair, then says what came out."""
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        if config.smoke:
            config = dataclasses.replace(config, **unless_said(SMOKE_CHOICES, args))
        use_compilation_cache()
        with quick_compilation(config.smoke):
            run(config)


def run(config: Config) -> None:
    """Every method on every pair."""
    if config.folder is None:
        data, test = load(config.source, config.data_dir)
        described = describe(config.source, data, test)
    else:
        data, test, described = read_folder(config)
    folder = choose_folder(config, "class_pairs")
    say(config, f"{described}\nLearning features for the distance of classes …")
    groups, results = choose(config, data.images, data.labels), {}
    for kind, pairs in groups.items():
        for pair, distance in pairs:
            most = config.per_class
            sets = [select(x, pair, i, most) for i, x in enumerate((data, test))]
            problem = make_problem(config, *sets)
            for method in config.method:
                path = folder / f"{kind}-{pair}-{method}"
                label = f"{kind} {pair} {method}"
                curves, _ = train(problem, method, config, path, label=label)
                results[kind, pair, method] = report.Result(distance, curves)
    report.write(config, results, described, folder)


if __name__ == "__main__":
    main()
