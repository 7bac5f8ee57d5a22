"""40 attributes of one image with strong regularisation. Auto-λ's Figure 7.

    python experiments/celeba.py --source celeba --data-dir FOLDER --epochs 50 \
        --size 64 --network resnet18 --eval-every 1

trains every method of the figure on the faces of CelebA, which have to be downloaded,
and compares their accuracies and the time that an epoch takes. Dropout, weight decay
and the choice of the epoch by validation images are the regularisation. Without
CelebA it runs on **an analogue**: 40 yes-or-no properties of real digits (which digit,
holes, slant, symmetry, where the ink is, ...), with a small network:

    python experiments/celeba.py

Where the images do not fit on the device, `--loader host` leaves them on the host.
It leaves `runs/celeba/`: a folder a training, `celeba.md`, `.json` and `.png`.

Sources: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*, TMLR 2022,
arXiv 2202.03091, section 7.3, Figure 7. Its setting is that of Kurin et al., *In
Defense of the Unitary Scalarization for Deep Multi-Task Learning*, arXiv 2201.04122:
64x64, ResNet-18, Adam at 0.001 that falls by 5% an epoch, batches of 128, 50 epochs,
weight decay 0.001, dropout of a half of the features. (They also drop feature maps
inside of the network, and tune rate and decay for some methods.)
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lab.start import needs, quick_compilation

with needs("vision", "plots"):
    import numpy as np

    from attributes import report
    from attributes.data import AttributeSource, Split, load_attributes
    from attributes.host import HostAdvance
    from attributes.problem import make_problem
    from auxjax.run import (
        RunError,
        parse,
        plain_errors,
        use_compilation_cache,
        write_json,
    )
    from lab.curves import Curves
    from lab.folders import choose_folder
    from lab.loop import Advance, train
    from lab.options import unless_said
    from lab.rules import RULES, check_names, spelled_out
    from lab.training import SINGLE, Training, say


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """40 attributes, every method, and the time it takes."""

    method: tuple[str, ...] = (
        *("equal", "uncertainty", "dwa", "rlw-dirichlet", "rlw-normal", "imtl_g"),
        *("mgda", "graddrop", "pcgrad", "cagrad", "autolambda-all"),
    )
    """In the multi-task setting: names out of `lab/rules.py`; `equal` is the
    figure's Unit. Scal."""
    auxiliary: tuple[str, ...] = ("autolambda-main",)
    """In the auxiliary setting; none, as in `--auxiliary` alone, leaves it out."""
    primaries: tuple[str, ...] = ()
    """Which attributes take turns as the main task, by name. By default three, evenly
    spread."""
    source: AttributeSource = "digits40"
    """CelebA, or digits in its place."""
    data_dir: Path | None = None
    """Where the files of CelebA lie."""
    size: int = 64
    """Height and width of CelebA's images."""
    shrink: int = 2
    """How many pixels along a side of a digit become one, their mean; to save time. The
    attributes are those of the whole image."""
    loader: Literal["device", "host"] = "device"
    """Where the images are kept."""
    network: Literal["auto", "resnet18", "cnn"] = "auto"
    """The trunk; by default `resnet18` for faces and `cnn` for digits."""
    width: float = 1.0
    """Factor on the trunk's channels."""
    seeds: int = 3
    """How many, all of a method's at once."""
    epochs: int = 12
    """Passes over the training images; the paper's is 50."""
    eval_every: int = 1
    """Epochs between two evaluations, among which the validation images choose."""
    batch_size: int = 128
    """Images per step."""
    learning_rate: float = 1e-3
    """Of Adam; falls by 5% an epoch."""
    weight_decay: float = 1e-3
    """How much of each parameter is added to its gradient."""
    dropout: float = 0.5
    """Share of the trunk's features that a training step does not see."""
    weight_travel: float | None = None
    """How far Adam may move a learned weight in all: its rate is this over the number
    of steps. By default 4 for `resnet18`, and 1 for `cnn`: in a short training larger
    steps make a weight negative before it has learned anything."""

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        names = spelled_out(self.auxiliary, type(self).auxiliary)
        object.__setattr__(self, "auxiliary", names)
        check_names(self.auxiliary)
        if SINGLE in self.method:
            raise ValueError(
                "`method` should not be `single`: it would be 40 networks. Found it."
            )
        for field in ("auxiliary", "primaries"):
            names = getattr(self, field)
            if len(set(names)) < len(names):
                raise ValueError(
                    f"`{field}` should name each once. Found {' '.join(names)}."
                )
        for field in ("width", "weight_travel", "learning_rate"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise ValueError(f"`{field}` should be above 0. Found {value}.")
        if not (0 <= self.dropout < 1 and self.weight_decay >= 0 and self.size >= 8):
            raise ValueError(
                "`dropout` should be in [0, 1), `weight_decay` at least 0 and `size` "
                "at least 8. "
                f"Found {self.dropout}, {self.weight_decay} and {self.size}."
            )
        if self.shrink < 1:
            raise ValueError(f"`shrink` should be at least 1. Found {self.shrink}.")
        if self.network == "auto":
            chosen = "resnet18" if self.source == "celeba" else "cnn"
            object.__setattr__(self, "network", chosen)

    @property
    def travel(self) -> float:
        """How far Adam may move a learned weight."""
        if self.weight_travel is not None:
            return self.weight_travel
        return 4.0 if self.network == "resnet18" else 1.0


SMOKE = {
    "seeds": 2,
    "epochs": 2,
    "batch_size": 32,
    "width": 0.125,
}
SMOKE_CHOICES = {"method": ("equal",), "auxiliary": ()}
SMOKE_IMAGES, SMOKE_ATTRIBUTES = 64, 3


def few(split: Split) -> Split:
    """Some images of each part, and every so many attributes."""
    step = max(len(split.train.names) // SMOKE_ATTRIBUTES, 1)
    return Split(
        *(
            type(part)(
                part.images[:SMOKE_IMAGES],
                part.attributes[:SMOKE_IMAGES, ::step],
                part.names[::step],
            )
            for part in split
        )
    )


def choose_primaries(config: Config, names: Sequence[str]) -> tuple[int, ...]:
    """The indices of the attributes that take turns."""
    unknown = [name for name in config.primaries if name not in names]
    if unknown:
        raise RunError(
            f"`primaries` should be among {', '.join(names)}. Found "
            f"{', '.join(unknown)}."
        )
    if not config.auxiliary:
        return ()
    if config.primaries:
        return tuple(list(names).index(name) for name in config.primaries)
    count = 1 if config.smoke else 3
    return tuple(np.linspace(0, len(names), count, endpoint=False).astype(int).tolist())


def learn(
    config: Config, split: Split, method: str, path: Path, primary: int | None = None
) -> Curves:
    """One method; what an epoch took is kept, for a run that is only read again."""
    problem = make_problem(config, split, primary)
    names = split.train.names
    label = method if primary is None else f"{names[primary]}: {method}"
    needs_two = "meta_losses" in RULES[method].takes
    curves, _ = train(
        problem,
        method,
        config,
        path,
        label=label,
        second_stream="reshuffled" if needs_two else "same",
        make_advance=HostAdvance if config.loader == "host" else Advance,
    )
    kept = path / "seconds.json"
    if np.isfinite(curves.seconds):
        write_json(kept, {"seconds per epoch": curves.seconds})
    elif kept.exists():
        found = json.loads(kept.read_text("utf-8"))["seconds per epoch"]
        curves = curves._replace(seconds=found)
    return curves


def run(config: Config, split: Split, folder: Path) -> report.Results:
    """Every training of both settings."""
    names = split.train.names
    results = report.Results(tuple(names), {}, {})
    one = functools.partial(learn, config, split)
    for method in config.method:
        results.multi[method] = one(method, folder / f"multi-{method}")
    for i in choose_primaries(config, names):
        for method in config.auxiliary:
            path = folder / f"primary-{i + 1}-{method}"
            results.auxiliary[i, method] = one(method, path, i)
    return results


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method in both settings, then says what came out."""
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        if config.smoke:
            config = dataclasses.replace(config, **unless_said(SMOKE_CHOICES, args))
        use_compilation_cache()
        where = (config.data_dir, config.size, config.shrink, config.quiet)
        split, described = load_attributes(config.source, *where)
        if config.smoke:
            split = few(split)
            described += "; of these a few (smoke)"
        choose_primaries(config, split.train.names)  # a wrong one is said at once
        folder = choose_folder(config, "celeba")
        say(config, described)
        with quick_compilation(config.smoke):
            report.write(config, run(config, split, folder), described, folder)


if __name__ == "__main__":
    main()
