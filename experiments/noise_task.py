"""Does Auto-λ tell a helpful task from a useless one? The paper's noise prediction.

    python experiments/noise_task.py

learns to read digits with five more tasks: three that have to do with the digit, one
real task that has not (the orientation of a bar beside it), and one whose target is
pure noise. It leaves `runs/noise_task/`: a folder per method, `noise_task.md`, `.json`
and `.png`: the learned weights, what they were good for, and which of the paper's
statements hold.

    python experiments/noise_task.py --primary all

makes every task but the noise a primary one, `noise_task_all.*`.

Source: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*, TMLR 2022,
section 5.1 "Noise Prediction as Sanity Check", Figures 4 and 6. **An analogue**: 8x8
digits and a small MLP on a CPU in place of NYUv2 and a ResNet-50.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

from lab.start import needs

with needs("vision", "plots"):
    import numpy as np
    import optax

    from lab import main as script
    from lab.digit_tasks import check_sizes
    from lab.folders import choose_folder
    from lab.loop import train
    from lab.options import free
    from lab.report import write
    from lab.spelling import todays_values
    from lab.training import Training
    from noise import methods
    from noise.problem import prepare
    from noise.report import Trained, report


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Auto-λ's sanity check on digits: related, unrelated and noise tasks."""

    KNOWN: ClassVar[tuple[str, ...]] = methods.KNOWN

    method: tuple[str, ...] = free(methods.METHODS)
    """Auto-λ, exact (`autolambda-main`), by `finite-difference`, or at a mean weight of
    1 (`autolambda-sum`, `autolambda-softmax`); `uncertainty`; weights of 1 (`equal`),
    `constant-0.1`, `constant-0.3`; of 1 for the primary ones alone (`single`)."""
    primary: Literal["digit", "all"] = "digit"
    """Whose loss counts one step ahead: the digit's, or all but the noise's."""
    seeds: int = 5
    """How many; each draws its own split, patches, noise and network."""
    train_size: int = 320
    """Training images; the rest of the 1,797 are for testing."""
    label_noise: float = 0.0
    """Share of training images whose digit is drawn at random. The three related tasks
    keep their targets, so that they have something to add."""
    pixel_noise: float = 0.5
    """Deviation of what is added to the pixels, anew in every step."""
    hidden: int = 64
    """Units in either layer of the trunk."""
    epochs: int = 1000
    """Passes over the training images."""
    eval_every: int = 20
    """Epochs between two evaluations; a point of the figure each."""
    batch_size: int = 32
    """Images per step, in either stream."""
    learning_rate: float = 0.1
    """Of SGD (momentum 0.9, weight decay 1e-4, a cosine to 0), as in the paper."""
    weight_travel: float = 4.0
    """How far Adam may move a weight in all, Auto-λ's or uncertainty's: its rate is
    this over the number of steps. The paper's on NYUv2 is 4."""
    second_stream: Literal["reshuffled", "same"] = "reshuffled"
    """The batches that look one step ahead; `same`: the training batches themselves
    (Table 4, "No Swapping")."""

    def __post_init__(self):
        """Checks what the command line said."""
        object.__setattr__(self, "method", todays_values(self.method, methods.OLDER))
        super().__post_init__()
        self.at_least_one("hidden")
        self.above_zero("learning_rate", "weight_travel")
        check_sizes(self.train_size, self.batch_size)
        if not 0 <= self.label_noise <= 1:
            raise ValueError(
                f"`label_noise` should be a share. Found {self.label_noise}."
            )


SMOKE = {"seeds": 2, "train_size": 64, "epochs": 20, "eval_every": 10, "hidden": 8}
SMOKE_CHOICES = {"method": (methods.EXACT, methods.UNCERTAINTY)}


def main(args: Sequence[str] | None = None) -> None:
    """Trains by every method, then says what came out."""
    script.start(Config, run, args, __doc__, SMOKE, SMOKE_CHOICES)


def run(config: Config) -> None:
    """Every method, all seeds together."""
    problem, stem = prepare(config), "noise_task" + "_all" * (config.primary == "all")
    folder, results = choose_folder(config, stem), {}
    for method in config.method:
        how = {"label": methods.TITLES[method], "rule": methods.RULES[method]}
        how["second_stream"] = config.second_stream
        curves, state = train(problem, method, config, folder / method, **how)
        name = "applied" if method == methods.SUM else "weights"
        weights = np.asarray(optax.tree.get(state.opt_state, name))
        results[method] = Trained(curves, weights)
    write(config, report(config, results, stem), folder)


if __name__ == "__main__":
    main()
