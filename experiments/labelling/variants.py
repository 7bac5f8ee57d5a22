"""Which trainings `rl_aux.py` makes, and what the library is told of each."""

from __future__ import annotations

from typing import Any, NamedTuple

from auxjax.labelling import LabellingConfig
from auxjax.rl import PPOConfig

AGENTS = ("rl", "wa-rl")
"""The methods whose labels an agent makes."""


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
    found = []
    for method in config.method:
        weights = (1.0,) if method == "single" else config.aux_weight
        restores = config.restore if method in AGENTS else ("epoch",)
        found += [Variant(method, w, r) for w in weights for r in restores]
    return found


def setting(config: Any, variant: Variant) -> LabellingConfig:
    """What the library is told."""
    ppo = PPOConfig(
        learning_rate=config.ppo_learning_rate,
        epochs=config.ppo_epochs,
        minibatch_size=config.ppo_minibatch,
        entropy_coef=config.ppo_entropy,
    )
    return LabellingConfig(
        method=variant.method,
        batch_size=config.batch_size,
        aux_weight=variant.aux_weight,
        learning_rate=config.learning_rate,
        halve_every=config.halve_every,
        label_learning_rate=config.label_learning_rate,
        meta_method=config.meta_method,
        entropy_coef=config.entropy_coef,
        weight_formula=config.weight_formula,
        eval_size=config.eval_size,
        restore=variant.restore,
        rollout_batches=config.rollout_batches,
        ppo=ppo,
    )
