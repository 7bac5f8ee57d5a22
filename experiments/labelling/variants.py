"""Which trainings `rl_aux.py` makes, and what the library is told of each."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NamedTuple

from tyro.conf import Fixed, Suppress

from auxjax.labelling import METHODS, LabellingConfig
from auxjax.rl import PPOConfig
from auxjax.run import RunError, reading
from lab.training import say
from labelling.data import GROUPS, Problem

AGENTS = tuple(name for name in METHODS if LabellingConfig(method=name).is_rl)
"""The methods whose labels an agent makes."""

SMALL = {
    "psi": 3,
    "epochs": 150,
    "learning_rate": 0.03,
    "label_learning_rate": 0.01,
    "halve_every": 40,
    "network": "cnn",
}
"""Three and ten times the paper's rates: an epoch of digits has 14 steps, one of CIFAR
500. At 0.1, samples that weigh 32 times as much kill the ReLUs of some seeds."""
LARGE = {
    "psi": 5,
    "epochs": 200,
    "learning_rate": 0.01,
    "label_learning_rate": 1e-3,
    "halve_every": 50,
    "network": "vgg16",
}
"""The paper's."""


@dataclasses.dataclass(frozen=True)
class AgentOptions(PPOConfig):
    """The agent's hyper-parameters; `--rollout-batches` says how long a rollout is."""

    rollout_length: Annotated[int, Fixed, Suppress] = PPOConfig.rollout_length
    entropy_coef: float = 0.01
    """Weight of the entropy bonus; the paper's."""


class Variant(NamedTuple):
    """One training: a method, and what the ablations change."""

    method: str
    aux_weight: float = 1.0
    restore: str = "epoch"

    @property
    def label(self) -> str:
        """For tables."""
        text = self.method
        if self.aux_weight != 1:
            text += f", λ {self.aux_weight:g}"
        return text + (f", restore {self.restore}" if self.restore != "epoch" else "")

    @property
    def folder(self) -> str:
        """The run's folder."""
        text = self.method
        if self.aux_weight != 1:
            text += f"-weight-{self.aux_weight:g}"
        return text + (f"-restore-{self.restore}" if self.restore != "epoch" else "")


def variants(config: Any) -> list[Variant]:
    """Every method with every λ and, for agents, every way to restore; each once."""
    trainings = []
    for method in config.method:
        weights = (1.0,) if method == "single" else config.aux_weight
        restores = config.restore if method in AGENTS else ("epoch",)
        trainings += [Variant(method, w, r) for w in weights for r in restores]
    return trainings


def setting(config: Any, variant: Variant) -> LabellingConfig:
    """What the library is told, which checks it: its own fields of the command line."""
    names = [field.name for field in dataclasses.fields(LabellingConfig)]
    shared: dict[str, Any] = {name: getattr(config, name) for name in names}
    return LabellingConfig(**shared | variant._asdict())


def resolve(config: Any) -> Any:
    """The script's configuration with what depends on the source filled in."""
    known: dict[str, Any] = SMALL if config.source in GROUPS else LARGE
    missing = {k: v for k, v in known.items() if getattr(config, k) is None}
    return dataclasses.replace(config, **missing)


def check(config: Any) -> None:
    """Refuses what the library refuses of a training, and a part of an evaluation."""
    if any(getattr(config, name) is None for name in SMALL):
        resolve(config)  # is checked in its turn
        return
    if config.epochs % config.eval_every:
        raise ValueError(
            "`epochs` should be a multiple of `eval_every`. "
            f"Found {config.epochs} and {config.eval_every}."
        )
    for variant in variants(config):
        setting(config, variant)


def fitting(config: Any, problem: Problem) -> Any:
    """The configuration without methods that the data have nothing for.

    Raises:
      RunError: the method `human` was asked for where there are no human labels, or a
        batch is larger than the data.
    """
    for variant in variants(config):
        with reading():
            setting(config, variant).check_samples(len(problem.train.labels))
    if problem.train.human is not None or "human" not in config.method:
        return config
    if config.method != METHODS:
        raise RunError(
            f"`method` should not name human: {config.source} has no finer classes. "
            f"Found {' '.join(config.method)}."
        )
    say(config, "The method `human` is left out: nobody named finer classes.")
    rest = tuple(name for name in METHODS if name != "human")
    return dataclasses.replace(config, method=rest)
