"""Segmentation, depth and normals together: Auto-λ's Tables 1, 4, 5, Figures 3 to 6, 9.

    python experiments/dense_prediction.py

trains a network on three tasks at once, by every method, with and without a fourth task
whose target is pure noise, and against three networks that learn a task each. By
default on rendered rooms, **an analogue** of the paper's data; on the data themselves:

    python experiments/dense_prediction.py --data nyuv2 --data-dir FOLDER \
        --backbone resnet50 --batch-size 4 --epochs 200

| `--study` | | paper |
|---|---|---|
| `methods` | every method, multi-task and auxiliary | Table 1, Figures 3, 4, 9 |
| `compositions` | weightings with aggregators | Table 5 |
| `robustness` | Auto-λ's settings; exact and finite difference | Table 4, Figure 6 |
| `groupings` | fixed pairs of tasks | Figure 5 |

It leaves `runs/dense_<study>/`: a folder per variant; `dense.md`, `.json` and `.png`
(but for `methods` they are `dense_<study>…`), the weights over training, predictions.

Source: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*, TMLR 2022, arXiv
2202.03091, sections 5.1 and 7.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lab.start import needs

with needs("vision", "plots"):
    from dense import problem as problems
    from dense.figures import predict
    from dense.report import Result, report
    from dense.variants import check, few, smoke_choices, variants
    from lab import main as script
    from lab.folders import choose_folder
    from lab.loop import train
    from lab.options import free
    from lab.report import write
    from lab.training import Training, say


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Dense prediction, every method."""

    method: tuple[str, ...] = free(
        ("equal", "dwa", "uncertainty", "gcs", "autolambda-all", "autolambda-main")
    )
    """By the names in `auxjax.rules`; those for one main task are trained once
    for every task as the main one. Single-task networks always take part."""
    study: Literal["methods", "compositions", "robustness", "groupings"] = "methods"
    """What to compare."""
    setting: Literal["both", "multi", "auxiliary"] = free("both")
    """Without the noise task, with it, or both."""
    architecture: tuple[Literal["split", "mtan"], ...] = free(("split",))
    """Heads on a shared trunk, or task-specific attention along it."""
    data: Literal["rooms", "nyuv2", "cityscapes"] = "rooms"  # what to learn from
    data_dir: Path | None = free(None)  # where `nyuv2` and `cityscapes` lie
    size: int = 32  # side of the rendered rooms, pixels
    train_size: int = 400  # how many rooms to train on
    test_size: int = 200  # how many to test on
    backbone: Literal["pixels", "tiny", "small", "resnet18", "resnet50"] = "small"
    """The trunk; `pixels`, of `--smoke`, sees each pixel alone."""
    width: float | None = None
    """Factor on all its channels; by default 0.5 for `small` and 1 for the others."""
    augment: bool = True  # random scale, crop and flip, as the paper
    epochs: int = 12
    eval_every: int = 2
    batch_size: int = 8
    """Images per step, in either stream."""
    learning_rate: float = 0.1  # of SGD, momentum 0.9; falls to 0 along a cosine
    weight_decay: float = 1e-4  # of SGD, on all parameters
    travel: float = 4.0
    """How far Adam may move a learned weight in all: its rate is this over the number
    of steps. The paper's 1e-4 over its 40,000 steps on NYUv2 is 4."""
    clip_at_zero: bool = True
    """Keep OL-AUX's weights at or above 0, as its code does and its paper does not."""

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        self.each_once("architecture")
        self.above_zero("size", "train_size", "test_size", "width", "learning_rate")
        check(self)


SMOKE = {"seeds": 2, "epochs": 2, "eval_every": 1, "backbone": "pixels"}
SMOKE |= {"size": 16, "train_size": 8, "test_size": 8, "augment": False}


def main(args: Sequence[str] | None = None) -> None:
    """Trains every variant, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, smoke_choices)


def run(config: Config) -> None:
    """Every variant of the study."""
    scenes = problems.load(config)
    described = problems.describe(config, *scenes)
    folder = choose_folder(config, f"dense_{config.study}")
    say(config, described)
    results = {}
    chosen = variants(config, problems.tasks_of(scenes[0]))
    for variant in few(chosen, config.study) if config.smoke else chosen:
        problem = problems.make(config, *scenes, variant)
        path = folder / variant.folder
        curves, state = train(problem, variant.method, config, path, **variant.how)
        shown = predict(problem, state) if variant.shown else None
        results[variant] = Result(curves, shown)
    write(config, report(config, results, described, scenes[1]), folder)


if __name__ == "__main__":
    main()
