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

It leaves `runs/dense_<study>/`: a folder per variant, `dense.md`, `.json`, `.png`, the
weights over training, and predictions beside the truth.

Source: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*, TMLR 2022, arXiv
2202.03091, sections 5.1 and 7.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lab.start import needs, quick_compilation

with needs("vision", "plots"):
    from auxjax.run import parse, plain_errors, use_compilation_cache
    from dense import problem as problems
    from dense import report
    from dense.variants import STUDIES, Variant, variants
    from lab.folders import choose_folder
    from lab.loop import train
    from lab.options import unless_said
    from lab.rules import AUXILIARY, RULES
    from lab.training import SINGLE, Training, say


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Dense prediction, every method."""

    method: tuple[str, ...] = (
        "equal",
        "dwa",
        "uncertainty",
        "gcs",
        "autolambda-all",
        "autolambda-main",
    )
    """Names out of `experiments/lab/rules.py`; those for one main task are trained once
    for every task as the main one. Single-task networks always take part."""
    study: Literal["methods", "compositions", "robustness", "groupings"] = "methods"
    """What to compare."""
    setting: Literal["both", "multi", "auxiliary"] = "both"
    """Without the noise task, with it, or both."""
    architecture: tuple[Literal["split", "mtan"], ...] = ("split",)
    """Heads on a shared trunk, or task-specific attention along it."""
    data: Literal["rooms", "nyuv2", "cityscapes"] = "rooms"
    """What to learn from."""
    data_dir: Path | None = None
    """Where the files of `nyuv2` and `cityscapes` lie."""
    size: int = 32
    """Side of the rendered rooms, pixels."""
    train_size: int = 400
    """How many rooms to train on."""
    test_size: int = 200
    """How many to test on."""
    backbone: Literal["pixels", "tiny", "small", "resnet18", "resnet50"] = "small"
    """The trunk; `pixels`, of `--smoke`, sees each pixel alone."""
    width: float | None = None
    """Factor on all its channels; by default 0.5 for `small` and 1 for the others."""
    augment: bool = True
    """Random scale, crop and flip, as the paper."""
    seeds: int = 3
    """How many, all of a method's at once."""
    epochs: int = 12
    """Passes over the training images."""
    eval_every: int = 2
    """Epochs between two evaluations, and between two checkpoints."""
    batch_size: int = 8
    """Images per step, in either stream."""
    learning_rate: float = 0.1
    """Of SGD with momentum 0.9; falls to 0 along a cosine."""
    weight_decay: float = 1e-4
    """Of SGD, on all parameters."""
    travel: float = 4.0
    """How far Adam may move a learned weight in all: its rate is this over the number
    of steps. The paper's 1e-4 over its 40,000 steps on NYUv2 is 4."""

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        if not self.architecture:
            raise ValueError("`architecture` should name at least one. Found none.")
        if self.backbone == "pixels" and "mtan" in self.architecture:
            raise ValueError(
                "`architecture` should be split where `backbone` is pixels, as with "
                f"`--smoke`. Found {' '.join(self.architecture)}."
            )
        for field in ("size", "train_size", "test_size", "width", "learning_rate"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise ValueError(f"`{field}` should be above 0. Found {value}.")
        chosen = self.method != Config.method or self.setting != "both"
        if self.study != "methods" and chosen:
            raise ValueError(
                "`method` and `setting` should not be given with the study "
                f"{self.study}, which has its own. Found {' '.join(self.method)} and "
                f"{self.setting}."
            )
        kinds = {RULES[name].kind for name in self.method if name != SINGLE}
        if self.setting == "multi" and kinds <= {AUXILIARY}:
            raise ValueError(
                "`method` should name one that takes all tasks alike where `setting` "
                f"is multi. Found {' '.join(self.method)}."
            )


SMOKE = {
    "seeds": 2,
    "epochs": 2,
    "eval_every": 1,
    "size": 16,
    "train_size": 8,
    "test_size": 8,
    "backbone": "pixels",
    "augment": False,
}
SMOKE_METHODS = {"method": ("equal",), "setting": "auxiliary"}


def main(args: Sequence[str] | None = None) -> None:
    """Trains every variant, then says what came out."""
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        if config.smoke and config.study == "methods":
            config = dataclasses.replace(config, **unless_said(SMOKE_METHODS, args))
        use_compilation_cache()
        with quick_compilation(config.smoke):
            run(config)


def few(config: Config, chosen: Sequence[Variant]) -> list[Variant]:
    """One single-task network and the first variant; of methods, one of each."""
    first: dict[str, Variant] = {}
    for variant in chosen:
        first.setdefault(variant.method, variant)
    return list(first.values())[: None if config.study == "methods" else 2]


def run(config: Config) -> None:
    """Every variant of the study."""
    scenes = problems.load(config)
    folder = choose_folder(config, f"dense_{config.study}")
    described = problems.describe(config, *scenes)
    say(config, described)
    results = {}
    chosen = variants(config, problems.tasks_of(scenes[0]))
    for variant in few(config, chosen) if config.smoke else chosen:
        problem = problems.make(config, *scenes, variant)
        curves, state = train(
            problem,
            variant.method,
            config,
            folder / variant.folder,
            label=variant.label,
            rule=variant.rule,
            second_stream=variant.second_stream,
        )
        shown = report.predict(problem, state) if variant.shown else None
        results[variant] = report.Result(curves, shown)
    title = STUDIES[config.study]
    report.write(config, title, results, described, folder, scenes[1])


if __name__ == "__main__":
    main()
