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
It leaves `runs/celeba/`: a folder per training, `celeba.md`, `.json` and `.png`.

Sources: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*, TMLR 2022,
arXiv 2202.03091, section 7.3, Figure 7. Its setting is that of Kurin et al., *In
Defense of the Unitary Scalarization for Deep Multi-Task Learning*, arXiv 2201.04122:
64x64, ResNet-18, Adam at 0.001 that falls by 5% per epoch, batches of 128, 50 epochs,
weight decay 0.001, dropout of a half of the features. (They also drop feature maps
inside of the network, and tune rate and decay for some methods.)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal

from lab.start import needs

with needs("vision", "plots"):
    from attributes.data import AttributeSource, few, load_attributes
    from attributes.learn import learn
    from attributes.report import report
    from lab import main as script
    from lab.folders import choose_folder
    from lab.options import free
    from lab.primaries import ManyTasks, choose_primaries, train_all
    from lab.report import write
    from lab.training import SINGLE, say


@dataclasses.dataclass(frozen=True)
class Config(ManyTasks):
    """40 attributes, every method, and the time it takes."""

    method: tuple[str, ...] = free(
        (
            *("equal", "uncertainty", "dwa", "rlw-dirichlet", "rlw-normal", "imtl_g"),
            *("mgda", "graddrop", "pcgrad", "cagrad", "autolambda-all"),
        )
    )
    """In the multi-task setting, by the names in `auxjax.rules`; `equal` is the
    figure's Unit. Scal."""
    source: AttributeSource = "digits40"  # CelebA, or digits in its place
    size: int = 64  # height and width of CelebA's images
    shrink: int = 2
    """How many pixels along a side of a digit become one, their mean; to save time. The
    attributes are those of the whole image."""
    loader: Literal["device", "host"] = "device"  # where the images are kept
    network: Literal["auto", "resnet18", "cnn"] = "auto"
    """The trunk; by default `resnet18` for faces and `cnn` for digits."""
    epochs: int = 12  # passes over the training images; the paper's is 50
    eval_every: int = 1
    """Epochs between two evaluations, among which the validation images choose."""
    learning_rate: float = 1e-3  # of Adam; falls by 5% per epoch
    weight_decay: float = 1e-3  # how much of each parameter is added to its gradient
    dropout: float = 0.5  # share of the features that a training step does not see
    weight_travel: float | None = None
    """How far Adam may move a learned weight in all: its rate is this over the number
    of steps. By default 4 for `resnet18`, and 1 for `cnn`: in a short training larger
    steps make a weight negative before it has learned anything."""

    def __post_init__(self):
        """Checks what the command line said, and sets what it left open."""
        super().__post_init__()
        if SINGLE in self.method:
            raise ValueError("`method` should not be `single`, 40 networks. Found it.")
        self.above_zero("weight_travel", "learning_rate")
        self.at_least_one("shrink")
        if not (0 <= self.dropout < 1 and self.weight_decay >= 0 and self.size >= 8):
            raise ValueError(
                "`dropout` should be in [0, 1), `weight_decay` at least 0, `size` at "
                f"least 8. Found {self.dropout}, {self.weight_decay} and {self.size}."
            )
        self.fill(network="resnet18" if self.source == "celeba" else "cnn")
        self.fill(weight_travel=4.0 if self.network == "resnet18" else 1.0)


SMOKE = {"seeds": 2, "epochs": 2, "batch_size": 32, "width": 0.125}
SMOKE_CHOICES = {"method": ("equal",), "aux": ()}


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method in both settings, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, SMOKE_CHOICES)


def run(config: Config) -> None:
    """Reads the data, trains everything, and writes the report."""
    where = (config.data_dir, config.size, config.shrink, config.quiet)
    split, described = load_attributes(config.source, *where)
    if config.smoke:
        split, described = few(split), f"{described}; of these a few (smoke)"
    names = tuple(split.train.names)
    primaries = choose_primaries(config, names, 3)  # a wrong one is said at once
    folder = choose_folder(config, "celeba")
    say(config, described)
    one = functools.partial(learn, config, split)
    trained = train_all(config, primaries, one, folder)
    write(config, report(config, names, trained, described), folder)


if __name__ == "__main__":
    main()
