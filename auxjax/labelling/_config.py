"""What a run with generated auxiliary labels is made of."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import optax

from auxjax.labelling._losses import check_formula
from auxjax.rl import PPOConfig

METHODS = (
    "single",
    "human",
    "random",
    "kmeans",
    "maxl",
    "wa-maxl",
    "rl",
    "wa-rl",
)
"""The methods by name."""


@dataclasses.dataclass(frozen=True)
class LabellingConfig:
    """Auxiliary labels, who makes them and how the main network learns from them.

    Attributes:
      method: one of `METHODS`: no auxiliary task, labels made by humans, drawn at
        random, by k-means, MAXL, weight-aware MAXL, RL-AUX, weight-aware RL-AUX.
      batch_size: images of a training batch.
      aux_weight: λ, of the auxiliary loss.
      learning_rate: of the main network's SGD.
      halve_every: epochs after which that and MAXL's learning rate halve.
      label_learning_rate: of MAXL's label network.
      label_weight_decay: likewise.
      meta_method: MAXL's gradient, `"exact"` or `"difference"`.
      entropy_coef: of the batch entropy, in RL-AUX's reward or MAXL's loss; None: 1 for
        RL-AUX, 0.2 for MAXL, as in the papers. (RL-AUX's released code has 0.2 too.)
      weight_scale: R of WA-MAXL's factor 2^(2Rw − R).
      weight_formula: of WA-RL's factor; see `weight_factor`.
      num_weights: WA-RL's weight classes.
      eval_size: images on which RL-AUX's reward is measured.
      restore: where RL-AUX's main network goes back to what it was before it served
        to train the agent: `"epoch"` after each epoch, `"batch"` after each batch,
        `"never"` (an ablation: the agent's epochs train the main network too).
      rollout_batches: batches that RL-AUX's agent labels between two of its updates.
        The epoch is cut into parts of at most that many, as equal as can be.
      ppo: the agent's hyper-parameters; its `rollout_length` is not used. The paper's
        `entropy_coef` is 0.01, `PPOConfig`'s own default 0.
      kmeans_iterations: of Lloyd's algorithm.
    """

    method: str = "rl"
    batch_size: int = 100
    aux_weight: float = 1.0
    learning_rate: float = 0.01
    halve_every: int = 50
    label_learning_rate: float = 1e-3
    label_weight_decay: float = 5e-4
    meta_method: str = "exact"
    entropy_coef: float | None = None
    weight_scale: float = 5.0
    weight_formula: str = "paper"
    num_weights: int = 21
    eval_size: int = 256
    restore: str = "epoch"
    rollout_batches: int = 20
    ppo: PPOConfig = dataclasses.field(
        default_factory=lambda: PPOConfig(entropy_coef=0.01)
    )
    kmeans_iterations: int = 20

    def __post_init__(self):
        """Refuses settings that make no sense."""
        choices = {
            "method": METHODS,
            "meta_method": ("exact", "difference"),
            "restore": ("epoch", "batch", "never"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`{name}` should be one of {', '.join(allowed)}. "
                    f"Found {getattr(self, name)}."
                )
        sizes = ("batch_size", "eval_size", "halve_every", "rollout_batches")
        for name in (*sizes, "kmeans_iterations"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool):
                raise ValueError(f"`{name}` should be an integer. Found {value!r}.")
            if value < 1:
                raise ValueError(f"`{name}` should be at least 1. Found {value}.")
        for name in ("learning_rate", "label_learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` should be above 0. Found {value}.")
        for name in ("aux_weight", "label_weight_decay", "weight_scale"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"`{name}` should be at least 0. Found {value}.")
        coef = self.entropy_coef
        if coef is not None and not (math.isfinite(coef) and coef >= 0):
            raise ValueError(
                "`entropy_coef` should be at least 0: below, to use one label alone "
                f"would pay. Found {coef}."
            )
        if self.is_rl and self.ppo.minibatch_size > (
            most := self.batch_size * self.rollout_batches
        ):
            raise ValueError(
                f"`ppo.minibatch_size` should be at most {most}, the images of "
                f"`rollout_batches`. Found {self.ppo.minibatch_size}."
            )
        check_formula(self.weight_formula, self.num_weights)

    @property
    def weighted(self) -> bool:
        """Whether each sample has a factor of its own."""
        return self.method.startswith("wa-")

    @property
    def is_maxl(self) -> bool:
        """Whether a label network makes the labels."""
        return self.method.endswith("maxl")

    @property
    def is_rl(self) -> bool:
        """Whether an agent makes the labels."""
        return self.method in ("rl", "wa-rl")

    @property
    def entropy_weight(self) -> float:
        """`entropy_coef`, or the method's own."""
        if self.entropy_coef is not None:
            return self.entropy_coef
        return 0.2 if self.is_maxl else 1.0

    def schedule(self, start: float, steps_per_epoch: int) -> optax.Schedule:
        """A learning rate that halves every `halve_every` epochs."""
        every = self.halve_every * steps_per_epoch
        return optax.exponential_decay(start, every, 0.5, staircase=True)
