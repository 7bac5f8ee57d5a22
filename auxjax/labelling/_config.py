"""What a run with generated auxiliary labels is made of."""

from __future__ import annotations

import dataclasses
import math

import optax

from auxjax._numbers import integer
from auxjax.labelling._episode import EpisodeConfig
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
class LabellingConfig(EpisodeConfig):
    """Auxiliary labels, who makes them and how the main network learns from them.

    The fields of an episode, `batch_size` to `weight_formula`, are `EpisodeConfig`'s.

    Attributes:
      method: one of `METHODS`: no auxiliary task, labels made by humans, drawn at
        random, by k-means, MAXL, weight-aware MAXL, RL-AUX, weight-aware RL-AUX.
      aux_weight: λ, of the auxiliary loss.
      learning_rate: of the main network's SGD.
      halve_every: epochs after which that and MAXL's learning rate halve.
      label_learning_rate: of MAXL's label network.
      label_weight_decay: of that network.
      meta_method: MAXL's gradient, `"exact"` or `"difference"`.
      weight_scale: R of WA-MAXL's factor 2^(2Rw − R).
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
    aux_weight: float = 1.0
    learning_rate: float = 0.01
    halve_every: int = 50
    label_learning_rate: float = 1e-3
    label_weight_decay: float = 5e-4
    meta_method: str = "exact"
    weight_scale: float = 5.0
    restore: str = "epoch"
    rollout_batches: int = 20
    ppo: PPOConfig = dataclasses.field(
        default_factory=lambda: PPOConfig(entropy_coef=0.01)
    )
    kmeans_iterations: int = 20

    def __post_init__(self):
        """Refuses settings that make no sense."""
        super().__post_init__()
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
        for name in ("halve_every", "rollout_batches", "kmeans_iterations"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1))
        for name in ("learning_rate", "label_learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` should be above 0. Found {value}.")
        for name in ("aux_weight", "label_weight_decay", "weight_scale"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"`{name}` should be at least 0. Found {value}.")
        self._check_minibatch(self.rollout_batches)

    def check_samples(self, samples: int) -> None:
        """Refuses sizes that so many training images do not allow.

        Args:
          samples: how many there are.

        Raises:
          ValueError: a batch, RL-AUX's evaluation or its minibatch is larger.
        """
        for name in ("batch_size", "eval_size")[: 1 + self.is_rl]:
            if getattr(self, name) > samples:
                raise ValueError(
                    f"`{name}` should be at most {samples}, the number of samples. "
                    f"Found {getattr(self, name)}."
                )
        self._check_minibatch(self.rollouts(samples // self.batch_size)[0])

    def rollouts(self, steps: int) -> tuple[int, int]:
        """Batches of a rollout, and rollouts of an epoch of so many batches.

        The last rollout may go beyond the epoch's end, by less than its length.
        """
        updates = -(-steps // self.rollout_batches)
        return -(-steps // updates), updates

    def _check_minibatch(self, batches: int) -> None:
        most = self.batch_size * batches
        if self.is_rl and self.ppo.minibatch_size > most:
            raise ValueError(
                f"`ppo.minibatch_size` should be at most {most}, the images of a "
                f"rollout. Found {self.ppo.minibatch_size}."
            )

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
        if self.is_maxl and self.entropy_coef is None:
            return 0.2
        return super().entropy_weight

    def schedule(self, start: float, steps_per_epoch: int) -> optax.Schedule:
        """A learning rate that halves every `halve_every` epochs."""
        every = self.halve_every * steps_per_epoch
        return optax.exponential_decay(start, every, 0.5, staircase=True)
